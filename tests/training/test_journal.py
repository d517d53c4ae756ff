"""What a run writes down while it goes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from vitrail.training.journal import Journal, duration


def _journal(folder: Path, quiet: bool = False) -> tuple[Journal, io.StringIO]:
    stream = io.StringIO()
    journal = Journal(quiet, stream)
    return journal, stream


def test_what_was_said_before_the_folder_existed_is_in_the_log(tmp_path: Path) -> None:
    journal, stream = _journal(tmp_path)
    journal.say("early [not markup]")
    journal.attach(tmp_path)
    journal.warn("late")
    journal.close()
    log = (tmp_path / "train.log").read_text()
    assert "early [not markup]" in log
    assert "warning: late" in log
    assert "early [not markup]" in stream.getvalue()
    assert journal.warnings == ["late"]


def test_quiet_keeps_the_screen_empty_and_the_log_full(tmp_path: Path) -> None:
    journal, stream = _journal(tmp_path, quiet=True)
    journal.attach(tmp_path)
    journal.say("hello")
    journal.close()
    assert stream.getvalue() == ""
    assert "hello" in (tmp_path / "train.log").read_text()


def test_rewinding_forgets_what_a_killed_process_wrote_later(tmp_path: Path) -> None:
    journal, _ = _journal(tmp_path)
    journal.attach(tmp_path)
    journal.rewind(0, [])
    for step in (1, 2, 3):
        journal.step({"step": step, "loss": 1.0})
    journal.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    again, _ = _journal(tmp_path)
    again.attach(tmp_path)
    again.rewind(2, [{"epoch": 1, "val/loss": 1 / 3}])
    again.step({"step": 3, "loss": 2.0})
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert rows == [{"epoch": "1", "val/loss": "0.333333"}]


def test_tensorboard_gets_a_scalar_per_step_and_per_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the tensorboard extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal, _ = _journal(tmp_path)
    journal.attach(tmp_path)
    journal.tensorboard()
    journal.rewind(0, [])
    journal.step({"step": 1, "loss": 0.5})
    journal.results([{"epoch": 1, "val/loss": 0.25}])
    journal.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("train/step_loss")[0].value == 0.5
    assert events.Scalars("val/loss")[0].value == 0.25


@pytest.mark.parametrize(("columns", "bar"), [(100, True), (50, False)])
def test_the_numbers_of_progress_fit_the_terminal(columns: int, bar: bool) -> None:
    stream = io.StringIO()
    journal = Journal()
    journal.console = Console(file=stream, force_terminal=True, width=columns, soft_wrap=True)
    journal.start("training", 1181)
    journal.advance("epoch 58/60 step", 1140, 1181, "lr 6.76e-04, 1195 images/s", 3.0)
    journal.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "epoch 58/60 step" in shown
    assert "1140/1181" in shown
    assert "1195 images/s" in shown
    assert "…" not in shown
    assert ("━" in shown, "lr 6.76e-04" in shown) == (bar, bar)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (-3, "0 s")]
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
