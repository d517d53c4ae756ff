"""A study of cost as a user runs it: which cells, what is kept over a kill, what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cells_of_cost import counted, made

from vitrail.cli import study_cost
from vitrail.cli.study_cost import COST
from vitrail.cost import clock
from vitrail.errors import Interrupted, UsageError
from vitrail.study.folder import Study
from vitrail.study.growth import study
from vitrail.study.growth.counted import Counted, count, sketch
from vitrail.study.growth.measured import Measured, Pass, measure
from vitrail.study.growth.order import Cell, Forecasts, cells, smaller_left_out, time_needed
from vitrail.study.growth.study import Asked, begin, reason_of, resume

Measure = Callable[[Counted, Pass, str, str], Measured]
MODELS = ("vit", "swin", "cnn")
SIZES = (64, 96, 128, 192, 256)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models of known laws in the place of the catalogue's; the cells that are measured, in order."""
    measured: list[str] = []

    def known(counts: Counted, what: Pass, precision: str, device: str) -> Measured:
        measured.append(Cell(counts.model, what, counts.size).name)
        return made(counts.model, counts.size, what, counts.batch)

    monkeypatch.setattr(study, "variant", lambda name: name)
    monkeypatch.setattr(study, "sketch", lambda model, size: None)
    monkeypatch.setattr(study, "count", lambda model, size, batch, precision, device: counted(model, size, batch))
    monkeypatch.setattr(study, "measure", known)
    return measured


def test_sizes_go_up_in_turns() -> None:
    order = list(cells(["a", "b"], [128, 64]))
    assert [cell.size for cell in order] == [64] * 4 + [128] * 4
    assert [cell.name for cell in order[:3]] == ["a-64-forward", "a-64-step", "b-64-forward"]


def test_exponents_are_recovered_from_times_through_the_whole_study(
    done: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--models", ",".join(MODELS), "--image-sizes", ",".join(map(str, SIZES)), "--out", str(tmp_path / "s")]
    assert COST([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    exponents = {(one["model"], one["pass"]): one for one in told["exponents"]}
    assert exponents["vit", "forward"]["attention"][0] == pytest.approx(2)
    assert exponents["swin", "step"]["attention"][0] == pytest.approx(1)
    assert exponents["cnn", "forward"]["attention"] is None
    assert len(done) == len(MODELS) * len(SIZES) * 2
    assert (tmp_path / "s" / "report.html").is_file()
    assert json.loads((tmp_path / "s" / "study.json").read_text())["state"] == "finished"


def test_a_kill_loses_the_cell_in_flight_alone(
    done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Measure = study.measure  # type: ignore[attr-defined]  # as the fixture set it

    def killed(counts: Counted, what: Pass, precision: str, device: str) -> Measured:
        if len(done) == 7:
            raise KeyboardInterrupt
        return known(counts, what, precision, device)

    monkeypatch.setattr(study, "measure", killed)
    with pytest.raises(Interrupted, match="--resume"):
        begin(Asked(MODELS, SIZES), out=tmp_path / "s", quiet=True)
    before = list(done)
    monkeypatch.setattr(study, "measure", known)
    found = resume(tmp_path / "s", quiet=True)
    assert len(found.cells) == len(MODELS) * len(SIZES) * 2
    assert len(set(done)) == len(done) == len(found.cells)
    assert done[: len(before)] == before


def test_a_damaged_record_is_measured_again(
    done: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(Asked(("vit",), SIZES[:2]), out=tmp_path / "s", quiet=True)
    for name, text in (("vit-64-step", "{"), ("vit-96-forward", '{"model": "vit"}')):
        (tmp_path / "s" / "measured" / f"{name}.json").write_text(text)
    done.clear()
    assert len(resume(tmp_path / "s").cells) == 4
    assert done == ["vit-64-step", "vit-96-forward"]
    assert "vit-64-step.json is damaged: measuring again" in capsys.readouterr().err


def test_what_has_no_time_is_left_out_and_larger_sizes_with_it(done: list[str], tmp_path: Path) -> None:
    found = begin(Asked(MODELS, (*SIZES, 4096), time=20.0), out=tmp_path / "s", quiet=True)
    left = {cell.name: why for cell, why in found.left_out.items()}
    assert "more than 20 % of the time" in left["vit-4096-step"]
    assert {cell.size for cell in found.left_out} == {4096}
    assert smaller_left_out(Cell("vit", "step", 8192), found.left_out)
    assert study_cost._outcome(dataclasses.replace(found, device="cuda")).next == ["vitrail plan vit --device cuda"]
    assert not smaller_left_out(Cell("vit", "step", 512), found.left_out)


def test_the_time_that_would_have_been_enough_is_told(
    done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Study, "gone", lambda self: 10.0 * len(done))
    short = begin(Asked(("vit",), SIZES, time=30.0), out=tmp_path / "short", quiet=True)
    assert len(short.cells) == 3
    left = [counted("vit", size, 2) for size in (96, 128, 192)]
    assert 30 < short.needed < 60
    assert short.needed == pytest.approx(time_needed(
        [(left[0], "step"), *((one, what) for one in left[1:] for what in ("forward", "step"))], _learned(short), 30.0
    ))  # fmt: skip
    report = (tmp_path / "short" / "report.html").read_text()
    assert "--time 1m or more" in report
    assert begin(Asked(("vit",), SIZES[:2], time=1e9), out=tmp_path / "few", quiet=True).needed == 0
    assert begin(Asked(("vit",), SIZES, time=1e9), out=tmp_path / "whole", quiet=True).needed == 0


def test_where_nothing_fits_it_says_how_much_time_would(done: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none was left. Start again with --time 1m or more"):
        begin(Asked(("vit",), SIZES, time=0.0), out=tmp_path / "s", quiet=True)


def test_the_page_has_time_of_its_own_and_other_work_counts_in_what_cells_will_take() -> None:
    assert Forecasts(300.0, 2**40).end == 292
    assert Forecasts(10.0, 2**40).end == 8
    quiet, loud = Forecasts(300.0, 2**40), Forecasts(300.0, 2**40)
    one = made("vit", 64)
    quiet.learn(dataclasses.replace(one, seconds=(0.1, 0.1)))
    loud.learn(dataclasses.replace(one, seconds=(0.1, 0.3)))
    next_one = counted("vit", 96, 2)
    assert loud.call(next_one, "forward") == pytest.approx(2 * quiet.call(next_one, "forward"))


def _learned(found: study.Done) -> Forecasts:
    forecasts = Forecasts(30.0, 2**40)
    for cell in found.cells:
        forecasts.learn(cell)
    return forecasts


def test_what_does_not_fit_into_memory_is_left_out() -> None:
    large = dataclasses.replace(counted("vit", 64, 2), step_memory=2**31)
    assert "2.0 GiB" in Forecasts(1e9, 2**30).refusal(large, "step", 1e9)
    assert Forecasts(1e9, 2**30).refusal(large, "forward", 1e9) == ""


def test_a_model_that_fails_at_a_size_leaves_the_others(
    done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Measure = study.measure  # type: ignore[attr-defined]  # as the fixture set it

    def failing(counts: Counted, what: Pass, precision: str, device: str) -> Measured:
        if counts.model == "cnn" and what == "step":
            raise RuntimeError("can't allocate memory\nand more")
        return known(counts, what, precision, device)

    monkeypatch.setattr(study, "measure", failing)
    found = begin(Asked(MODELS, SIZES), out=tmp_path / "s", quiet=True)
    assert {cell.model for cell in found.left_out} == {"cnn"}
    assert "can't allocate memory" in (tmp_path / "s" / "report.html").read_text().replace("&#39;", "'")


def test_a_dry_run_writes_nothing(
    done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert COST(["--models", "vit", "--image-sizes", "64,128", "--dry-run"]) == 0
    assert "128" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert done == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "vit_tinny_patch16_224"], "vit_tiny_patch16_224"),
        (["--models", "vit_tiny_patch16_224", "--image-sizes", "100"], "100"),
        (["--models", "swin_tiny_patch4_window7_224", "--image-sizes", "24"], "28 px or more"),
        (["--image-sizes", "64,large"], "whole numbers"),
        (["--image-sizes", "0"], "one pixel"),
        (["--batch", "0"], "one image"),
        (["--threads", "-1"], "threads"),
        (["--time", "soon"], "soon"),
        (["--name", "a", "--out", "b"], "leave one out"),
        (["--resume", "a", "--batch", "3"], "--batch"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        COST(words)


def test_calls_of_attention_are_counted_as_the_model_makes_them() -> None:
    found = count("vit_tiny_patch16_224", 64, 2, "fp32", "cpu")
    ((kind, times),) = found.calls
    assert (kind[0].shape, times) == ((2, 3, 17, 64), 12)
    assert found.tokens == 16
    assert found.attention_flops == 12 * 4 * 3 * 17 * 17 * 64
    assert found.standing == 3 * found.weights
    assert sketch("resnet18", 64) is not None


def test_a_cell_is_measured_with_the_memory_that_was_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "ROUND_SECONDS", 0.0)
    found = measure(count("vit_tiny_patch16_224", 32, 2, "fp32", "cpu"), "step", "fp32", "cpu")
    assert len(found.seconds) == len(found.attention) == clock.ROUNDS
    assert found.predicted is not None
    assert found.memory == pytest.approx(found.predicted, rel=0.1)
    assert 0 < found.attention_time < found.time


def test_a_call_is_timed_by_its_clock() -> None:
    now = [0.0]

    def call() -> None:
        now[0] += 0.03

    found = clock.timed(call, lambda: None, lambda: now[0])
    assert found.best == pytest.approx(0.03)
    assert found.spread == pytest.approx(0)


def test_another_machine_or_other_threads_are_refused(done: list[str], tmp_path: Path) -> None:
    begin(Asked(("vit",), SIZES, threads=1), out=tmp_path / "s", quiet=True)
    record: dict[str, Any] = json.loads((tmp_path / "s" / "study.json").read_text())
    record["decided"]["machine"] = "an abacus"
    (tmp_path / "s" / "study.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="abacus"):
        resume(tmp_path / "s", quiet=True)
    assert torch.get_num_threads() >= 1


def test_one_number_per_channel_is_said_in_plain_words() -> None:
    with pytest.raises(ValueError, match="per channel") as raised:
        torch.nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))
    assert "give --batch 2 or more, or larger images" in reason_of(raised.value)
    assert reason_of(RuntimeError("another reason\nwith more")) == "another reason"
    assert reason_of(MemoryError()) == "MemoryError"
