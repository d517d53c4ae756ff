"""After the last step: the best model scored once per split, the tables, the pictures and the report."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail import durable
from vitrail.artifact import Artifact
from vitrail.contracts import Engine, Prediction, Task
from vitrail.cost.count import gmacs, parameters
from vitrail.data.findings.record import record_before_training
from vitrail.data.loader import EvalLoader
from vitrail.data.preprocess import Preprocessor
from vitrail.data.split import split_record
from vitrail.errors import BadImage, UsageError
from vitrail.evaluate.evaluator import Evaluation, evaluate
from vitrail.explain.explainer import explain
from vitrail.explain.explanation import Explanation
from vitrail.explain.gallery import write_gallery
from vitrail.predict.rows import table_file
from vitrail.report.data import EvaluationView, Picture, ReportData
from vitrail.report.html import write_report
from vitrail.run.folder import Run, versions
from vitrail.run.prepare import Data
from vitrail.runtime.torch_engine import make_engine
from vitrail.settings import Config
from vitrail.training.checkpoint import Progress
from vitrail.training.journal import Journal, duration
from vitrail.training.memory import peak_memory_mb
from vitrail.training.recipe import Reason

BATCH = 64
SHOWN = 12
"""Pictures in each row of the report."""
EXPLAINED = 8


def finish(
    run: Run, config: Config, reasons: Sequence[Reason], data: Data, progress: Progress, artifact: Artifact,
    device: str, journal: Journal,
) -> None:  # fmt: skip
    """Score the best model on val and test, write the tables and the report, and mark the run finished."""
    engine = make_engine(artifact.model, device, artifact.preprocessor.windows)
    results: dict[str, Evaluation] = {}
    for split in ("val", "test"):
        if data.indices(split):
            journal.say(f"evaluating on {split}")
            results[split] = evaluate_split(engine, artifact.task, artifact.preprocessor, config, data, split)
            run.metrics[split] = results[split].metrics
    write_predictions(run.folder / "predictions.csv", artifact.task, data, results)
    overlays, unexplained = _explain(artifact, data, results, journal)
    if overlays:
        write_gallery(run.folder, overlays)
    run.warnings = journal.warnings
    report = _report_data(run, config, reasons, data, progress, device, artifact, results, overlays, unexplained)
    _write_per_class(run.folder / "per_class.csv", report)
    write_report(run.folder, report)
    run.mark(
        "finished",
        reason=progress.stopped,
        metrics=run.metrics,
        warnings=journal.warnings,
        failures=progress.failures,
        refused_updates=progress.refused,
    )
    names = ("report.html", "explain.html", "predictions.csv", "per_class.csv", "results.csv", "model/best")
    run.outputs = [run.folder / name for name in names if (run.folder / name).exists()]
    for split, result in results.items():
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        journal.say(f"{split}: {shown}  ({len(result.keys)} images)")
    journal.say(f"best epoch {progress.best_epoch}, trained in {duration(progress.seconds)}")


def evaluate_split(
    engine: Engine, task: Task, preprocessor: Preprocessor, config: Config, data: Data, split: str
) -> Evaluation:
    """Score one split of the run's data, and keep what was said of each image."""
    indices = data.indices(split)
    loader = EvalLoader(data.source, indices, task, preprocessor, BATCH, config.data.workers)
    return evaluate(engine, loader, task, answers=True)


def write_predictions(path: Path, task: Task, data: Data, results: Mapping[str, Evaluation]) -> None:
    """predictions.csv as `predict` writes it, and the truth and the split: a row per sample of each split, in its order.

    The truth stands after what was said of it, but numbers stand before it: TARGET, TARGET_pred.
    """
    columns = [*task.columns, *task.truths] if task.truths == ("target",) else [*task.truths, *task.columns]
    with table_file(path, [*columns, "split"]) as write:
        for split, result in results.items():
            said = {answer.source: answer for answer in result.answers}
            failed = {failure.key: failure.reason for failure in result.failures}
            for index in data.indices(split):
                item = data.source.items[index]
                answer = said.get(item.key) or Prediction(item.key, "failed", failed.get(item.key, ""))
                write(replace(answer, values={**answer.values, **task.truth(item.target), "split": split}))


def _write_per_class(path: Path, report: ReportData) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["split", "class", "images", "precision", "recall", "f1"])
    for split, view in report.evaluations.items():
        for label, score in zip(report.labels, view.per_class, strict=True):
            values = [score.precision, score.recall, score.f1]
            writer.writerow([split, label, score.images, *("" if v is None else f"{v:.6f}" for v in values)])
    durable.write_file(path, text.getvalue())


def _view(task: Task, result: Evaluation) -> EvaluationView:
    decoded = task.decode(result.outputs, result.keys)
    probabilities = np.stack([p.arrays["probabilities"] for p in decoded]) if decoded else result.outputs
    return EvaluationView(result.metrics, probabilities, result.targets, result.keys)


def _explain(
    artifact: Artifact, data: Data, results: Mapping[str, Evaluation], journal: Journal
) -> tuple[list[Explanation], str]:
    """Explanations of a few held-out images, the first of each class in turn, and why there are none if there are."""
    split = "test" if "test" in results else "val"
    if split not in results:
        return [], ""
    seen: dict[str, int] = {}
    order = []
    for index in data.indices(split):
        target = str(data.source.items[index].target)
        seen[target] = seen.get(target, 0) + 1
        order.append((seen[target], index))
    made = []
    for _, index in sorted(order)[:EXPLAINED]:
        item = data.source.items[index]
        try:
            pixels = data.source.read(index, artifact.preprocessor.channels)
            made.append(explain(artifact, pixels, item.key))
        except BadImage as error:
            journal.warn(f"not explained: {item.key}: {error.reason}")
        except UsageError as error:  # a model with no attention: one line, not one an image
            journal.say(f"no explanations: {error}")
            return [], str(error)
    return made, ""


def _report_data(
    run: Run, config: Config, reasons: Sequence[Reason], data: Data, progress: Progress, device: str,
    artifact: Artifact, results: Mapping[str, Evaluation], overlays: Sequence[Explanation], unexplained: str,
) -> ReportData:  # fmt: skip
    views = {split: _view(artifact.task, result) for split, result in results.items()}
    labels = [str(label) for label in artifact.task.state()["labels"]]
    subject = "test" if "test" in views else "val"
    best = worst = []
    if subject in views:
        view, where = views[subject], dict(zip(results[subject].keys, results[subject].indices.tolist(), strict=True))
        best = _pictures(view, view.surest_right(SHOWN), labels, data, where)
        worst = _pictures(view, view.surest_wrong(SHOWN), labels, data, where)
    record = run.record
    size = artifact.preprocessor.size
    cost = {
        "parameters": parameters(artifact.model),
        "gmacs": gmacs(artifact.model, size, artifact.preprocessor.channels),
        "train_seconds": progress.seconds,
        "images_per_s": progress.history[-1]["images_per_s"] if progress.history else None,
        "peak_memory_mb": peak_memory_mb(device),
        "device": device,
        "seconds_to_report": time.time() - _epoch(record["started"]),
    }
    return ReportData(
        name=run.folder.name,
        config=config,
        labels=labels,
        evaluations=views,
        reasons=[(r.field, r.value, r.why) for r in reasons],
        history=progress.history,
        best_epoch=progress.best_epoch or None,
        headline=artifact.task.headline,
        audit=record_before_training(data.audit, data.source, data.split),
        split=split_record(data.split, data.source, config.task.name),
        best=best,
        worst=worst,
        overlays=[Picture.explained(e) for e in overlays],
        unexplained=unexplained,
        cost=cost,
        warnings=run.warnings,
        command=" ".join(record.get("command", [])),
        versions=versions(),
    )


def _epoch(stamp: str) -> float:
    return time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))


def _pictures(
    view: EvaluationView, rows: Sequence[int], labels: Sequence[str], data: Data, where: Mapping[str, int]
) -> list[Picture]:
    made = []
    for row in rows:
        key = view.keys[row]
        try:
            pixels = data.source.read(where[key], 3)
        except BadImage:
            continue  # it was readable when it was scored; the report is not worth failing for
        made.append(Picture(view.title(row, labels), key, Image.fromarray(pixels)))
    return made
