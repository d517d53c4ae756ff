"""report.html: one run on one page, in one file that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from vitrail import settings
from vitrail.explain import page
from vitrail.report import inventory, plots, summary
from vitrail.report.data import EvaluationView, ReportData, percent
from vitrail.report.statistics import ClassScore, confused_pairs

TABLE_CLASSES = 60
"""Rows of the per-class table; the hardest are shown, all stand in per_class.csv."""

CONFUSED = 10


def write_report(folder: Path, data: ReportData) -> Path:
    """Write report.html and figures/*.png into `folder`; returns the page's path. TrainingError if the disk refuses."""
    figures = plots.draw(data)
    plots.write_figures(folder / "figures", figures)
    environment = page.environment("vitrail.report")
    environment.filters |= {"percent": percent, "thousands": thousands, "share": _share}
    return page.write(folder / "report.html", render(environment, data, figures))


def render(environment: jinja2.Environment, data: ReportData, figures: plots.Figures) -> str:
    """The page as HTML. Every text of the user's is escaped by the template."""
    split = data.subject
    view = data.evaluations[split] if split else None
    if view is not None and not view.images:
        view = None
    classes = sorted(view.per_class, key=_hardest_first) if view else []
    scores = sorted((name for name, v in data.evaluations.items() if v.metrics), key=lambda name: name != split)
    return environment.get_template("report.html.j2").render(
        name=data.name,
        subtitle=subtitle(data),
        contents=_contents(data, view),
        split=split,
        view=view,
        chance=1 / max(1, len(data.labels)),
        labels=data.labels,
        verdict=summary.verdict(data),
        cautions=summary.cautions(data),
        scores=_scores(data, scores),
        score_splits=scores,
        training=summary.training(data),
        curves=[plots.to_svg(figures[n], n, words) for n, words in _CURVES.items() if n in figures],
        matrix=_matrix(view, data.labels) if view and len(data.labels) <= plots.MOST_CLASSES else None,
        pairs=confused_pairs(view.confusion, CONFUSED if len(data.labels) <= plots.MOST_CLASSES else 3 * CONFUSED)
        if view
        else [],
        class_rows=classes[:TABLE_CLASSES],
        hidden_classes=len(classes) > TABLE_CLASSES,
        calibration=summary.calibration(view, split) if view and split else "",
        reliability=plots.to_svg(figures["reliability"], "reliability", "Confidence against how often it is right")
        if "reliability" in figures
        else "",
        best=data.best,
        worst=data.worst,
        overlays=data.overlays,
        unexplained=data.unexplained,
        inventory=inventory.take(data.audit, data.split),
        cost=summary.cost_rows(data.cost),
        reasons=[(name, _value(value), why) for name, value, why in data.reasons],
        config=settings.to_yaml(data.config),
        versions=list(data.versions.items()),
        command=data.command,
        version=data.versions.get("vitrail", ""),
    )


_CURVES = {
    "loss": "Loss on train and val after each epoch",
    "metrics": "Metrics on val after each epoch",
    "learning_rate": "Learning rate over the epochs",
}


def subtitle(data: ReportData) -> str:
    """Model, input and data in a line."""
    model = data.config.model
    parts = [
        f"{model.name} on {data.config.data.source}",
        f"{model.image_size} px images in patches of {model.patch_size}",
        f"{len(data.labels):,} classes",
    ]
    trained = inventory.images_in(data.split, "train")
    return " · ".join(parts + ([f"{trained:,} training images"] if trained else []))


def _contents(data: ReportData, view: EvaluationView | None) -> list[tuple[str, str]]:
    there = {
        "training": ("Training", bool(data.history)),
        "confusion": ("Confusion", view is not None),
        "classes": ("Classes", view is not None),
        "calibration": ("Calibration", view is not None),
        "pictures": ("Best and worst", bool(data.best or data.worst)),
        "attention": ("Attention", bool(data.overlays or data.unexplained)),
        "data": ("Data", bool(inventory.take(data.audit, data.split))),
        "cost": ("Cost", bool(data.cost)),
        "choices": ("Choices", bool(data.reasons)),
        "repeat": ("Repeat", True),
    }
    return [(anchor, title) for anchor, (title, shown) in there.items() if shown]


def _scores(data: ReportData, splits: Sequence[str]) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(name for split in splits for name in data.evaluations[split].metrics)
    rows = []
    for name in names:
        values = [data.evaluations[split].metrics.get(name) for split in splits]
        show = percent if name in summary.METRICS else lambda value: f"{value:.4g}"
        read = [summary.number(value) for value in values]
        title = summary.METRICS.get(name, name.replace("_", " ").capitalize())
        rows.append((title, ["–" if value is None else show(value) for value in read]))
    if splits:
        rows.append(("Images", [thousands(data.evaluations[split].images) for split in splits]))
    return rows


@dataclass(frozen=True)
class _Cell:
    kind: str
    share: int
    count: str
    title: str


@dataclass(frozen=True)
class _Matrix:
    density: str
    rows: list[list[_Cell | None]]


def _matrix(view: EvaluationView, labels: Sequence[str]) -> _Matrix:
    """The confusion counts as table cells; None where no image fell. Large matrices show shades without numbers."""
    many = len(labels)
    density = "roomy" if many <= 12 else "middling" if many <= 26 else "many dense"
    rows: list[list[_Cell | None]] = []
    for true, counts in enumerate(view.confusion.tolist()):
        total = max(1, sum(counts))
        row: list[_Cell | None] = []
        for said, count in enumerate(counts):
            if not count:
                row.append(None)
                continue
            share = round(100 * count / total)
            kind = ("r" if true == said else "w") + (" deep" if share > 55 else "")
            title = f"{labels[true]}: {count} of {total} said {labels[said]}"
            row.append(_Cell(kind, max(6, share), "" if many > 26 else str(count), title))
        rows.append(row)
    return _Matrix(density, rows)


def _hardest_first(score: ClassScore) -> tuple[bool, float, int]:
    return score.images == 0, score.f1, score.index


def _share(fraction: float | None) -> str:
    return "–" if fraction is None else percent(fraction)


def thousands(count: int) -> str:
    """A whole number with separators."""
    return f"{count:,}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_value(part) for part in value)
    return str(value)
