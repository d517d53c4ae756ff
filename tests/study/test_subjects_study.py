"""What every study of models does, whatever it measures: keep, leave out, name what failed, and decide once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from vitrail.errors import Interrupted, UsageError
from vitrail.study.subjects import Subject, open_subjects
from vitrail.study.subjects_study import Asked, Opened, SubjectsStudy, Turn, Work
from vitrail.training.journal import Journal

MODELS = ("vit_tiny", "resnet18", "pvt_v2_b0")


@dataclass(frozen=True)
class Length:
    """A measure that costs nothing: how long a model's name is."""

    name: str
    letters: int

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Lengths(SubjectsStudy[Asked, Opened, Length]):
    """A study of names. wrong: what measuring a model raises, by the model's name."""

    kind = "lengths"
    asks = Asked

    def __init__(self) -> None:
        self.wrong: dict[str, BaseException] = {}
        self.asked_for: list[str] = []
        self.said: list[str] = []

    def opened(self, asked: Asked) -> Opened:
        """Models of the catalogue on digits."""
        return Opened(*open_subjects(asked.models, "digits", Journal(quiet=True)))

    def decisions(self, asked: Asked, opened: Opened, gone: Callable[[], float], journal: Journal) -> Mapping[str, Any]:
        """Counted, so that a second time shows."""
        self.said.append("decided")
        return {"tongue": "English"}

    def measured(self, work: Work[Asked, Opened], subject: Subject, path: Path) -> Length:
        """Count letters, or fail as told."""
        self.asked_for.append(subject.name)
        if subject.name in self.wrong:
            raise self.wrong[subject.name]
        return Length(subject.name, len(subject.name))

    def restored(self, path: Path, record: Mapping[str, Any]) -> Length:
        """From the record alone."""
        return Length(**record)

    def tell(self, work: Work[Asked, Opened], turn: Turn, found: Length, took: float, again: bool) -> None:
        """Who, and whether it was known."""
        self.said.append(f"{turn.head}{' again' if again else ''}")
        turn.end("finished", f"{found.letters} letters")

    def tell_missing(self, turn: Turn, why: str, tried: bool) -> None:
        """Why not."""
        self.said.append(f"{turn.head}: {why}")
        turn.end("failed" if tried else "left out", why, why)

    def write(
        self, work: Work[Asked, Opened], found: Sequence[Length], about: Mapping[str, str], failed: Mapping[str, str]
    ) -> list[Path]:
        """No page."""
        return []


def asked(time: float | None = None) -> Asked:
    """Three models."""
    return Asked(MODELS, "digits", 2, 1, "cpu", time, 1)


def test_what_fails_is_named_and_tried_again_by_a_resume_alone(tmp_path: Path) -> None:
    study, out = Lengths(), tmp_path / "s"
    study.wrong = {"resnet18": MemoryError("too large\nby far")}
    done = study.begin(asked(), out=out, quiet=True)
    assert [one.name for one in done.found] == ["vit_tiny", "pvt_v2_b0"]
    assert done.failed == {"resnet18": "too large"}
    assert study.said == ["decided", "[1/3] vit_tiny", "[2/3] resnet18: too large", "[3/3] pvt_v2_b0"]
    study.wrong, study.said, study.asked_for = {}, [], []
    done = study.resume(out, quiet=True)
    assert study.asked_for == ["resnet18"]
    assert study.said == ["[1/3] vit_tiny again", "[2/3] resnet18", "[3/3] pvt_v2_b0 again"]
    assert [one.letters for one in done.found] == [8, 8, 9]
    assert not done.failed


def test_a_kill_keeps_what_was_measured_and_what_was_decided(tmp_path: Path) -> None:
    study, out = Lengths(), tmp_path / "s"
    study.wrong = {"resnet18": KeyboardInterrupt()}
    with pytest.raises(Interrupted, match="vitrail study lengths --resume"):
        study.begin(asked(), out=out, quiet=True)
    assert [path.name for path in (out / "measured").iterdir()] == ["vit_tiny.json"]
    study.wrong, study.said = {}, []
    assert len(study.resume(out, quiet=True).found) == 3
    assert "decided" not in study.said


def test_a_study_killed_before_it_decided_decides_when_it_goes_on(tmp_path: Path) -> None:
    study, out = Lengths(), tmp_path / "s"
    study.begin(asked(), out=out, quiet=True)
    record = json.loads((out / "study.json").read_text())
    (out / "study.json").write_text(json.dumps({**record, "decided": {}}))
    study.said.clear()
    study.resume(out, quiet=True)
    assert study.said[0] == "decided"
    assert json.loads((out / "study.json").read_text())["decided"]["tongue"] == "English"


def test_when_the_time_is_over_models_are_left_out_and_a_study_of_none_says_why(tmp_path: Path) -> None:
    study, out = Lengths(), tmp_path / "s"
    with pytest.raises(UsageError, match="no model could be measured: vit_tiny: the time was over; resnet18"):
        study.begin(asked(time=1e-9), out=out, quiet=True)
    assert study.asked_for == []
    cells = json.loads((out / "study.json").read_text())["cells"]
    assert {cell["state"] for cell in cells.values()} == {"left out"}
