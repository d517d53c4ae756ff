"""A study of reach as a user runs it: a run, a model of the catalogue, a kill, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from vitrail.cli.study_reach import REACH
from vitrail.errors import Interrupted, UsageError
from vitrail.run import Run
from vitrail.study.claims import NOT, PART, SHOWN
from vitrail.study.reach import study, words
from vitrail.study.reach.field import Size
from vitrail.study.reach.measured import Found, Looks, Sees, StateFound
from vitrail.study.reach.study import Asked, begin, resume
from vitrail.study.statistics.intervals import Interval


def test_a_run_is_measured_trained_and_with_fresh_weights_beside_a_cnn(
    shapes_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    asked = [str(shapes_run.folder), "resnet18", "--images", "2", "--seeds", "1", "--threads", "1", "--out", str(out)]
    assert REACH([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    name = shapes_run.folder.name
    seen = [[(one["model"], one["state"]) for one in claim["models"]] for claim in told["claims"]]
    assert seen == [[(name, "trained"), (name, "untrained")], [("resnet18", "untrained")]]
    results = json.loads((out / "results.json").read_text())
    (vit, cnn) = results["models"]
    assert [state["name"] for state in vit["states"]] == ["trained", "untrained"]
    assert len(vit["images"]) == 2
    assert vit["states"][0]["sees"][0]["whole"] == 1
    assert cnn["states"][0]["looks"] == []
    assert "no attention" in (out / "report.html").read_text()
    rows = (out / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 1 + 8
    assert (out / "figures" / "field-1.png").is_file()


def test_a_kill_loses_the_model_in_flight_alone(
    shapes_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked((str(shapes_run.folder), "resnet18"), images=1, seeds=1, threads=1)
    known: Any = study.measure  # type: ignore[attr-defined]  # what the study calls
    measured: list[str] = []

    def counting(subject: Any, *rest: Any) -> Any:
        if subject.name == "resnet18" and not measured[1:]:
            measured.append("killed")
            raise KeyboardInterrupt
        measured.append(subject.name)
        return known(subject, *rest)

    monkeypatch.setattr(study, "measure", counting)
    with pytest.raises(Interrupted, match="study reach --resume"):
        begin(asked, out=tmp_path / "s", quiet=True)
    found = resume(tmp_path / "s", quiet=True)
    assert measured == [shapes_run.folder.name, "killed", "resnet18"]
    assert [one.name for one in found.found] == [shapes_run.folder.name, "resnet18"]
    assert (tmp_path / "s" / "figures" / "field-1.png").is_file()  # drawn from what was kept
    pictures = tmp_path / "s" / "measured" / "resnet18.npz"
    pictures.write_bytes(pictures.read_bytes()[:-30])
    assert len(resume(tmp_path / "s", quiet=True).found) == 2
    assert measured[3:] == ["resnet18"], "what is damaged is measured again, and nothing else"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "which models"),
        (["resnet19"], "resnet18"),
        (["resnet18", "--images", "0"], "one at least"),
        (["resnet18", "--seeds", "-1"], "seeds"),
        (["resnet18", "--threads", "-1"], "PyTorch's own choice, or more"),
        (["resnet18", "--time", "soon"], "soon"),
        (["resnet18", "--name", "a", "--out", "b"], "leave one out"),
        (["resnet18", "--resume", "a"], "resnet18"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(given: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        REACH(given)


def test_a_dry_run_writes_nothing(
    shapes_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert REACH([str(shapes_run.folder), "--dry-run"]) == 0
    assert shapes_run.folder.name in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def exact(value: float) -> Interval:
    return Interval(value, value, value)


def sees(half: float | Interval, beyond: float, whole: float = 1.0) -> Sees:
    half = half if isinstance(half, Interval) else exact(half)
    return Sees(1, (8, 8), Size(half, half.scaled(2), exact(beyond)), 20.0, whole, (16, 16))


def model(family: str, heads: tuple[float, ...], windows: int, *layers: Sees) -> Found:
    """A model of 64 pixels, where even attention looks 33 pixels far."""
    mean = exact(sum(heads) / max(1, len(heads)))
    looks = (Looks(heads, mean, windows, 8.0),) * len(layers) if heads else ()
    states = (StateFound("trained", 1, looks, layers),)
    return Found("it", "it", family, 1, "", (64, 64), ("a",), 33.0, "" if heads else "none", states)


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (model("vit", (30.0, 10.0), 1, sees(10, 0.7)), SHOWN),
        (model("vit", (30.0, 10.0), 1, sees(10, 0.01)), PART),  # it looks far, its own pixels decide
        (model("vit", (9.0, 10.0), 1, sees(10, 0.7, 0.5)), NOT),
        (model("swin", (8.0,), 16, sees(3, 0.1)), SHOWN),
        (model("swin", (30.0,), 16, sees(3, 0.1)), NOT),
    ],
)
def test_a_textbooks_word_is_seen_only_where_it_was_measured(found: Found, seen: str) -> None:
    (sight,) = words.claims([found])[0].sights
    assert sight.seen == seen


@pytest.mark.parametrize(
    ("layers", "seen"),
    [
        ((sees(3, 0.1, 0.1), sees(12, 0.5)), SHOWN),
        ((sees(3, 0.1), sees(25, 0.5)), PART),
        ((sees(3, 0.1), sees(Interval(19, 18, 21), 0.5)), PART),  # it may be as much as it could
        ((sees(9, 1), sees(9, 1)), NOT),
    ],
)
def test_a_cnn_is_said_to_see_more_only_where_its_field_grew(layers: tuple[Sees, ...], seen: str) -> None:
    (claim,) = words.claims([model("resnet", (), 1, *layers)])
    (sight,) = claim.sights
    assert sight.seen == seen
    assert "20.0 px" in sight.figure


def test_a_summary_names_each_claim_once_after_what_was_found() -> None:
    near, far = (
        dataclasses.replace(model("vit", (30.0,), 1, sees(half, 0.01)), name=name)
        for name, half in (("near", 0.04), ("far", 12.3))
    )
    found = [near, far, model("swin", (8.0,), 16, sees(3, 0.1), sees(9, 0.4))]
    said = words.verdict(found)
    assert len(said) == 3
    assert "12.3 px in far, 9.0 px in it and under 0.1 px in near" in said[0]
    assert said[1].startswith("Of what textbooks say, shown here: windows")
    assert said[2] == "Shown in part: attention sees the whole image from the first layer on."
    assert "from 12.3 px in far down to under 0.1 px in near" in words.verdict([*found, near])[0]
