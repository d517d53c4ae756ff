"""What a scan remembers: a second one decodes only what is new, a killed one goes on, and damage only costs time."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_zoo import BAD, Files, good, mixed_photos

from vitrail.data import scan_cache, scan_files
from vitrail.data.appearance import look
from vitrail.data.audit import Audit, scan
from vitrail.data.facts import Facts
from vitrail.data.map_values import measure
from vitrail.data.scan_pool import examine_files
from vitrail.settings import DataConfig

CONFIG = DataConfig(source="photos")


def failed(audit: Audit) -> dict[str, str]:
    return {failure.key: failure.reason for failure in audit.bad}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return mixed_photos(tmp_path / "photos")


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that scans really decode, as they go."""
    names: list[str] = []

    def watch(files: Any, *rest: Any) -> Iterator[tuple[int, Facts]]:
        names.extend(path.name for _, path in files)
        return examine_files(files, *rest)

    monkeypatch.setattr(scan_files, "examine_files", watch)
    return names


def test_a_second_scan_decodes_only_what_changed(photos: Path, examined: list[str]) -> None:
    first = scan(Files(photos), CONFIG)
    examined.clear()
    assert scan(Files(photos), CONFIG) == first
    assert examined == []
    (photos / "empty.png").write_bytes(good()["rgb.png"])
    status = (photos / "rgb.png").stat()
    os.utime(photos / "rgb.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    (photos / "new.png").write_bytes(good()["la.png"])
    (photos / "words.gif").unlink()
    third = scan(Files(photos), CONFIG)
    assert sorted(examined) == ["empty.png", "new.png", "rgb.png"]
    assert failed(third) == {"cut.jpg": BAD["cut.jpg"]}


def test_other_limits_are_another_question(photos: Path, examined: list[str]) -> None:
    scan(Files(photos), CONFIG)
    examined.clear()
    assert len(scan(Files(photos), DataConfig(source="x", max_pixels=100)).bad) > len(BAD)
    assert len(examined) == len(Files(photos).items)


def test_what_may_pass_is_not_remembered(tmp_path: Path, examined: list[str]) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "elsewhere.png")
    source = Files(tmp_path, ["a.png"])
    assert failed(scan(source, CONFIG)) == {"a.png": "a link to nothing"}
    (tmp_path / "elsewhere.png").write_bytes(good()["rgb.png"])
    assert failed(scan(source, CONFIG)) == {}


@pytest.mark.parametrize(
    "damage", ["garbage", "cut", "flipped", "list", "no entries", "wrong shapes", "deep", "old decoder", "empty"]
)
def test_a_damaged_cache_is_only_slower(damage: str, photos: Path, private_cache: Path, examined: list[str]) -> None:
    expected = scan(Files(photos), CONFIG)
    (stored,) = (private_cache / "scan").iterdir()
    raw = stored.read_bytes()
    header, *entries = gzip.decompress(raw).decode().splitlines()
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 1
    forged = {
        "garbage": b"\x00 no cache",
        "cut": raw[:-20],
        "flipped": bytes(flipped),
        "list": gzip.compress(b"[1, 2]\n"),
        "no entries": zipped(header, *(["3"] * len(entries))),
        "wrong shapes": zipped(header, *(json.dumps([*json.loads(entry)[:3], {"reason": 1}]) for entry in entries)),
        "deep": zipped(header, "[" * 100_000),
        "old decoder": zipped(json.dumps({**json.loads(header), "decoders": [0]}), *entries),
        "empty": b"",
    }
    stored.write_bytes(forged[damage])
    examined.clear()
    assert scan(Files(photos), CONFIG) == expected
    assert len(examined) == expected.found
    examined.clear()
    assert scan(Files(photos), CONFIG) == expected
    assert examined == []


def zipped(*lines: str) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


@pytest.mark.parametrize("lost", [1, 30, 1000])
def test_what_stands_before_the_damage_is_still_known(
    lost: int, photos: Path, private_cache: Path, examined: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill in the middle of a write."""
    monkeypatch.setattr(scan_cache, "_MOST_LINES", 8)
    expected = scan(Files(photos), CONFIG)
    (stored,) = (private_cache / "scan").iterdir()
    stored.write_bytes(stored.read_bytes()[:-lost])
    examined.clear()
    assert scan(Files(photos), CONFIG) == expected
    assert 0 < len(examined) <= 16
    examined.clear()
    assert scan(Files(photos), CONFIG) == expected
    assert examined == []


def test_a_killed_scan_goes_on_where_it_was(tmp_path: Path, private_cache: Path, examined: list[str]) -> None:
    """SIGKILL leaves no time to write anything: what was learnt must stand there already."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number:03d}.png").write_bytes(good()["rgb.png"] + bytes([number % 256]))
    script = tmp_path / "script.py"
    script.write_text(
        f"import os, signal, sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom image_zoo import Files\nfrom vitrail.data.audit import scan\n"
        "from vitrail.settings import DataConfig\n"
        "def progress(done, total):\n    if done == 520:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"scan(Files(Path({str(folder)!r})), DataConfig(source='x'), progress, workers=1)\n"
    )
    assert subprocess.run([sys.executable, str(script)], timeout=60, check=False).returncode == -signal.SIGKILL
    audit = scan(Files(folder), CONFIG)
    assert len(audit.usable) == 600
    assert len(examined) <= 600 - 512


def test_the_cache_forgets_files_that_are_gone(
    photos: Path, private_cache: Path, examined: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(Files(photos), CONFIG)
    (stored,) = (private_cache / "scan").iterdir()
    for path in sorted(photos.iterdir())[3:]:
        path.unlink()
    examined.clear()
    scan(Files(photos), CONFIG)
    assert examined == []
    assert len(gzip.decompress(stored.read_bytes()).splitlines()) == 1 + 3
    assert list(stored.parent.iterdir()) == [stored]


def test_a_cache_that_cannot_be_written_is_no_error(photos: Path, private_cache: Path) -> None:
    private_cache.write_text("a file where the folder should be")
    assert failed(scan(Files(photos), CONFIG)) == BAD


def test_the_cache_stands_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert scan_cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("VITRAIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert scan_cache.cache_folder() == Path("/xdg/vitrail")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert scan_cache.cache_folder() == Path("/home/someone/.cache/vitrail")


words = st.text(max_size=20)
pixels = st.builds(
    lambda height, width, channels, seed: np.random.default_rng(seed).integers(
        0, 256, (height, width, channels), dtype=np.uint8
    ),
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]), st.integers(0, 9),
)  # fmt: skip
some_facts = st.builds(Facts, content=words.filter(bool), width=st.integers(1, 9), height=st.integers(1, 9),
    format=words, odd=st.lists(words, max_size=2).map(tuple), lasting=st.booleans(),
    look=st.none() | pixels.map(look), values=st.none() | pixels.map(measure),
) | st.builds(Facts, reason=words.filter(bool))  # fmt: skip
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=8), max_leaves=12
)


@given(some_facts)
def test_facts_survive_json(facts: Facts) -> None:
    assert Facts.unpack(json.loads(json.dumps(facts.pack()))) == facts


@given(any_json)
def test_what_is_no_packed_facts_is_none(content: Any) -> None:
    unpacked = Facts.unpack(content)
    assert unpacked is None or unpacked.pack() == content
