"""Runs made up for every task: answers of known quality, scored by the tasks' own meters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from vitrail.contracts import Task
from vitrail.evaluate.evaluator import Evaluation
from vitrail.explain.explainer import output_names
from vitrail.report.data import Gallery, Panel, Picture, ReportData, Strip
from vitrail.report.section import DenseSection
from vitrail.report.sections import section_of
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task

LABELS = ("circle", "cross", "ring", "square", "star")


def scored(task: Task, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], batch: int = 16) -> Evaluation:
    """What `evaluate` makes of a model that gives these outputs."""
    meter, losses = task.meter(), []
    for first in range(0, len(outputs), batch):
        part = (torch.from_numpy(values[first : first + batch]) for values in (outputs, targets))
        said, true = part
        meter.update(said, true)
        losses.append(task.loss(said, true).numpy())
    keys = tuple(f"images/{n:03d}.jpg" for n in range(len(outputs)))
    metrics = {"loss": float(np.concatenate(losses).mean()), **meter.compute()}
    kept = [np.zeros((len(outputs), 0), np.float32)] * 2 if task.dense else [outputs, targets]
    return Evaluation(metrics, *kept, np.concatenate(losses), np.arange(len(outputs)), keys, (), meter=meter)


def multilabel(skill: float = 2.0, images: int = 120, labels: tuple[str, ...] = LABELS) -> tuple[Task, Evaluation]:
    """Labels that a third of the images have."""
    draw = np.random.default_rng(0)
    task = create_task("multilabel", [list(labels)])
    present = (draw.uniform(size=(images, len(labels))) < 0.35).astype(np.float32)
    logits = (draw.normal(size=present.shape) + skill * (present - 0.5)).astype(np.float32)
    task = task.tuned(logits, present)
    return task, scored(task, logits, present)


def regress(skill: float = 0.9, images: int = 150, loss: str = "huber", targets: int = 1) -> tuple[Task, Evaluation]:
    """Masses of some kilograms, and ages; skill is the correlation."""
    draw = np.random.default_rng(1)
    train = [tuple(row) for row in draw.normal([12, 40], [3, 10], (200, 2))[:, :targets]]
    config = TaskConfig(name="regress", loss=loss)
    task = create_task("regress", train, config, ("mass [kg]", "age [years]")[:targets])
    true = draw.normal([12, 40], [3, 10], (images, 2))[:, :targets]
    noise = draw.normal(size=true.shape)
    answers = skill * (true - [12, 40][:targets]) / [3, 10][:targets] + (1 - skill**2) ** 0.5 * noise * skill
    spread = np.full(true.shape, 2 * np.log(max(1e-3, (1 - skill**2) ** 0.5)))
    outputs = np.concatenate([answers, spread], axis=1) if loss == "nll" else answers
    return task, scored(task, outputs.astype(np.float32), true.astype(np.float32))


def segment(
    skill: float = 3.0, images: int = 30, labels: tuple[str, ...] = ("ground", "cell", "dust"), side: int = 24
) -> tuple[Task, Evaluation]:
    """Blocks of classes on a ground, known but for a margin."""
    task, chances, truth = segment_arrays(skill, images, labels, side)
    return task, scored(task, chances, truth)


def segment_arrays(
    skill: float = 3.0, images: int = 30, labels: tuple[str, ...] = ("ground", "cell", "dust"), side: int = 24
) -> tuple[Task, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The task, the outputs and the targets that `segment` scores."""
    draw = np.random.default_rng(2)
    masks = np.zeros((images, side, side), np.int64)
    for mask in masks:
        for index in range(1, len(labels)):
            top, left = draw.integers(0, side - 9, 2)
            mask[top : top + 8, left : left + 8] = index
    task = create_task("segment", list(masks.astype(np.uint8)), TaskConfig(name="segment", labels=labels))
    truth = masks.copy()
    truth[:, :2] = -1
    chances = draw.normal(size=(images, len(labels), side, side))
    chances += skill * np.eye(len(labels))[masks].transpose(0, 3, 1, 2)
    return task, chances.astype(np.float32), truth


def depth(skill: float = 0.9, images: int = 30, maps: int = 1, side: int = 16) -> tuple[Task, Evaluation]:
    """Slopes in metres, unknown in a corner."""
    draw = np.random.default_rng(3)
    slopes = np.linspace(1, 9, side)[None, None, None, :] + draw.normal(0, 0.8, (images, maps, side, side))
    slopes = np.abs(slopes).astype(np.float32) + 0.1
    task = create_task("depth", list(slopes), None, ("depth [m]", "albedo")[:maps])
    mean, std = (np.asarray(values)[:, None, None] for values in (task.state()["mean"], task.state()["std"]))
    answers = skill * (slopes - mean) / std + (1 - skill) * draw.normal(size=slopes.shape)
    truth = slopes.copy()
    truth[:, :, :3, :3] = np.nan
    return task, scored(task, answers.astype(np.float32), truth)


MADE: Mapping[str, Callable[..., tuple[Task, Evaluation]]] = {
    "multilabel": multilabel, "regress": regress, "segment": segment, "depth": depth,
}  # fmt: skip


def history(result: Evaluation) -> list[dict[str, Any]]:
    """Epochs that lead to these metrics."""
    rows = []
    for epoch in range(1, 6):
        done = epoch / 5
        worse = {f"val/{name}": value * (2 - done) for name, value in result.metrics.items()}
        rows.append({"epoch": epoch, "train/loss": 2 - done, **worse, "lr": 1e-3 * (1 - 0.9 * done)})
    return rows


def report(run: ReportData, task: Task, result: Evaluation, split: str = "test", **changes: Any) -> ReportData:
    """The made-up run `run` with this task's answers and pictures in the place of classes."""
    section = section_of(task.name)
    view, labels = section.view(task, result), output_names(task)
    config = run.config.model_copy(update={"task": run.config.task.model_copy(update={"name": task.name})})
    galleries, more = [], {}
    for chosen in section.chosen(view, 4):
        words = [(section.title(labels, view, row), result.keys[row]) for row in chosen.rows]
        if isinstance(section, DenseSection):
            more = {"key": section.key(task, view), "error_key": section.error_key(task, view)}
            strips = [Strip(title, key, [Panel(w, photo(n)) for n, w in enumerate("abcd")]) for title, key in words]
            galleries.append(Gallery(chosen.title, chosen.note, strips=strips))
        else:
            galleries.append(Gallery(chosen.title, chosen.note, [Picture(*pair, photo(1)) for pair in words]))
    counts: dict[str, Any] = {"how": "by content", "images": {"train": 200, "val": 30, "test": len(result.keys)}}
    values: dict[str, Any] = {
        "config": config, "labels": labels, "evaluations": {split: view}, "history": history(result), "best_epoch": 5,
        "headline": task.headline, "galleries": galleries, "split": counts, "audit": {"found": 300, "usable": 300},
        "warnings": (), **more,
    }  # fmt: skip
    return replace(run, **(values | changes))


def photo(seed: int, width: int = 90, height: int = 60) -> Image.Image:
    """Something to look at."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))
