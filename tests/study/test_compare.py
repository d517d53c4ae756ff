"""A whole comparison: what it writes, that it goes on after a kill, and that it ends in words."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from small_compare import TINY, few_digits, models, without_times

from vitrail.cli.main import main
from vitrail.data.sources import open_source
from vitrail.errors import TrainingError, UsageError
from vitrail.run import Run, finish
from vitrail.settings import DataConfig
from vitrail.study import compare as comparing
from vitrail.study import compare_work, outcomes, runner, shares
from vitrail.study.folder import Study
from vitrail.study.measure import Measured
from vitrail.study.measure.calibration import Calibration
from vitrail.study.measure.energy import Energy
from vitrail.study.measure.memory import Memory, Peak
from vitrail.study.measure.speed import Latency, Rate, Speed
from vitrail.study.statistics.intervals import Interval


def measured(*given: Any) -> Measured:
    """What stands in for measuring, which has tests of its own: figures that do not change."""
    exact = Interval(1e-3, 1e-3, 1e-3)
    speed = Speed("cpu", 1, Latency(exact, exact, 9), None, (Rate(8, 100.0),))
    honest = Calibration("test", 40, {"ece": Interval(0.1, 0.05, 0.2)})
    memory = Memory((Peak(1, 10**8, 10**7),), "made up")
    return Measured("vit_tiny", "cpu", 1000, 0.1, 4000, speed, memory, Energy(None, "none"), honest, "", None, "", 0.0)


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Leave out what takes longest and is tested elsewhere: measuring, and the report of each cell."""
    patch.setattr(compare_work, "measure", measured)
    patch.setattr(finish, "write_report", lambda folder, report: [])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


def words(folder: Path, *more: str) -> list[str]:
    return ["compare", "digits", "--models", str(models(folder)), *TINY, "--split-file", str(few_digits(folder)), *more]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with everything: rates, two seeds, three parts."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch)
        told = words(folder, "--epochs", "2", "--seeds", "2", "--rates", "1,4", "--fractions", "1/8,1/4,1/2")
        assert main([*told, "--out", str(folder / "study")]) == 0
    return folder / "study"


def test_every_figure_leads_to_a_run_folder(whole: Path) -> None:
    found = json.loads((whole / "results.json").read_text())
    for label, model in found["models"].items():
        assert len(model["full"]) == 2
        for point in model["full"]:
            run = Run.open(whole / "cells" / point["cell"])
            assert (run.status, run.config.train.epochs) == ("finished", 2)
            assert run.metrics["test"]["accuracy"] == pytest.approx(point["test"])
            assert run.metrics["val"]["accuracy"] == pytest.approx(point["val"])
            assert point["cell"] in (whole / "report.html").read_text()
        assert model["score"]["value"] == pytest.approx(sum(p["test"] for p in model["full"]) / 2)
        assert model["score"]["low"] < model["score"]["value"] < model["score"]["high"]
        assert label in {"small", "wide"}
    rows = table(whole / "results.csv")
    assert [row["label"] for row in rows] == ["small", "wide"]
    assert rows[0]["cells"].split() == ["cells/small-full-seed-0", "cells/small-full-seed-1"]
    assert [rows[0][name] for name in ("metric", "split", "images", "runs")] == ["accuracy", "test", "40", "2"]
    assert float(rows[0]["score"]) == pytest.approx(found["models"]["small"]["score"]["value"], abs=1e-5)


def test_rates_are_chosen_on_validation_without_a_test_image(whole: Path) -> None:
    study = Study.open(whole, "compare")
    for label in ("small", "wide"):
        scores = {}
        for rate in ("1", "4"):
            run = Run.open(whole / "cells" / f"{label}-tuning-rate-{rate}")
            assert run.data["images"] == {"train": 160, "val": 40, "test": 0}
            assert "test" not in run.metrics
            scores[float(rate)] = run.metrics["val"]["accuracy"]
        best = study.decided("rates")[label]
        assert scores[best] == max(scores.values())
        plain = Run.open(whole / "cells" / f"{label}-tuning-rate-1").config.train.lr
        chosen = Run.open(whole / "cells" / f"{label}-full-seed-0").config.train.lr
        assert chosen == pytest.approx(best * plain, rel=0.01)


def test_a_rate_whose_images_have_no_score_is_not_chosen() -> None:
    def tried(**metrics: float) -> runner.Done:
        cell: Any = SimpleNamespace(name="a-tuning")
        run: Any = SimpleNamespace(metrics={"val": metrics})  # of multilabel without a label in them there is no mAP
        return runner.Done(cell, run)

    decided: dict[str, Any] = {}
    task = SimpleNamespace(headline="map", maximise=True)
    work: Any = SimpleNamespace(
        ground=SimpleNamespace(task=task), study=SimpleNamespace(decided=decided.get, decide=decided.__setitem__)
    )
    entry: Any = SimpleNamespace(label="a")
    compare_work.Work._choose_rate(work, entry, {0.5: tried(loss=0.1), 1.0: tried(loss=0.3)})
    assert decided == {}, "the recipe's own is kept"
    compare_work.Work._choose_rate(work, entry, {0.5: tried(loss=0.1), 1.0: tried(loss=0.3, map=0.4)})
    assert decided == {"rates": {"a": 1.0}}


def test_what_is_left_out_after_tuning_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    less = "all but 2 of 3 full runs of each model"
    monkeypatch.setattr(shares, "share", lambda *given: shares.Shares(shares.Ask(2), {"a": 1.0}, (less,)))
    said: list[str] = []
    work: Any = SimpleNamespace(
        study=SimpleNamespace(decided=lambda name: None, decide=lambda name, value: value), paces={}, tuned={"a": {}},
        plan=shares.Shares(shares.Ask(3), {"a": 1.0}), journal=SimpleNamespace(warn=said.append), _took=dict,
        _said=dict, asked=SimpleNamespace(seconds=60.0, equal="time", limit="--time 60s"), _training_left=lambda: 9.0,
    )  # fmt: skip
    compare_work.Work._refit(work)
    assert (work.dropped, work.plan.ask.seeds) == ([less], 2)
    assert said == [f"too little time is left for {less}: left out"]


def test_parts_are_nested_and_have_a_curve(whole: Path) -> None:
    found = json.loads((whole / "results.json").read_text())
    assert found["curves"]["small"]["sizes"] == [20, 40, 80, 160]
    assert set(found["curves"]["small"]["ahead"]) == {"2", "10"}
    listed = {}
    for part in ("1_8", "1_4", "1_2"):
        rows = table(whole / "splits" / f"part-{part}-seed-1.csv")
        listed[part] = {row["path"] for row in rows if row["split"] == "train"}
    assert listed["1_8"] < listed["1_4"] < listed["1_2"]
    run = Run.open(whole / "cells" / "wide-part-1_4-seed-1")
    assert run.data["images"]["train"] == 40
    assert run.config.train.epochs == 4


def test_the_page_says_the_recommendation_first_and_where_it_holds(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert "The rate is the only setting that was tuned" in page
    found = json.loads((whole / "results.json").read_text())
    assert page.index(found["said"][0][:30]) < page.index('id="scores"')
    for anchor in ("scores", "differences", "cost", "curves", "training", "method", "limits", "traces"):
        assert f'id="{anchor}"' in page
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", page)
    assert {"scores.png", "pareto.png", "curves.png"} <= {path.name for path in (whole / "figures").iterdir()}
    assert Study.open(whole, "compare").state == "finished"


def test_a_finished_comparison_is_not_resumed(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--resume", str(whole)]) == 2
    assert "is finished: nothing to resume" in capsys.readouterr().err


def test_the_same_results_after_a_kill_in_the_middle_of_a_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = words(tmp_path, "--epochs", "3", "--seeds", "2", "--rates", "1", "--fractions", "none")
    assert main([*told, "--out", str(tmp_path / "never")]) == 0
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "vitrail", *told, "--out", str(killed)], stderr=subprocess.DEVNULL
    )
    third = killed / "cells" / "small-full-seed-1"
    while not list(third.glob("checkpoints/step-*")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((killed / "study.json").read_text())["state"] == "running"
    stamps = {p: p.stat().st_mtime_ns for p in (killed / "cells").glob("*-seed-0/model/best/model.safetensors")}
    assert len(stamps) == 2
    assert main(["compare", "--resume", str(killed)]) == 0
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "what was finished is kept"
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("never", "killed"))
    assert without_times(first) == without_times(second)
    for name in ("small-full-seed-1", "wide-full-seed-1"):
        weights = [tmp_path / which / "cells" / name / "model/best/model.safetensors" for which in ("never", "killed")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def stopped(whole: Path, folder: Path) -> Path:
    """A copy of a comparison, as if it had been stopped before it measured."""
    again = Path(shutil.copytree(whole, folder / "again"))
    shutil.rmtree(again / "measured")
    record = json.loads((again / "study.json").read_text())
    (again / "study.json").write_text(json.dumps({**record, "state": "interrupted"}))
    return again


def test_a_signal_while_measuring_ends_the_comparison(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = stopped(whole, tmp_path)
    monkeypatch.setattr(compare_work, "measure", lambda *given: signal.raise_signal(signal.SIGTERM))
    assert main(["compare", "--resume", str(again)]) == 143
    assert f"Go on with: vitrail compare --resume {again}" in capsys.readouterr().err
    assert Study.open(again, "compare").state == "interrupted"


@pytest.mark.parametrize(("score", "taught"), [(1.0, False), (0.0, True)])
def test_a_model_that_learned_nothing_is_not_recommended(
    score: float, taught: bool, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "blind", lambda *given: outcomes.Blind(score, "always answering '3'"))
    again = stopped(whole, tmp_path)
    (again / "measured").mkdir()
    (again / "measured" / "small-full-seed-0.json").write_text('{"speed": 3')  # a disk that lied: measured again
    assert main(["compare", "--resume", str(again)]) == 0
    found = json.loads((again / "results.json").read_text())
    standing = f"test accuracy is {100 * found['models'][found['leading']]['score']['value']:.0f}"
    assert standing[:-1] in found["said"][1]
    assert "40 test images" in found["said"][1]
    assert all(model["measured"] for model in found["models"].values())
    if taught:
        assert found["untaught"] == []
        return
    assert (found["recommendation"], sorted(found["untaught"])) == (None, ["small", "wide"])
    assert found["said"][0].startswith("Take none of these yet: none is clearly better than always answering '3'")
    assert found["changes"] == []


def test_few_images_are_tested_in_folds_and_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_work.Work, "_fits", lambda *given: False)  # the second repeat is left out
    photos = tmp_path / "photos"
    source = open_source(DataConfig(source="digits"), "classify")
    for index in range(120):
        label = str(int(source.items[index].target) % 2)
        (photos / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.read(index, 1)[..., 0]).save(photos / label / f"{index}.png")
    out = tmp_path / "study"
    told = ["compare", str(photos), "--models", str(models(tmp_path)), *TINY, "--epochs", "1", "--rates", "1"]
    assert main([*told, "--seeds", "2", "--folds", "3", "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "3 folds, 1 time, 120 images" in page, "what was left out is not said to have been done"
    assert "tested once in 3 folds; validation images" in page
    assert "No setting was tuned" in page
    found = json.loads((out / "results.json").read_text())
    assert found["images"] == 120
    assert [len(model["full"]) for model in found["models"].values()] == [3, 3]
    tested = [set(_keys(out / "cells" / f"wide-full-repeat-0-fold-{fold}")) for fold in range(3)]
    assert sum(map(len, tested)) == len(set().union(*tested)) == 120
    capsys.readouterr()
    assert main([*told, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert [model["full_runs"] for model in plan["models"].values()] == [10, 10]
    assert "120 images are under 500" in plan["why"][0]


def _keys(folder: Path) -> list[str]:
    return [row["path"] for row in table(folder / "predictions.csv") if row["split"] == "test"]


def test_a_model_that_fails_is_said_and_the_others_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = runner.start

    def start(stated: Any, **given: Any) -> Run:
        if stated["model.options.width"] == 24 and stated["seed"] == 1:
            raise TrainingError("the loss is not finite")
        return real(stated, **given)

    monkeypatch.setattr(runner, "start", start)
    out = tmp_path / "study"
    told = words(tmp_path, "--epochs", "1", "--seeds", "2", "--rates", "1", "--fractions", "none", "--out", str(out))
    assert main(told) == 0
    found = json.loads((out / "results.json").read_text())
    assert (found["leading"], found["models"]["wide"]["score"]) == ("small", None)
    assert found["models"]["wide"]["failed"] == "the loss is not finite"
    assert "wide is not compared: the loss is not finite" in (out / "report.html").read_text()


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = words(tmp_path, "--time", "10m", "--dry-run", "--json")
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    assert main(told) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seconds"] <= 600
    assert set(plan["plan"]["models"]) == {"small", "wide"}
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--seeds", "1"], "--seeds 1 says nothing of what another training"),
        (["--time", "10m", "--epochs", "3"], "--time and --epochs both say how long"),
        (["--equal", "time"], "--equal time shares a time: give --time"),
        (["--equal", "flops"], "needs to know how much"),
        (["--folds", "1"], "--folds 1: give 2 or more, or 0"),
        (["--folds", "3", "--fractions", "1/8,1/4,1/2"], "--fractions needs one test split"),
        (["--fractions", "1/4"], "a learning curve needs 4 sizes"),
        (["--fractions", "2,3,4"], "each is above 0 and at most 1"),
        (["--rates", "0,1"], "give multiples above 0"),
        (["--rates", "2"], "--rates 2: one is no choice: give two or more, or 1 for the recipe's own"),
        (["--minimal", "-1"], "--minimal -1: the least difference that matters"),
        (["seed=3"], "seed is set by the study: --seeds says how many"),
        (["train.epochs=3"], "train.epochs is set by the study"),
        (["--models", "vit_tinny,resnet18"], "unknown model 'vit_tinny'"),
        (["--epochs", "2", "--split-file", "nowhere.csv"], "no such split file: 'nowhere.csv'"),
        (["--recipe", "samll", "--epochs", "1"], "unknown recipe 'samll': did you mean 'small'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words_before_anything_is_written(
    more: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "digits", *more]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("vitrail compare: ") or "\n" in said
    assert says in said
    assert not (tmp_path / "runs").exists()


def test_too_little_time_says_how_much_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, "--time", "20s", "--out", str(tmp_path / "study"))) == 2
    assert re.search(r"--time 20s is too little here: 2 models, 2 full runs each", capsys.readouterr().err)
    assert not (tmp_path / "study").exists()


def test_what_is_asked_of_a_resumed_comparison_is_what_it_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--resume", str(tmp_path), "--epochs", "3"]) == 2
    assert "leave out --epochs" in capsys.readouterr().err
    assert main(["compare", "digits", "--resume", str(tmp_path)]) == 2
    assert "leave out digits" in capsys.readouterr().err
    assert main(["compare", "--resume", str(tmp_path)]) == 2
    assert "is no study: it has no study.json" in capsys.readouterr().err
    assert main(["compare"]) == 2
    assert "DATA is missing" in capsys.readouterr().err


def test_two_processes_do_not_work_on_one_study(tmp_path: Path) -> None:
    study = Study.create("compare", "one", tmp_path / "study", (), {})
    other = Study.open(tmp_path / "study", "compare")
    with study.at_work(), pytest.raises(UsageError, match="is being worked on by another process"), other.at_work():
        raise AssertionError("two at once")


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_work.Work, "go", interrupt)
    out = tmp_path / "study"
    told = words(tmp_path, "--epochs", "1", "--rates", "1", "--fractions", "none", "--out", str(out))
    assert main(told) == 130
    assert f"Go on with: vitrail compare --resume {out}" in capsys.readouterr().err
    assert Study.open(out, "compare").state == "interrupted"
    assert comparing.KIND == "compare"
