"""Runs that have a teacher: who may teach, what is chosen because of it, and that stopping changes no bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_settings
import torch
from safetensors.torch import load_file

from vitrail import artifact
from vitrail.assemble import VisionModel, build_model
from vitrail.data.dataset import DatasetSource
from vitrail.data.loader import TrainLoader
from vitrail.data.mixing import mix
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sources import open_source
from vitrail.distill.feature import WEIGHT
from vitrail.distill.lesson import Lesson
from vitrail.distill.teacher import Teacher
from vitrail.errors import IntegrityError, Interrupted, UsageError
from vitrail.heads.distilled import DistilledHead
from vitrail.run import Run, resume, start, teacher_first, teachers, training
from vitrail.run.building import make_model
from vitrail.run.finish import finish
from vitrail.run.prepare import choose_settings, divide, make_task, read_audit, settle_task
from vitrail.run.timing import Deadline
from vitrail.settings import Config, Stated, build
from vitrail.tasks import create_task, numbered_task
from vitrail.training.journal import Journal
from vitrail.training.objective import Supervised

TINY: Stated = {**tiny_settings.TINY, "train.epochs": 2, "threads": 1}
NARROW = {"model.options.width": 8, "model.patch_size": 1}
"""A ResNet-18 an eighth as wide, with the stem for small images."""


class Drawn:
    """Noise with a class that can be learned: bright or dark."""

    classes = ("dark", "bright")

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        label = index % 2
        return (np.random.default_rng(index).integers(0, 128, (16, 16, 3)) + 100 * label).astype(np.uint8), label


def drawn() -> DatasetSource:
    return DatasetSource(Drawn(), "drawn")


STATED: Stated = {"data.source": "drawn", "data.test_fraction": 0.0, "augment.mixup": 0.8, "augment.flip": True, **TINY}


def cnn(folder: Path, task: str, targets: list[Any], named: tuple[str, ...] = (), size: int = 16, seed: int = 1) -> str:
    """The folder of a CNN that was never trained: it teaches all the same."""
    stated = {"data.source": "x", "model.name": "resnet18", "model.pooling": "mean", "seed": seed, **NARROW}
    stated |= {"model.image_size": size, "preprocess.mean": [0.4, 0.5, 0.6], "preprocess.std": [0.2, 0.3, 0.4]}
    config = build({**stated, "task.name": task})
    made = create_task(task, targets, config.task, named)
    artifact.save(folder, build_model(config, made), config, made, Preprocessor.from_config(config), {"run": "a CNN"})
    return str(folder)


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return cnn(tmp_path / "teacher", "classify", ["grey", "bright", "dark"])


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that end with training: what comes after is tested elsewhere."""

    def ended(run: Run, *rest: Any) -> None:
        run.mark("finished")

    monkeypatch.setattr("vitrail.run.training.finish.finish", ended)
    assert finish is not ended


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CNN that is trained first has an eighth of its width, for the sake of those who wait."""
    real = teacher_first.teacher_settings

    def settings(config: Config, data: Any, device: str) -> Any:
        choice = real(config, data, device)
        options = {**choice.config.model.options, "width": 8}
        small = choice.config.model.model_copy(update={"options": options})
        return replace(choice, config=choice.config.model_copy(update={"model": small}))

    monkeypatch.setattr(teacher_first, "teacher_settings", settings)


def steps(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    return {
        f"{path.name}:{name}": tensor
        for path in sorted(newest.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------------------- whole runs


@pytest.mark.usefixtures("narrow")
def test_a_run_with_a_teacher_trained_first_says_what_taught_it(tmp_path: Path) -> None:
    stated = {**STATED, "distill.teacher": "auto", "distill.kind": "hard"}
    run = start(stated, out=tmp_path / "run", source=drawn(), quiet=True)
    own = Run.open(run.folder / "teacher")
    assert own.status == run.status == "finished"
    assert own.config.model.name == "resnet18"
    assert (own.folder / "report.html").is_file()
    assert own.data["fingerprint"] == run.data["fingerprint"]
    assert own.config.augment == run.config.augment
    assert own.config.train.epochs == run.config.distill.teacher_epochs == run.config.train.epochs / 2
    assert own.config.distill.teacher is None
    accuracy = own.metrics["val"]["accuracy"]
    told = f"Taught by resnet18 ({own.folder}, val accuracy {accuracy:.4f}): its decisions, learned by the distillation"
    assert run.record["teacher"]["told"].startswith(told)
    assert told in (run.folder / "report.html").read_text()
    assert run.config.model.name == "deit_tiny_distilled"
    reasons = {reason["field"]: reason["why"] for reason in run.data["reasons"]}
    assert "DeiT" in reasons["model.name"]
    assert "distill.kind" not in reasons
    assert reasons["distill.teacher_epochs"].startswith("half of its student's")
    assert isinstance(artifact.load(run.folder).model.head, DistilledHead)


@pytest.mark.usefixtures("unreported")
def test_a_second_student_asks_for_one_batch_and_loses_as_without_a_cache(
    tmp_path: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = Lesson._ask
    monkeypatch.setattr(Lesson, "_ask", lambda self, batch: asked.append(1) or real(self, batch))  # type: ignore[func-returns-value]

    def students(name: str, **more: Any) -> tuple[Run, int]:
        asked.clear()
        stated = {**STATED, "distill.teacher": teacher, "distill.kind": "soft", "augment.cutmix": 1.0, **more}
        return start(stated, out=tmp_path / name, source=drawn(), quiet=True), len(asked)

    first, of_first = students("first")
    second, of_second = students("second", seed=5)
    without, of_without = students("without", seed=5, **{"distill.cache_mb": 0})
    assert of_first == of_without == len(steps(first)) > 4
    assert of_second == 1
    assert same(weights(second.folder), weights(without.folder))
    assert steps(second) == steps(without) != steps(first)
    assert not list((tmp_path / "cache").rglob(".*tmp*"))


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("kind", ["hard", "feature"])
def test_a_student_that_was_stopped_ends_with_the_bits_of_one_that_was_not(
    tmp_path: Path, teacher: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stated = {**STATED, "distill.teacher": teacher, "distill.kind": kind, "train.ema": 0.9}
    whole = start(stated, out=tmp_path / "whole", source=drawn(), quiet=True)
    cache = os.environ["VITRAIL_CACHE"]
    monkeypatch.setenv("VITRAIL_CACHE", cache + "-of-another")
    _stop_at(monkeypatch, Lesson, "__call__", 5)
    with pytest.raises(Interrupted):
        start(stated, out=tmp_path / "run", source=drawn(), quiet=True)
    monkeypatch.setenv("VITRAIL_CACHE", cache + "-of-another")
    run = resume(tmp_path / "run", source=drawn(), quiet=True)
    assert run.status == "finished"
    assert len(weights(run.folder)) > 20
    assert same(weights(run.folder), weights(whole.folder))
    assert ("objective.safetensors:projection.weight" in weights(run.folder)) == (kind == "feature")
    assert not any("projection" in name for name in load_file(run.folder / "model" / "last" / "model.safetensors"))
    assert steps(run) == steps(whole)


def _stop_at(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, call: int) -> None:
    """Send SIGTERM to this process at the `call`-th time; never again after that."""
    real: Callable[..., Any] = getattr(owner, method)
    seen = 0

    def stopping(*given: Any, **more: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given, **more)

    monkeypatch.setattr(owner, method, stopping)


@pytest.mark.usefixtures("unreported", "narrow")
def test_a_run_that_was_stopped_in_its_teachers_training_goes_on_with_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {**STATED, "distill.teacher": "auto", "train.epochs": 1}
    whole = start(stated, out=tmp_path / "whole", source=drawn(), quiet=True)
    _stop_at(monkeypatch, Supervised, "forward", 2)
    with pytest.raises(Interrupted, match=r"the teacher was stopped by SIGTERM after update 2.*\n.*--resume .*/run"):
        start(stated, out=tmp_path / "run", source=drawn(), quiet=True)
    run = Run.open(tmp_path / "run")
    assert run.status == Run.open(run.folder / "teacher").status == "interrupted"
    assert not (run.folder / "checkpoints").exists()
    run = resume(run.folder, source=drawn(), quiet=True)
    assert same(weights(run.folder / "teacher"), weights(whole.folder / "teacher"))
    assert same(weights(run.folder), weights(whole.folder))


@pytest.mark.usefixtures("narrow")
def test_a_run_that_was_stopped_in_its_teachers_report_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitrail.run.training.finish.finish", stop)
    with pytest.raises(Interrupted, match=r"^the teacher was interrupted after .*\n.*train --resume .*/run$") as end:
        start(
            {**STATED, "distill.teacher": "auto", "train.epochs": 1}, out=tmp_path / "run", source=drawn(), quiet=True
        )
    assert end.value.code == 130
    assert Run.open(tmp_path / "run").status == "interrupted"


@pytest.mark.usefixtures("unreported")
def test_a_teacher_that_was_changed_is_not_gone_on_with(
    tmp_path: Path, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_at(monkeypatch, Lesson, "__call__", 2)
    with pytest.raises(Interrupted):
        start({**STATED, "distill.teacher": teacher}, out=tmp_path / "run", source=drawn(), quiet=True)
    cnn(Path(teacher), "classify", ["grey", "bright", "dark"], seed=2)
    with pytest.raises(IntegrityError, match=r"is not the one that .* began with"):
        resume(tmp_path / "run", source=drawn(), quiet=True)


# ------------------------------------------------------------------------------------------------ every task's lesson


@pytest.mark.parametrize("kind", ["hard", "soft", "feature"])
@pytest.mark.parametrize(
    ("target", "task", "targets", "named"),
    [
        ("class", "classify", ["ring", "star", "circle", "cross", "square", "triangle"], ()),
        ("labels", "multilabel", [["ring", "star"], ["circle", "cross"], ["square", "triangle"]], ()),
        ("count", "regress", [1, 2, 3], ("count",)),
        ("mask", "segment", [np.arange(7).reshape(7, 1)], ()),
        ("depth", "depth", [np.arange(16.0).reshape(4, 4)], ("depth",)),
    ],
)
def test_each_task_is_taught_on_shapes(
    tmp_path: Path, kind: str, target: str, task: str, targets: list[Any], named: tuple[str, ...]
) -> None:
    stated, quiet = {**tiny_settings.SHAPES, **TINY}, Journal(quiet=True)
    stated |= {"data.source": "shapes", "data.target": target, "distill.kind": kind}
    source = open_source(build(stated).data)
    settled, _ = settle_task(stated, source, quiet)
    if task == "segment":
        named = source.target_names
    settled["distill.teacher"] = cnn(tmp_path / "teacher", task, targets, named)
    taught = teachers.open_named(build(settled), "cpu")
    data = divide(source, read_audit(source, build(settled).data, quiet), build(settled).data, quiet, task)
    settled, _ = teachers.settle(settled, taught)
    config = choose_settings(settled, data, "cpu").config
    model = make_model(config, make_task(config, data), None)
    if kind == "soft" and task in ("regress", "depth"):
        with pytest.raises(UsageError, match="answers with numbers, which have no softened form"):
            teachers.check(config, model.task, taught)
        return
    teachers.check(config, model.task, taught)
    objective = teachers.objective(taught, config, model, data, quiet)
    batch = next(iter(TrainLoader(source, data.split.train, model.task, config, 0, 8)))
    batch = mix(batch, config.augment, 0, 0)
    losses = objective(model, batch)
    losses.sum().backward()
    objective.close()
    assert losses.shape == (8,)
    assert torch.isfinite(losses).all()
    assert not torch.allclose(losses, Supervised(model.task)(model, batch))
    assert taught is not None
    assert all(parameter.grad is None for parameter in taught.model.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())


# ------------------------------------------------------------------------------------------------- what is chosen


def test_how_a_teacher_teaches_best_follows_from_who_learns_what(teacher: str) -> None:
    open_ = teachers.open_named(build({"data.source": "x", "distill.teacher": teacher}), "cpu")
    stated: Stated = {"data.source": "x", "task.name": "classify", "distill.teacher": teacher}

    def kind(**more: Any) -> tuple[Any, Any]:
        given = {key.replace("__", "."): value for key, value in more.items()}
        settled, reasons = teachers.settle({**stated, **given}, open_)
        assert ("distill.kind" in {reason.field for reason in reasons}) == ("distill.kind" not in given)
        return settled["distill.kind"], settled.get("model.name")

    assert kind() == ("feature", None)
    assert kind(model__name="swin_tiny") == ("feature", "swin_tiny")
    assert kind(model__name="deit_tiny_distilled") == ("hard", "deit_tiny_distilled")
    assert kind(train__freeze="backbone", model__weights="runs/x") == ("soft", None)
    assert kind(task__name="segment") == ("hard", None)
    assert kind(distill__kind="soft") == ("soft", "deit_tiny_distilled")


def test_a_teacher_brings_its_size_and_the_student_its_token(teacher: str) -> None:
    open_ = teachers.open_named(build({"data.source": "x", "distill.teacher": teacher}), "cpu")
    stated: Stated = {
        "data.source": "x", "task.name": "classify", "distill.teacher": teacher, "distill.kind": "hard",
    }  # fmt: skip
    settled, reasons = teachers.settle(stated, open_)
    assert settled["model.name"] == "deit_tiny_distilled"
    assert settled["model.image_size"] == 16
    assert {reason.field for reason in reasons} == {"distill.teacher", "model.name", "model.image_size"}
    settled, _ = teachers.settle({**stated, "model.name": "swin_tiny", "model.image_size": 32}, open_)
    assert settled["model.name"] == "swin_tiny"
    assert settled["model.image_size"] == 32
    for other in ({"task.name": "segment"}, {"model.pooling": "mean"}, {"model.weights": "runs/x"}):
        settled, _ = teachers.settle({**stated, **other}, open_)
        assert "model.name" not in settled
    settled, _ = teachers.settle({**stated, "distill.kind": "feature"}, open_)
    assert settled["distill.weight"] == WEIGHT == 0.714
    assert "model.name" not in settled


# ------------------------------------------------------------------------------------------------------- wrong input


def begun(out: Path, **more: Any) -> None:
    stated = {**STATED, **{key.replace("__", "."): value for key, value in more.items()}}
    start(stated, out=out, source=drawn(), quiet=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"distill__weight": 0.3}, "distill.weight is for a run that has a teacher: add --teacher"),
        ({"distill__kind": "soft"}, "distill.kind is for a run that has a teacher"),
        ({"distill__teacher": "auto", "distill__temperature": 2.0}, "distill.temperature is for distill.kind=soft"),
        ({"distill__teacher_epochs": 3}, "distill.teacher_epochs is for a run that has a teacher"),
        ({"distill__teacher": "timm:x", "distill__teacher_epochs": 3}, "distill.teacher_epochs is for --teacher auto"),
        ({"distill__teacher": "runs/nowhere"}, "the teacher runs/nowhere is nowhere: give a run or model folder"),
        ({"distill__teacher": "torchvision:resnet19"}, "unknown model of torchvision 'resnet19': did you mean"),
    ],
)
def test_what_cannot_be_is_said_before_any_folder_is_made(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        begun(tmp_path / "run", **more)
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_refused_by_their_names(tmp_path: Path) -> None:
    other = cnn(tmp_path / "teacher", "classify", ["bright", "grey"])
    with pytest.raises(UsageError, match=r"does not know 1 of the 2 classes: 'dark' \(it knows 'bright', 'grey'\)"):
        begun(tmp_path / "run", distill__teacher=other, distill__kind="hard")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_another_size_is_refused(tmp_path: Path) -> None:
    other = cnn(tmp_path / "teacher", "classify", ["bright", "dark"], size=32)
    with pytest.raises(UsageError, match="takes images of 32 x 32 px, and this run's are 16 x 16 px"):
        begun(tmp_path / "run", distill__teacher=other)


def test_a_teacher_that_cannot_teach_is_refused_before_time_goes_into_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cnn(tmp_path / "teacher", "classify", ["bright", "dark"], size=32)
    monkeypatch.setattr(training, "fit_epochs", lambda *given: pytest.fail("a trial was begun"))
    stated = {path: value for path, value in STATED.items() if path != "train.epochs"}
    with pytest.raises(UsageError, match="takes images of"):
        start({**stated, "distill.teacher": other}, source=drawn(), quiet=True, deadline=Deadline.of("10m"))


def test_a_teacher_of_another_task_is_refused_but_for_its_map(tmp_path: Path) -> None:
    other = cnn(tmp_path / "teacher", "regress", [1.0, 2.0])
    with pytest.raises(UsageError, match="teacher is for the task regress, and this run is for classify"):
        begun(tmp_path / "run", distill__teacher=other, distill__kind="hard")
    taught = teachers.open_teacher(other, "cpu", any_head=True)
    config = build({**STATED, "distill.teacher": other, "distill.kind": "feature"})
    teachers.check(config, numbered_task("classify", 2), taught)


def test_a_teacher_without_its_weights_is_refused(tmp_path: Path, teacher: str) -> None:
    (Path(teacher) / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"model.safetensors is missing"):
        begun(tmp_path / "run", distill__teacher=teacher)


def test_a_teacher_that_was_damaged_is_refused(tmp_path: Path, teacher: str) -> None:
    file = Path(teacher) / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(IntegrityError, match="was changed after it was written"):
        begun(tmp_path / "run", distill__teacher=teacher)


# --------------------------------------------------------------------------------------------------- ImageNet's names


def published(outputs: int, name: str = "torchvision:resnet18") -> Teacher:
    class Answering(VisionModel):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.task = numbered_task("classify", outputs)

    return Teacher(name, Answering(), Preprocessor(size=(16, 16), channels=3), "cpu")


def test_a_published_classifier_knows_imagenets_folders_by_their_names() -> None:
    pytest.importorskip("timm", reason="the names are timm's")
    folders, config = ["n02102040", "n01440764"], build({**STATED, "distill.teacher": "torchvision:resnet18"})
    known = published(1000)
    task = create_task("classify", folders)
    teachers.check(config, task, known)
    raw = torch.arange(1000.0)[None]
    assert task.align(known.task)(raw).tolist() == [[0.0, 217.0]]  # tench is the first, the springer spaniel the 218th
    with pytest.raises(UsageError, match="does not know 2 of the 2 classes"):
        teachers.check(config, task, published(999))
