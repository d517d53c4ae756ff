"""report.html: one run on one page, in one file that asks nothing of any network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vitrail import settings
from vitrail.explain import figures as of_explanations
from vitrail.explain import page
from vitrail.report import frame, geometry, inventory, plots, summary, trust
from vitrail.report.charts import Figures, number
from vitrail.report.data import ReportData, View, thousands
from vitrail.report.section import Section
from vitrail.report.sections import section_of


def write_report(folder: Path, data: ReportData) -> Path:
    """Write report.html and figures/*.png into `folder`; returns the page's path. TrainingError if the disk refuses."""
    figures = plots.draw(data)
    plots.write_figures(folder / "figures", figures)
    return page.write(folder / "report.html", render(frame.environment(), data, figures))


def render(environment: jinja2.Environment, data: ReportData, figures: Figures) -> str:
    """The page as HTML. Every text of the user's is escaped by the template."""
    section = section_of(data.config.task.name)
    split = data.subject
    view = data.evaluations[split] if split else None
    if view is not None and not view.images:
        view = None
    own = {}
    if view is not None and split is not None:
        own = {"hero": section.hero(data, view, split), "part": section.context(data, view, split, figures)}
    scores = sorted((name for name, v in data.evaluations.items() if v.metrics), key=lambda name: name != split)
    drawn = _inline(section, figures)
    curves = ["loss", *(curve.name for curve in section.curves), "learning_rate"]
    return environment.get_template("report.html.j2").render(
        **own,
        task=data.config.task.name,
        dense=section.dense,
        name=data.name,
        subtitle=subtitle(data, section),
        contents=_contents(data, section, view),
        split=split,
        view=view,
        labels=data.labels,
        verdict=summary.verdict(data),
        cautions=summary.cautions(data),
        scores=_scores(data, section, scores),
        score_splits=scores,
        training=summary.training(data),
        curves=[drawn[name] for name in curves if name in drawn],
        svg=drawn,
        galleries=data.galleries,
        colours=data.key,
        differences=data.error_key,
        seen=data.seen,
        evaluated=geometry.evaluated(data.config),
        trained=geometry.trained(data.config, dense=section.dense),
        overlays=data.overlays,
        unexplained=data.unexplained,
        trust=trust.shown(data.trust) if data.trust else None,
        untrusted=data.untrusted,
        profile=[(drawn[name], words) for name, words in data.profile.words().items()] if data.profile else [],
        unprofiled=data.profile.missing if data.profile else [],
        inventory=inventory.take(data.audit, data.split),
        cost=summary.cost_rows(data.cost),
        reasons=[(name, summary.setting(value), why) for name, value, why in data.reasons],
        config=settings.to_yaml(data.config),
        versions=list(data.versions.items()),
        command=data.command,
        version=data.versions.get("vitrail", ""),
    )


_CURVES = {"loss": "Loss on train and val after each epoch", "learning_rate": "Learning rate over the epochs"}


def _inline(section: Section[Any], figures: Figures) -> Mapping[str, Markup]:
    """Figures for the page; those too detailed for it, such as a confusion matrix, are tables there."""
    words = {
        **_CURVES,
        **of_explanations.ALTERNATIVES,
        **{curve.name: curve.alternative for curve in section.curves},
        **section.alternatives,
    }
    kinds = {name: re.sub(r"_\d+$", "", name) for name in figures}
    return {name: plots.to_svg(figures[name], name, words[kind]) for name, kind in kinds.items() if kind in words}


def subtitle(data: ReportData, section: Section[Any]) -> str:
    """Model, input and data in a line."""
    model = data.config.model
    patches = f"{model.image_size} px images in patches of {model.patch_size}"
    windows = f"windows of {model.image_size} px in patches of {model.patch_size}"
    parts = [
        f"{model.name} on {data.config.data.source}",
        windows if data.config.preprocess.resize == "tile" else patches,
        section.about(data),
    ]
    trained = inventory.images_in(data.split, "train")
    return " · ".join(parts + ([f"{trained:,} training images"] if trained else []))


def _contents(data: ReportData, section: Section[Any], view: View | None) -> list[tuple[str, str]]:
    there = [
        ("training", "Training", bool(data.history)),
        *((anchor, title, view is not None) for anchor, title in section.anchors),
        ("pictures", "Best and worst", bool(data.galleries)),
        ("attention", "Attention", bool(data.overlays or data.unexplained)),
        ("trust", "Trust", data.trust is not None),
        ("heads", "Inside", bool(data.profile and data.profile.words())),
        ("seen", "Input", True),
        ("data", "Data", bool(inventory.take(data.audit, data.split))),
        ("cost", "Cost", bool(data.cost)),
        ("choices", "Choices", bool(data.reasons)),
        ("repeat", "Repeat", True),
    ]
    return [(anchor, title) for anchor, title, shown in there if shown]


def _scores(data: ReportData, section: Section[Any], splits: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Metrics of the whole split in words; those of one class or number (`iou/cat`) stand in the section's tables."""
    names = dict.fromkeys(name for split in splits for name in data.evaluations[split].metrics if "/" not in name)
    rows = []
    for name in names:
        read = [number(data.evaluations[split].metrics.get(name)) for split in splits]
        units = [section.unit(data.evaluations[split]) for split in splits]
        shown = [
            "–" if value is None else section.shown(name, value, unit) for value, unit in zip(read, units, strict=True)
        ]
        rows.append((section.words(name), shown))
    if splits:
        rows.append(("Images", [thousands(data.evaluations[split].images) for split in splits]))
    return rows
