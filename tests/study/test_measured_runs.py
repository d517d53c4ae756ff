"""What a finished run is like beside its score: each part against what is known otherwise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finished_runs import finished

from vitrail.artifact import find, load
from vitrail.cost.count import gmacs, parameters
from vitrail.report.study_tables import plain
from vitrail.run import Run
from vitrail.run.outcomes import of_batch
from vitrail.run.trust import drawn, held_out
from vitrail.runtime.torch_engine import make_engine
from vitrail.study.measure import Measured, measure
from vitrail.study.measure.calibration import calibration
from vitrail.study.measure.energy import energy, watts_of
from vitrail.study.measure.levels import KINDS
from vitrail.study.measure.memory import memory
from vitrail.study.measure.records import restored
from vitrail.study.measure.robustness import CONDITIONS, Subject, robustness
from vitrail.study.measure.speed import BATCHES, LEAST_CALLS, WARM_UP, latency, speed
from vitrail.study.outcomes import MEASURES, score_of, scores_of
from vitrail.tasks import create_task

MB = 2**20


@pytest.fixture(scope="session")
def measured(shapes_run: Run) -> Measured:
    """The whole, once. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRAIL_CACHE", str(shapes_run.folder.parent / "cache"))
        return measure(shapes_run, 1.0, "cpu", robust_images=6)


def subject_of(run: Run) -> tuple[Subject, list[int]]:
    """What robustness is measured on."""
    artifact = load(run.folder)
    source, indices, split = held_out(artifact, run.folder, artifact.config.data.source)
    engine = make_engine(artifact.model, "cpu", artifact.preprocessor.windows)
    return Subject(engine, artifact.task, artifact.preprocessor, source, split), [int(i) for i in indices]


# ---------------------------------------------------------------------------------------------------------- the whole


def test_all_parts_of_a_run_are_measured(shapes_run: Run, measured: Measured) -> None:
    artifact = load(shapes_run.folder)
    assert measured.parameters == parameters(artifact.model)
    assert measured.gmacs == gmacs(artifact.model, (16, 16))
    assert measured.disk == (find(shapes_run.folder) / "model.safetensors").stat().st_size
    assert measured.speed.best in measured.speed.rates
    assert measured.speed.whole is not None
    assert 0 < measured.speed.answer.p50.low <= measured.speed.answer.p95.high
    assert [peak.batch for peak in measured.memory.peaks] == sorted({1, measured.speed.best.batch})
    assert measured.calibration is not None
    assert measured.calibration.figures["ece"].value == pytest.approx(shapes_run.metrics["test"]["ece"], abs=2e-3)
    assert measured.calibration.figures["nll"].value == shapes_run.metrics["test"]["loss"]
    assert measured.robustness is not None
    assert measured.robustness.images == 6
    assert measured.robustness.split == "test"
    assert set(measured.robustness.by_kind) == set(KINDS)


def test_a_record_is_read_back_whole(measured: Measured) -> None:
    text = json.dumps(measured.record(), allow_nan=False)
    again = Measured.of(json.loads(text))
    assert repr(again) == repr(measured)  # NaN differs from itself
    with pytest.raises((KeyError, TypeError)):
        Measured.of({"model": "vit"})


def test_numbers_that_json_lacks_come_back() -> None:
    from vitrail.study.statistics.intervals import Interval

    for given in (Interval(1.0, math.nan, math.inf), Interval(0.0, -math.inf, 2.0)):
        assert repr(restored(Interval, json.loads(json.dumps(plain(given))))) == repr(given)


# --------------------------------------------------------------------------------------------------------- robustness


def test_the_same_images_are_changed_alike_for_every_model(shapes_run: Run, tmp_path: Path) -> None:
    seen: dict[str, list[bytes]] = {}

    def watched(subject: Subject, name: str) -> Subject:
        def engine(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            seen.setdefault(name, []).append(images.tobytes())
            return subject.engine(images)

        return Subject(engine, subject.task, subject.preprocessor, subject.source, subject.split)

    other = finished(tmp_path / "other", model__options__width=32, seed=5)
    keys = []
    for name, run in (("one", shapes_run), ("other", other)):
        subject, indices = subject_of(run)
        found = robustness(watched(subject, name), drawn(indices, 5))
        assert found is not None
        keys.append(found.keys)
    assert keys[0] == keys[1]
    assert seen["one"] == seen["other"]
    assert len(seen["one"]) == len(CONDITIONS)


def test_fewer_images_are_among_more(shapes_run: Run) -> None:
    subject, indices = subject_of(shapes_run)
    few, many = (robustness(subject, drawn(indices, count)) for count in (3, 6))
    assert few is not None
    assert many is not None
    assert set(few.keys) < set(many.keys)
    places = [many.keys.index(key) for key in few.keys]
    assert few.outcomes == tuple(many.outcomes[place] for place in places)


def _constant(answer: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], shapes_run: Run) -> Any:
    subject, indices = subject_of(shapes_run)
    made = Subject(answer, subject.task, subject.preprocessor, subject.source, subject.split)
    found = robustness(made, indices)
    assert found is not None
    return found, subject, indices


def test_a_model_that_does_not_look_loses_nothing(shapes_run: Run) -> None:
    classes = load(shapes_run.folder).task.outputs

    def blind(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.eye(classes, dtype=np.float32)[[0] * len(images)]

    found, subject, indices = _constant(blind, shapes_run)
    truth = subject.task.collate([subject.task.encode(subject.source.items[i].target) for i in indices])
    assert found.clean.value == pytest.approx(float((truth == 0).double().mean()))
    assert all(level.score.value == found.clean.value for level in found.levels)
    assert found.drop.value == 0
    assert found.drop.low == found.drop.high == 0


def test_a_model_that_knows_images_by_heart_loses_all(shapes_run: Run) -> None:
    subject, indices = subject_of(shapes_run)
    truth = {}
    for index in indices:
        item = subject.source.items[index]
        truth[subject.preprocessor(subject.source.read(index, 3)).tobytes()] = subject.task.encode(item.target)
    classes = subject.task.outputs

    def by_heart(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # of an image that is not known all logits are 0, which is the first class
        one_hot = np.eye(classes + 1, dtype=np.float32)[:, :classes]
        return np.stack([one_hot[truth.get(image.tobytes(), classes)] for image in images])

    found, _, _ = _constant(by_heart, shapes_run)
    assert found.clean.value == 1
    first = float(np.mean([encoded == 0 for encoded in truth.values()]))
    lost = {level.kind: level.drop.value for level in found.levels if level.level == 3}
    assert lost["noise"] == pytest.approx(1 - first, abs=0.08)
    assert found.drop.value > 0.3


@pytest.mark.parametrize("task", ["segment", "depth"])
def test_maps_of_values_move_with_their_images(task: str, tmp_path: Path) -> None:
    run = finished(tmp_path / task, task__name=task)
    subject, indices = subject_of(run)
    found = robustness(subject, indices[:3])
    assert found is not None
    assert found.moved
    assert math.isfinite(found.drop.value)
    # without a change, the score is that of the evaluation
    whole = robustness(subject, indices)
    assert whole is not None
    assert whole.clean.value == pytest.approx(run.metrics["test"][MEASURES[task].name], rel=1e-5)


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress"])
def test_outcomes_give_the_tasks_own_metric(task: str) -> None:
    draw = np.random.default_rng(3)
    targets: Sequence[Any] = {
        "classify": ["a", "b", "c"] * 8, "multilabel": [["a"], ["b", "c"], ["a", "c"]] * 8,
        "regress": [1.0, 2.5, 4.0] * 8,
    }[task]  # fmt: skip
    made = create_task(task, targets, _config(task))
    outputs = torch.from_numpy(draw.standard_normal((24, made.outputs)).astype(np.float32))
    truth = made.collate([made.encode(target) for target in targets])
    meter = made.meter()
    meter.update(outputs, truth)
    rows = np.concatenate([of_batch(made, outputs.numpy()[part], truth[part]) for part in (slice(10), slice(10, 24))])
    assert score_of(made, rows) == pytest.approx(meter.compute()[made.headline], rel=1e-5)
    twice = np.zeros((1, 24))
    twice[0, :12] = 2
    half = made.meter()
    half.update(outputs[:12], truth[:12])
    assert scores_of(made, rows, twice)[0] == pytest.approx(half.compute()[made.headline], rel=1e-5)


def _config(task: str) -> Any:
    from vitrail.settings import build

    return build({"data.source": "x", "task.name": task}).task


# ------------------------------------------------------------------------------------------------- memory and energy


def test_memory_is_that_of_a_process_of_its_own(shapes_run: Run) -> None:
    folder = find(shapes_run.folder)
    before = memory(folder, "cpu", [1], threads=1).peaks[0]
    ballast = np.ones(900 * MB // 8)  # which a forked process, or getrusage in a new one, would count
    after = memory(folder, "cpu", [1], threads=1).peaks[0]
    del ballast
    assert abs(after.total - before.total) < 300 * MB
    assert 0 <= after.model < after.total


def test_larger_batches_take_more_memory(model_folder: Path) -> None:
    peaks = memory(model_folder, "cpu", [1, 4096], threads=1).peaks
    assert [peak.batch for peak in peaks] == [1, 4096]
    assert peaks[1].model > peaks[0].model + 4096 * 3 * 16 * 16 * 4  # the images alone


def test_memory_that_cannot_be_measured_says_why(tmp_path: Path) -> None:
    found = memory(tmp_path / "nothing", "cpu", [1])
    assert found.peaks == ()
    assert "no such folder" in found.what


def test_the_power_asked_for_is_that_of_the_gpu_that_computes(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *"-i GPU-b") echo 70.5;; *"-i GPU-c") echo "[N/A]";; *) exit 6;; esac\n')
    tool.chmod(0o755)
    assert watts_of(str(tool), "GPU-b") == 70.5
    assert watts_of(str(tool), "GPU-c") is None, "it does not say"
    assert watts_of(str(tool), "0") is None


def test_energy_is_read_from_the_counters_of_the_packages(tmp_path: Path) -> None:
    limit = 1_000_000
    zones = [tmp_path / name for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0")]
    for zone in zones:
        zone.mkdir()
        (zone / "max_energy_range_uj").write_text(str(limit))
        (zone / "energy_uj").write_text("900000")

    def work() -> int:
        (zones[0] / "energy_uj").write_text("100000")  # came round: 200,001 further
        (zones[1] / "energy_uj").write_text("950000")
        (zones[2] / "energy_uj").write_text("999999")  # a part of the first package, which has counted it
        return 10

    found = energy(work, "cpu", 0.0, tmp_path)
    assert found.joules == pytest.approx((200_001 + 50_000) / 1e6 / 10)
    assert "2 processors" in found.what


def test_a_machine_that_reports_no_energy_says_so(tmp_path: Path) -> None:
    found = energy(lambda: 1, "cpu", 0.0, tmp_path)
    assert found.joules is None
    assert "no counter" in found.what
    (tmp_path / "intel-rapl:0").mkdir()
    assert "cannot be read" in energy(lambda: 1, "cpu", 0.0, tmp_path).what


# -------------------------------------------------------------------------------------------------------------- speed


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_latency_is_the_median_and_the_95th_percentile_after_warming_up() -> None:
    clock, calls = Clock(), []

    def once() -> None:
        calls.append(None)
        place = len(calls) - WARM_UP
        clock.now += 5.0 if place <= 0 else 0.1 if place % 10 else 0.9  # every tenth is slow

    found = latency([once], 20.0, clock)
    assert found.p50.value == pytest.approx(0.1)
    assert found.p95.value == pytest.approx(0.9)
    assert found.p50.low == pytest.approx(0.1)
    assert found.calls == len(calls) - WARM_UP > LEAST_CALLS


def test_a_slow_model_is_timed_a_few_times_all_the_same() -> None:
    clock = Clock()

    def once() -> None:
        clock.now += 100.0

    assert latency([once], 1.0, clock).calls == LEAST_CALLS


def test_the_best_batch_is_the_fastest_and_no_larger_one_is_tried() -> None:
    clock, tried = Clock(), []

    def engine(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        tried.append(len(images))
        clock.now += 0.01 + (0.001 if len(images) < BATCHES[2] else 0.1) * len(images)
        return images

    found = speed(engine, np.zeros((3, 4, 4), np.float32), "cpu", 1.0, clock=clock)
    assert found.whole is None
    assert found.best.batch == BATCHES[1]
    assert max(tried) == BATCHES[2]
    assert found.best.images_per_s == pytest.approx(8 / 0.018)


# -------------------------------------------------------------------------------------------------------- calibration


def _predictions(folder: Path, header: str, rows: Sequence[str]) -> Run:
    folder.mkdir()
    (folder / "predictions.csv").write_text("\n".join([header, *rows]) + "\n")
    return Run(folder, metrics={"test": {"loss": 0.7}})


def test_calibration_of_classes_against_a_hand_count(tmp_path: Path) -> None:
    # ten answers at 0.9, of which nine are right: calibrated; ten at 0.6 of which none is
    rows = [f"{i}.png,ok,,a,0.9,{'a' if i else 'b'},test" for i in range(10)]
    rows += [f"x{i}.png,ok,,a,0.6,b,test" for i in range(10)]
    rows += ["bad.png,failed,broken,,,a,test", "v.png,ok,,a,1.0,b,val"]
    run = _predictions(tmp_path / "run", "path,status,reason,label,confidence,target,split", rows)
    found, why = calibration(run, "classify", "test")
    assert found is not None
    assert why == ""
    assert found.images == 20
    assert found.figures["ece"].value == pytest.approx(0.5 * 0.0 + 0.5 * 0.6, abs=1e-6)
    assert found.figures["brier"].value == pytest.approx((9 * 0.01 + 0.81 + 10 * 0.36) / 20)
    assert found.figures["ece"].known
    assert found.figures["nll"].value == 0.7


def test_coverage_of_stated_spreads(tmp_path: Path) -> None:
    rows = [f"{i}.png,ok,,{i % 4},0,1,test" for i in range(8)]  # off by 0, 1, 2 and 3 standard deviations
    run = _predictions(tmp_path / "run", "path,status,reason,size,size_pred,size_std,split", rows)
    found, _ = calibration(run, "regress", "test")
    assert found is not None
    assert found.figures["coverage/size"].value == 0.5


def test_no_calibration_says_why(tmp_path: Path) -> None:
    why = "not measured: confidence is not kept for every pixel"
    assert calibration(Run(tmp_path), "segment", "test") == (None, why)
    assert "no predictions.csv" in calibration(Run(tmp_path), "classify", "test")[1]
    run = _predictions(tmp_path / "run", "path,status,reason,size,size_pred,split", ["a,ok,,1,2,test"])
    assert "no spread" in calibration(run, "regress", "test")[1]
    assert "no image" in calibration(run, "regress", "val")[1]
