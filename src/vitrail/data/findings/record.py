"""The whole audit as one mapping for JSON: counts, findings in order, and what the images are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vitrail.contracts import Source
from vitrail.data.audit import Audit, summary
from vitrail.data.findings.finding import Finding
from vitrail.data.findings.ranking import rank
from vitrail.data.findings.survey import Survey
from vitrail.data.items import SPLITS
from vitrail.data.near_duplicates import WHY
from vitrail.data.split import Split
from vitrail.settings import TaskConfig

NEAR_BEFORE_TRAINING = 50_000
"""Of more images, near duplicates are looked for by `vitrail check` alone: up to here it takes a second or two."""

_BINS = 20


def record(survey: Survey, findings: Sequence[Finding]) -> dict[str, Any]:
    """What `check --json` says: the audit's `summary` (see there), and beside it

    findings: what to fix first foremost, each with all its cases.  statistics: of the usable images, see `statistics`.
    near_duplicates: how many sets, their files, and what near means; absent where they were not looked for.
    masks: how many were found, can be used, cannot; absent where they were not read.
    """
    told = summary(survey.trained, survey.source, survey.splits)
    if survey.near:
        keys = [[survey.source.items[index].key for index in group] for group in survey.alike]
        told["near_duplicates"] = {"groups": len(keys), "means": WHY, "files": keys}
    if survey.maps is not None:
        bad = survey.bad_masks
        told["masks"] = {"found": len(survey.maps.facts), "usable": len(survey.maps.facts) - bad, "bad": bad}
    told["statistics"] = statistics(survey)
    told["findings"] = [finding.record() for finding in findings]
    return told


def record_before_training(
    audit: Audit, source: Source, split: Split | None, task: TaskConfig | None = None
) -> dict[str, Any]:
    """The same from what training has read anyway: near duplicates are only looked for among few.

    task: what the targets are taken for, None where they are not looked at.
    """
    near = audit.found <= NEAR_BEFORE_TRAINING
    survey = Survey(source, audit, split_names(source, split), audit.maps, near=near, task=task)
    return record(survey, rank(survey))


def split_names(source: Source, split: Split | None) -> list[str]:
    """The split of each sample by source index, as it was made, else as the source dictates; "" where it has none."""
    if split is None:
        return [item.split or "" for item in source.items]
    names = [""] * len(source.items)
    for name in SPLITS:
        for index in getattr(split, name):
            names[int(index)] = name
    return names


def statistics(survey: Survey) -> dict[str, Any]:
    """How the usable images look, each image counting the same.

    mean, std: per channel on [0, 1], of the training images where there is a split: what `preprocess.mean` and
    `preprocess.std` take.  of: how many images that was.  grey, coloured, constant: counts that add up to usable.
    brightness: counts in 20 equal bins of mean luma.  contrast: median standard deviation.  aspect: the least, median
    and largest ratio of width to height.
    """
    looks, audit = survey.trained.looks, survey.trained
    if looks is None or not audit.usable:
        return {}
    train = np.array([survey.splits[index] == "train" for index in audit.usable])
    chosen = train if train.any() else np.ones(len(train), np.bool_)
    mean = looks.mean[chosen].astype(np.float64)
    square = looks.std[chosen].astype(np.float64) ** 2 + mean**2
    std = np.sqrt(np.maximum(square.mean(axis=0) - mean.mean(axis=0) ** 2, 0))
    flat = looks.std[:, :3].max(axis=1) == 0
    counts, _ = np.histogram(np.clip(looks.brightness, 0, 1), bins=_BINS, range=(0, 1))
    ratios = np.array([width / height for width, height in audit.sizes])
    return {
        "mean": _rounded(mean.mean(axis=0)),
        "std": _rounded(std),
        "of": int(chosen.sum()),
        "split": "train" if train.any() else "",
        "grey": int((looks.grey & ~flat).sum()),
        "coloured": int((~looks.grey & ~flat).sum()),
        "constant": int(flat.sum()),
        "brightness": counts.tolist(),
        "contrast": round(float(np.median(looks.contrast)), 4),
        "aspect": dict(zip(("min", "median", "max"), _rounded(np.quantile(ratios, [0, 0.5, 1])), strict=True)),
    }


def _rounded(values: Sequence[float] | np.ndarray[Any, Any]) -> list[float]:
    return [round(float(value), 4) for value in values]
