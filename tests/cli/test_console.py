"""What commands write: tables, JSON, counters."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from vitrail.cli.console import Counter, count, table, to_json


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_table_is_aligned_by_what_a_terminal_shows() -> None:
    text = table(["class", "images"], [["猫", "1"], ["dog", "1,234"]], numbers=["images"])
    assert text.splitlines() == ["class  images", "-----  ------", "猫          1", "dog     1,234"]
    assert table(["a"], []) == ""


def test_a_table_too_wide_for_the_terminal_becomes_records(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["vit_tiny_patch16_224", "", "5.7 M"], ["b", "c", "d"]]
    headers = ["model", "short", "parameters"]
    monkeypatch.setenv("COLUMNS", "30")
    assert len(table(headers, rows).splitlines()[0]) > 30  # a file is as wide as it needs to be
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert table(headers, rows).splitlines() == [
        "model       vit_tiny_patch16_224", "parameters  5.7 M", "", "model       b", "short       c", "parameters  d",
    ]  # fmt: skip


def test_json_is_one_line_that_any_reader_takes() -> None:
    value = {
        "path": Path("a/b"), "nan": math.nan, "inf": np.float32("inf"), "n": np.int64(3), "rows": np.zeros((1, 2)),
        "name": "n\udcff\n猫", 1: (True, None),
    }  # fmt: skip
    line = to_json(value)
    assert "\n" not in line
    assert "猫" in line
    line.encode("utf-8")
    assert json.loads(line) == {
        "path": "a/b", "nan": None, "nan_is": "unknown", "inf": None, "inf_is": "infinite", "n": 3,
        "rows": [[0.0, 0.0]], "name": "n\udcff\n猫", "1": [True, None],
    }  # fmt: skip


def test_counts_are_words() -> None:
    assert count(1, "class", "classes") == "1 class"
    assert count(2054, "image") == "2,054 images"
    assert count(0, "class", "classes") == "0 classes"


def test_a_counter_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    counter = Counter("checked")
    counter(1)
    counter.close()
    assert capsys.readouterr() == ("", "")


def test_a_counter_writes_one_line_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("vitrail.cli.console.COUNTER_SECONDS", 0.0)
    counter = Counter("checked")
    counter(1_234, 5_000)
    counter.close()
    written = terminal.getvalue()
    assert "\rchecked 1,234 of 5,000, " in written
    assert written.endswith("\r\x1b[K")
    assert "\n" not in written
