"""`vitrail doctor`."""

from __future__ import annotations

import builtins
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from vitrail.cli import doctor
from vitrail.cli.main import main

Output = pytest.CaptureFixture[str]


def test_it_says_versions_devices_and_the_machine(capsys: Output) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for title in ("Versions", "Extras", "Devices", "Machine"):
        assert f"{title}\n" in out
    assert metadata.version("torch") in out
    assert "used by default" in out
    assert out.rstrip().endswith("vitrail train digits")


def test_it_is_one_object_for_scripts(capsys: Output) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["doctor"]["versions"]["numpy"] == metadata.version("numpy")
    assert told["doctor"]["machine"]["cores"] >= 1
    assert "warnings" not in told


def test_the_cache_it_names_is_the_scans(private_cache: Path, capsys: Output) -> None:
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["doctor"]["machine"]["cache"] == str(private_cache)


def test_a_torch_that_cannot_be_loaded_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    real = builtins.__import__

    def broken(name: str, *rest: Any, **more: Any) -> Any:
        if name == "torch":
            raise OSError("libcudart.so: cannot open shared object file")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    assert main(["doctor"]) == 0
    assert "Problem: torch cannot be loaded: libcudart.so" in capsys.readouterr().out


def test_a_library_that_is_missing_is_a_problem() -> None:
    found = {
        "versions": {"torch": "2", "rich": None},
        "devices": {},
        "machine": {"cache": "c", "cache writable": False},
    }
    assert doctor.problems(found) == [
        "rich is not installed: pip install --upgrade vitrail",
        "the cache c cannot be written: set VITRAIL_CACHE to a folder that can",
    ]
