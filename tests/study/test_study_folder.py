"""A study's folder: who works on it, how long it took over a kill, how it says to go on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from vitrail import durable
from vitrail.errors import IntegrityError, Interrupted, TrainingError
from vitrail.study import folder as study_folder
from vitrail.study.folder import RECORD, Study


def made(path: Path) -> Study:
    return Study.create("compare", "one", path / "study", (), {})


@pytest.mark.parametrize("inside", ["cells/vit-full-seed-0/metrics.jsonl", "measured/vit-full-seed-0.json"])
def test_a_killed_process_has_taken_the_time_until_its_last_file(inside: str, tmp_path: Path) -> None:
    study = made(tmp_path)
    study.note("vit-tuning-rate-1", state="finished", seconds=5.0)
    study.note("vit-full-seed-0", state="running", seconds=7.0)
    last = study.folder / inside
    last.parent.mkdir(parents=True)
    last.write_text("{}")
    record = json.loads((study.folder / RECORD).read_text())
    os.utime(last, (record["written"] + 100, record["written"] + 100))
    again = Study.open(study.folder, "compare")
    with again.at_work():
        assert 100 <= again.gone() < 101
        seconds = {name: cell["seconds"] for name, cell in again.record["cells"].items()}
        assert seconds == {"vit-tuning-rate-1": 5.0, "vit-full-seed-0": pytest.approx(107.0)}


def test_what_another_process_did_in_between_is_not_overwritten(tmp_path: Path) -> None:
    made(tmp_path)
    late = Study.open(tmp_path / "study", "compare")
    first = Study.open(tmp_path / "study", "compare")
    with first.at_work():
        first.decide("rates", {"vit": 2.0})
        first.mark("interrupted", "interrupted")
    with late.at_work():
        assert late.decided("rates") == {"vit": 2.0}
    assert Study.open(tmp_path / "study", "compare").decided("rates") == {"vit": 2.0}


def test_a_cell_that_cannot_write_tells_how_the_study_goes_on(tmp_path: Path) -> None:
    study = made(tmp_path)
    full = durable.storage_error(OSError(28, "no space"), "cannot write to a cell")
    with pytest.raises(TrainingError) as raised, study.at_work():
        raise TrainingError(f"{full}\nThen go on with: vitrail train --resume CELL") from OSError(28, "no space")
    assert str(raised.value).splitlines()[-1] == f"Then go on with: {study.again}"
    assert "vitrail train" not in str(raised.value)
    assert "vitrail train" not in Study.open(study.folder, "compare").record["reason"]


def test_sigterm_ends_it_with_how_to_go_on(tmp_path: Path) -> None:
    study = made(tmp_path)
    with pytest.raises(Interrupted, match="vitrail compare --resume") as raised, study.at_work():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.code == 143
    assert Study.open(study.folder, "compare").state == "interrupted"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_written_to_is_said_so(tmp_path: Path) -> None:
    study = made(tmp_path)
    study.folder.chmod(0o500)
    with pytest.raises(TrainingError, match="cannot write to"), study.at_work():
        raise AssertionError("it was worked on")


def test_a_file_system_without_locks_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLocks:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(file: object, how: int) -> None:
            raise OSError(37, "No locks available")

    monkeypatch.setattr(study_folder, "fcntl", NoLocks)
    with made(tmp_path).at_work():
        pass


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "compare", "state": 3}', '{"kind": null}'])
def test_a_damaged_record_is_said_so(text: str, tmp_path: Path) -> None:
    study = made(tmp_path)
    (study.folder / RECORD).write_text(text)
    with pytest.raises(IntegrityError, match="is damaged: restore it or start a new study"):
        Study.open(study.folder, "compare")
