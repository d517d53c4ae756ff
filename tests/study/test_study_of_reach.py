"""A study of reach as a user runs it: a run, a model of the catalogue, a kill, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitrail.cli.study_reach import REACH
from vitrail.errors import Interrupted, UsageError
from vitrail.run import Run
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
    assert {claim["model"] for claim in told["claims"]} == {
        f"{name}, trained",
        f"{name}, untrained",
        "resnet18, untrained",
    }
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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "which models"),
        (["resnet19"], "resnet18"),
        (["resnet18", "--images", "0"], "one at least"),
        (["resnet18", "--seeds", "-1"], "seeds"),
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


def sees(half: float, beyond: float, whole: float = 1.0) -> Sees:
    return Sees(1, (8, 8), Size(exact(half), exact(2 * half), exact(beyond)), 20.0, whole, (16, 16))


def model(family: str, heads: tuple[float, ...], windows: int, *layers: Sees) -> Found:
    """A model of 64 pixels, where even attention looks 33 pixels far."""
    mean = exact(sum(heads) / max(1, len(heads)))
    looks = (Looks(heads, mean, windows, 8.0),) * len(layers) if heads else ()
    states = (StateFound("trained", 1, looks, layers),)
    return Found("it", "it", family, 1, "", (64, 64), ("a",), 33.0, "" if heads else "none", states)


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (model("vit", (30.0, 10.0), 1, sees(10, 0.7)), "yes"),
        (model("vit", (30.0, 10.0), 1, sees(10, 0.01)), "in part"),  # it looks far, its own pixels decide
        (model("vit", (9.0, 10.0), 1, sees(10, 0.7, 0.5)), "no"),
        (model("swin", (8.0,), 16, sees(3, 0.1)), "yes"),
        (model("swin", (30.0,), 16, sees(3, 0.1)), "no"),
    ],
)
def test_a_textbooks_word_is_seen_only_where_it_was_measured(found: Found, seen: str) -> None:
    assert words.claims([found])[0].seen == seen


@pytest.mark.parametrize(
    ("layers", "seen"),
    [
        ((sees(3, 0.1, 0.1), sees(12, 0.5)), "yes"),
        ((sees(3, 0.1), sees(25, 0.5)), "in part"),
        ((sees(9, 1), sees(9, 1)), "no"),
    ],
)
def test_a_cnn_is_said_to_see_more_only_where_its_field_grew(layers: tuple[Sees, ...], seen: str) -> None:
    (claim,) = words.claims([model("resnet", (), 1, *layers)])
    assert claim.seen == seen
    assert "20 px" in claim.found
