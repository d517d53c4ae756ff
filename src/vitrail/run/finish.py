"""After the last step: the best model scored once per split, the tables, the pictures and the report."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vitrail import durable
from vitrail.artifact import Artifact
from vitrail.contracts import SPLIT_COLUMN, Engine, Prediction, Spread, Task
from vitrail.cost.count import gmacs, parameters
from vitrail.data.audit import refuse_if_too_bad, write_bad_files
from vitrail.data.findings.record import record_before_training
from vitrail.data.loader import EvalLoader
from vitrail.data.preprocess import Preprocessor
from vitrail.data.split import split_record
from vitrail.data.target_audit import without
from vitrail.evaluate.evaluator import Evaluation, evaluate
from vitrail.explain.explainer import output_names
from vitrail.explain.explanation import Explanation
from vitrail.predict.rows import table_file
from vitrail.report.data import Picture, ReportData
from vitrail.report.html import write_report
from vitrail.report.section import DenseSection, Section
from vitrail.report.sections import section_of
from vitrail.run import outcomes, pictures
from vitrail.run.folder import Run, versions
from vitrail.run.prepare import Data
from vitrail.run.trust import of_run
from vitrail.runtime.torch_engine import make_engine
from vitrail.settings import Config
from vitrail.training.checkpoint import Progress
from vitrail.training.journal import Journal, duration
from vitrail.training.memory import peak_memory_mb
from vitrail.training.recipes import Reason

BATCH = 64
NOT_ASKED = "left out, as stated by report.explanations=false; `vitrail explain RUN` makes them"
SHOWN = 3
"""Failed samples that a warning names."""


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
    outcomes.write(run.folder / outcomes.FILE, artifact.task, results)
    failures = {**progress.failures, **late_failures(results, progress.failures, journal)}
    used = without_failures(data, failures)
    if failures:
        run.mark("running", metrics=run.metrics, failures=failures)
        write_bad_files(run.folder / "bad_files.csv", used.audit)
        refuse_if_too_bad(used.audit, config.data.max_bad_fraction)
    overlays: list[Explanation] = []
    unexplained = NOT_ASKED
    if config.report.explanations:
        overlays, unexplained = pictures.explanations(artifact, data, results, journal)
    if overlays:
        pictures.album(artifact, overlays).write(run.folder, f"Explanations of {run.folder.name}")
    seen = progress.step * config.train.batch_size
    trust, untrusted = of_run(artifact, data, results, seen, config, journal) if overlays else (None, "")
    run.warnings = journal.warnings
    section = section_of(artifact.task.name)
    shown = _shown(section, artifact, engine, config, data, results)
    report = ReportData(
        name=run.folder.name,
        config=config,
        labels=output_names(artifact.task),
        reasons=[(r.field, r.value, r.why) for r in reasons],
        history=progress.history,
        best_epoch=progress.best_epoch or None,
        taught=run.record.get("teacher", {}).get("told", ""),
        headline=artifact.task.headline,
        audit=record_before_training(used.audit, used.source, used.split, config.task),
        split=split_record(used.split, used.source, artifact.task.name),
        overlays=[Picture.explained(e) for e in overlays],
        unexplained=unexplained,
        trust=trust,
        profile=pictures.inside(artifact, overlays),
        untrusted=untrusted,
        cost=_cost(run, artifact, progress, device),
        warnings=run.warnings,
        command=shlex.join(run.record.get("command", [])),
        versions=versions(),
        **shown,
    )
    _write_per_class(run.folder / "per_class.csv", section, report)
    write_report(run.folder, report)
    limit = run.record.get("time")
    run.mark(
        "finished",
        reason=progress.stopped,
        metrics=run.metrics,
        warnings=journal.warnings,
        failures=failures,
        refused_updates=progress.refused,
        **({"time": {**limit, "took": round(run.took, 1)}} if limit else {}),
    )
    names = ("report.html", "explain.html", "predictions.csv", "per_class.csv", "results.csv", "model/best")
    run.outputs = [run.folder / name for name in names if (run.folder / name).exists()]
    for split, result in results.items():
        told = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        failed = f", {len(result.failures)} could not be used" if result.failures else ""
        journal.say(f"{split}: {told}  ({len(result.keys)} images{failed})")
    journal.say(f"best epoch {progress.best_epoch:g}, trained in {duration(progress.seconds)}")
    if limit:
        journal.say(f"took {duration(run.took)} in all, {duration(limit['asked'])} were asked for")


def evaluate_split(
    engine: Engine, task: Task, preprocessor: Preprocessor, config: Config, data: Data, split: str
) -> Evaluation:
    """Score one split of the run's data, and keep what was said of each image."""
    indices = data.indices(split)
    loader = EvalLoader(data.source, indices, task, preprocessor, BATCH, config.data.workers)
    return evaluate(engine, loader, task, answers=True, spread=_spreads(preprocessor, data))


def late_failures(results: Mapping[str, Evaluation], known: Mapping[str, str], journal: Journal) -> dict[str, str]:
    """The samples that no score counts since they failed after the audit: key -> reason; those not `known` are said."""
    failures: dict[str, str] = {}
    for split, result in results.items():
        new = [failure for failure in result.failures if failure.key not in known]
        failures |= {failure.key: failure.reason for failure in new}
        if new:
            named = "; ".join(f"{failure.key}: {failure.reason}" for failure in new[:SHOWN])
            more = f"; and {len(new) - SHOWN} more, named among the predictions" if len(new) > SHOWN else ""
            count = len(result.keys) + len(result.failures)
            journal.warn(f"{len(new)} of {count} {split} images could not be used and are in no score: {named}{more}")
    return failures


def without_failures(data: Data, failures: Mapping[str, str]) -> Data:
    """The data without the samples that failed after the audit, key -> reason: they are among the bad, in no split."""
    if not failures:
        return data
    lost = {index: failures[item.key] for index, item in enumerate(data.source.items) if item.key in failures}
    return Data(data.source, without(data.audit, data.source, lost), data.split.without(lost))


def _spreads(preprocessor: Preprocessor, data: Data) -> Callable[[int], Spread]:
    """How a map goes back to the image of a source index: by the size that the audit found."""
    sizes = dict(zip(data.audit.usable, data.audit.sizes, strict=True))

    def spread(index: int) -> Spread:
        width, height = sizes[index]
        return partial(preprocessor.to_image, size=(height, width))

    return spread


def write_predictions(path: Path, task: Task, data: Data, results: Mapping[str, Evaluation]) -> None:
    """predictions.csv as `predict` writes it, with the truth and the split: a row per sample of each, in its order."""
    with table_file(path, columns(task)) as write:
        for split, result in results.items():
            said = {answer.source: answer for answer in result.answers}
            failed = {failure.key: failure.reason for failure in result.failures}
            for index in data.indices(split):
                item = data.source.items[index]
                answer = said.get(item.key) or Prediction(item.key, "failed", failed.get(item.key, ""))
                write(replace(answer, values={**answer.values, **task.truth(item.target), SPLIT_COLUMN: split}))


def columns(task: Task) -> list[str]:
    """A task's columns in predictions.csv: each true number before what was said of it, true labels after all."""
    paired = [name for name in task.truths if f"{name}_pred" in task.columns]
    rest = [name for name in task.truths if name not in paired]
    first = [c for name in paired for c in (name, f"{name}_pred", f"{name}_std") if c == name or c in task.columns]
    return [*first, *(column for column in task.columns if column not in first), *rest, SPLIT_COLUMN]


def _write_per_class(path: Path, section: Section[Any], report: ReportData) -> None:
    """A row per class, label, number or map of each split; what is not defined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["split", *section.columns])
    for split, view in report.evaluations.items():
        for row in section.rows(report, view):
            writer.writerow([split, *(_cell(value) for value in row)])
    durable.write_file(path, text.getvalue())


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else value


def _shown(
    section: Section[Any], artifact: Artifact, engine: Engine, config: Config, data: Data,
    results: Mapping[str, Evaluation],
) -> dict[str, Any]:  # fmt: skip
    """The parts of the report that the task's section makes of the evaluations."""
    task = artifact.task
    views = {split: section.view(task, result) for split, result in results.items()}
    subject = next((split for split in ("test", "val") if split in views and views[split].images), None)
    made: dict[str, Any] = {"evaluations": views}
    if subject is not None:
        view, labels = views[subject], output_names(task)
        made["galleries"] = pictures.galleries(section, artifact, engine, data, results[subject], view, labels)
        made["seen"] = pictures.as_seen(section, artifact, config, data, view)
        if isinstance(section, DenseSection):
            made |= {"key": section.key(task, view), "error_key": section.error_key(task, view)}
    return made


def _cost(run: Run, artifact: Artifact, progress: Progress, device: str) -> dict[str, Any]:
    return {
        "parameters": parameters(artifact.model),
        "gmacs": gmacs(artifact.model, artifact.preprocessor.size, artifact.preprocessor.channels),
        "train_seconds": progress.seconds,
        "images_per_s": progress.history[-1]["images_per_s"] if progress.history else None,
        "peak_memory_mb": peak_memory_mb(device),
        "device": device,
        "seconds_to_report": run.took,
        "seconds_asked": run.record.get("time", {}).get("asked"),
    }
