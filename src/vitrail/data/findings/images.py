"""What images look like: constant ones, very dark and very bright ones, grey among colour, unusual sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vitrail.data.findings.finding import Finding, counted, of_samples
from vitrail.data.findings.robust import RULE, far_out
from vitrail.data.findings.survey import Survey
from vitrail.data.near_duplicates import FLAT

DARK, BRIGHT = 0.05, 0.95
"""Mean luma beyond which hardly anything can be seen. Of the 2,054 images of caltech24, 7 lie beyond."""

USUAL = 0.2
"""What more than this share of the images is, is what the set is like, and no fault of single images."""

RARE = 0.05
"""Where all other images are of one size, at most so many of another are outliers."""

TIMES = 3.0
"""Sides, and ratios of sides, must also differ from the median by so much to be outliers."""


def find(survey: Survey) -> Iterator[Finding]:
    """Findings on usable images, from how they look."""
    looks = survey.audit.looks
    if looks is None or not survey.audit.usable:
        return
    flat = looks.contrast < FLAT
    if flat.any():
        rows = np.flatnonzero(flat)
        remarks = survey.audit.remarks
        said = [remarks.get(survey.source.items[survey.audit.usable[row]].key, "") for row in rows]
        yield _of(
            survey,
            rows,
            "constant_images",
            "warning",
            f"{counted(len(rows), 'image shows', 'images show')} a single colour, or as good as one",
            f"There is nothing to see: the standard deviation of every channel is under {255 * FLAT:.0f} of 255.",
            "Look whether the camera, the crop or the download failed, and remove them.",
            ["a single colour" if "a single colour" in words else "nearly a single colour" for words in said],
        )
    yield from _brightness(survey, ~flat)
    yield from _grey(survey, ~flat)
    yield from _sizes(survey)


def _brightness(survey: Survey, clear: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Iterator[Finding]:
    assert survey.audit.looks is not None
    bright = survey.audit.looks.brightness
    for kind, word, beyond in (
        ("very_dark_images", "dark", bright < DARK),
        ("very_bright_images", "bright", bright > BRIGHT),
    ):
        rows = np.flatnonzero(beyond & clear)
        if 0 < len(rows) <= USUAL * len(bright):
            rows = rows[np.argsort(bright[rows] if word == "dark" else -bright[rows], kind="stable")]
            yield _of(
                survey,
                rows,
                kind,
                "note",
                f"{counted(len(rows), 'image is', 'images are')} very {word}",
                f"Their mean brightness is {'below' if word == 'dark' else 'above'} "
                f"{DARK if word == 'dark' else BRIGHT:.0%} of the range, the median of all is {np.median(bright):.0%}.",
                "Look whether something can be seen in them; if not, remove them.",
                [f"mean brightness {bright[row]:.1%}" for row in rows],
            )


def _grey(survey: Survey, clear: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Iterator[Finding]:
    """Grey images among coloured ones, or the other way round: whichever are fewer."""
    assert survey.audit.looks is not None
    if survey.audit.looks.mean.shape[1] == 1:
        return
    grey = np.flatnonzero(survey.audit.looks.grey & clear)
    coloured = np.flatnonzero(~survey.audit.looks.grey & clear)
    if not len(grey) or not len(coloured):
        return
    few, many, kind = (grey, coloured, "grey") if len(grey) <= len(coloured) else (coloured, grey, "coloured")
    others = "coloured" if kind == "grey" else "grey"
    meaning = "They are read like the others, their three channels equal." if kind == "grey" else ""
    one_sided = _concentrated(survey, few)
    if one_sided:
        meaning += f" Most of them are of class {one_sided}: the model may learn the colour instead of the thing."
    yield _of(
        survey,
        few,
        "grey_among_colour" if kind == "grey" else "colour_among_grey",
        "note",
        f"{counted(len(few), 'image is', 'images are')} {kind} among {len(many):,} {others}",
        meaning.strip() or "Two sources of images may be mixed.",
        "Nothing, if both will be met in use. Else make all grey, or see that no class and no split has only one kind.",
    )


def _concentrated(survey: Survey, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    """The class that most of these images have, though few of all images have it; "" where there is none."""
    if survey.kind != "class" or len(rows) < 5:
        return ""
    names, counts = np.unique([str(survey.targets[survey.audit.usable[row]]) for row in rows], return_counts=True)
    name = str(names[counts.argmax()])
    overall = sum(str(survey.targets[index]) == name for index in survey.audit.usable) / len(survey.audit.usable)
    return f"'{name}'" if counts.max() > 0.8 * len(rows) and overall < 0.4 else ""


def _sizes(survey: Survey) -> Iterator[Finding]:
    sizes = np.array(survey.audit.sizes, np.float64)
    side = np.sqrt(sizes.prod(axis=1))
    ratio = sizes.max(axis=1) / sizes.min(axis=1)
    for kind, values, what, meaning, remedy in (
        (
            "unusual_sizes",
            side,
            "an unusual size",
            "Enlarged or reduced to one size, they show another scale than the others, or less detail.",
            "Look whether they are thumbnails or scans of another kind; find the originals or remove them.",
        ),
        (
            "unusual_shapes",
            ratio,
            "an unusual ratio of sides",
            "A central crop shows another part of them than of the others.",
            "Look at them; crop them, or train with preprocess.resize=letterbox.",
        ),
    ):
        middle = float(np.median(values))
        few = max(3, int(RARE * len(values)))
        rows = [row for row in far_out(values, few) if max(values[row] / middle, middle / values[row]) >= TIMES]
        if rows:
            yield _of(
                survey,
                rows,
                kind,
                "note",
                f"{counted(len(rows), 'image has', 'images have')} {what}",
                f"{meaning} Unusual is {RULE}, and {TIMES:g} times the median or a third of it.",
                remedy,
                [f"{survey.audit.sizes[row][0]} x {survey.audit.sizes[row][1]} pixels" for row in rows],
            )


def _of(
    survey: Survey,
    rows: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    kind: str,
    severity: str,
    title: str,
    meaning: str,
    remedy: str,
    words: Sequence[str] | None = None,
) -> Finding:
    """A finding on rows of the usable images."""
    cases = of_samples(survey.source, [[survey.audit.usable[int(row)]] for row in rows], words)
    return Finding(kind, "warning" if severity == "warning" else "note", title, meaning, remedy, cases)
