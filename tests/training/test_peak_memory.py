"""The peak of this process is its own, and is said where the system keeps no record of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitrail.training import memory


def test_the_peak_is_the_systems_record_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  3072 kB\nVmRSS:\t  2048 kB\n")
    monkeypatch.setattr(memory, "STATUS", str(status))
    assert memory.peak_memory("cpu") == 3 * 2**20
    assert memory.peak_memory_mb("cpu") == 3


@pytest.mark.parametrize("text", [None, "Name:\tpython\n"])
def test_without_a_record_it_is_what_the_process_used(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    monkeypatch.setattr(memory, "STATUS", str(status))
    assert memory.peak_memory("cpu") > 20 * 2**20, "torch alone takes more"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the record")
def test_the_peak_grows_with_what_is_taken() -> None:
    """In a process of its own: one that has had a peak must first take what it has given back since."""
    code = """
import numpy as np
from vitrail.training.memory import peak_memory
before = peak_memory("cpu")
ballast = np.ones(before // 8)
print(before, peak_memory("cpu"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after > 1.5 * before
