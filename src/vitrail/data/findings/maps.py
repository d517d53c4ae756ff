"""Masks and maps of numbers: unreadable, of another size than their image, with strange values, empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from vitrail.data.facts import Facts
from vitrail.data.findings.finding import Finding, counted, of_samples
from vitrail.data.findings.survey import Survey
from vitrail.data.items import at_row
from vitrail.data.map_values import MapValues
from vitrail.data.masks import HIGHEST
from vitrail.data.sizes import misfit

Meaning = Literal["classes", "objects", "numbers"]

LAST_CLASS = 255
"""The largest value that a mask of classes may have; 255 itself is by convention what does not count."""

RARE = 0.01
"""A value of at most this share of the masks is unexpected, and one of a single mask."""

FEWEST = 10
"""With fewer masks nothing can be called unexpected."""

MANY_VALUES = 64


def find(survey: Survey) -> Iterator[Finding]:
    """Findings on masks and maps."""
    maps = survey.maps
    if maps is None:
        return
    unreadable = maps.unreadable
    if unreadable:
        yield Finding(
            "unreadable_masks",
            "error",
            f"{counted(len(unreadable), 'mask')} cannot be used",
            "Their images have no target: training leaves them out, as it does unreadable images.",
            "Save them again as PNG (grey or palette), TIFF or .npy; colours and JPEG are no values.",
            of_samples(
                survey.source,
                [[i] for i in unreadable],
                [maps.facts[i].reason + at_row(survey.source, i) for i in unreadable],
            ),
        )
    lacking = [i for i in survey.audit.usable if i not in maps.facts]
    if lacking:
        yield Finding(
            "missing_masks",
            "error",
            f"{counted(len(lacking), 'image has', 'images have')} no mask",
            "They cannot be learnt from or judged by.",
            "Add the mask, or remove the image.",
            of_samples(survey.source, [[i] for i in lacking]),
        )
    yield from _sizes(survey, maps.facts)
    yield from _strangers(survey)
    values = {index: found for index in maps.readable if (found := maps.facts[index].values) is not None}
    if values:
        meaning = meaning_of(list(values.values()))
        if survey.task is not None and survey.task.name == "depth":
            meaning = "numbers"
        yield from _empty(survey, values, meaning)
        if meaning == "objects":
            yield _objects(values)
        elif meaning == "classes":
            if survey.task is None or not survey.task.foreground:
                yield from _unexpected(survey, values)
        else:
            yield from _numbers(survey, values)


def meaning_of(values: Sequence[MapValues]) -> Meaning:
    """What values stand for, by all of them together.

    Objects: nine of ten masks use 0 or 1 to some k without a gap, and k varies a lot. Numbers: fractions, or more than
    64 different values in most masks. Else classes.
    """
    counts = [v for v in values if v.whole and v.low in (0.0, 1.0) and v.distinct == v.high - v.low + 1]
    lengths = {v.high for v in counts}
    if len(counts) >= 0.9 * len(values) and len(lengths) >= 10 and max(lengths) >= 20:
        return "objects"
    if not all(v.whole for v in values) or np.median([v.distinct for v in values]) > MANY_VALUES:
        return "numbers"
    return "classes"


def _sizes(survey: Survey, facts: Mapping[int, Facts]) -> Iterator[Finding]:
    sizes = dict(zip(survey.audit.usable, survey.audit.sizes, strict=True))
    cases, words = [], []
    for index, fact in sorted(facts.items()):
        if fact.reason or index not in sizes:
            continue
        width, height = sizes[index]
        if apart := misfit((fact.height, fact.width), (height, width)):
            cases.append([index])
            words.append(f"mask {apart}")
    if cases:
        yield Finding(
            "mask_size_mismatch",
            "error",
            f"{counted(len(cases), 'mask has', 'masks have')} another size than the image",
            "A pixel of such a mask belongs to no pixel of the image: training leaves both out.",
            "Save the mask in the size of the image, by nearest neighbour; a quarter turn comes from an EXIF "
            "orientation that was applied to the image alone.",
            of_samples(survey.source, cases, words),
        )


def _strangers(survey: Survey) -> Iterator[Finding]:
    if survey.strangers:
        cases = sorted(survey.strangers)
        words = [survey.strangers[i].removeprefix("its target: ") for i in cases]
        yield Finding(
            "mask_values_unknown_to_training",
            "error",
            f"{counted(len(cases), 'mask')} of val or test {'has' if len(cases) == 1 else 'have'} a value that no "
            "training mask has",
            "It is no class that the model can say: training leaves such images out, and scores say nothing of them.",
            "Mend the masks, or move images with that class into the training split. Where it only happens to be rare, "
            "name all classes with task.labels.",
            of_samples(survey.source, [[i] for i in cases], words),
        )


def _empty(survey: Survey, values: Mapping[int, MapValues], meaning: Meaning) -> Iterator[Finding]:
    void = [index for index, found in values.items() if found.missing == found.pixels]
    flat = [index for index, found in values.items() if found.distinct == 1]
    if void:
        yield Finding(
            "maps_without_values",
            "warning",
            f"{counted(len(void), 'map has', 'maps have')} no finite value at all",
            "There is nothing to learn from in them.",
            "Look how they were made, or remove them.",
            of_samples(survey.source, [[i] for i in void]),
        )
    if flat and len(flat) < len(values):
        what = "mask is" if meaning != "numbers" else "map is"
        plural = "masks are" if meaning != "numbers" else "maps are"
        yield Finding(
            "empty_masks",
            "note",
            f"{counted(len(flat), what, plural)} empty: one value everywhere",
            "Right where there is nothing in the picture, or one thing fills it; wrong where it was not drawn yet.",
            "Look at some of them.",
            of_samples(survey.source, [[i] for i in flat], [f"only {values[i].low:g}" for i in flat]),
        )
    elif flat:
        yield Finding(
            "masks_all_empty",
            "error",
            "Every mask is empty: one value everywhere",
            "There is nothing to learn.",
            "Look whether the right files or the right column was taken.",
            of_samples(survey.source, [[i] for i in flat]),
        )


def _unexpected(survey: Survey, values: Mapping[int, MapValues]) -> Iterator[Finding]:
    ignored = survey.task.ignore if survey.task is not None else LAST_CLASS
    spans = {index: _span(found, ignored) for index, found in values.items()}
    beyond = [index for index, (low, high) in spans.items() if low < 0 or high > LAST_CLASS]
    if beyond:
        words = [f"values from {spans[i][0]:g} to {spans[i][1]:g}" for i in beyond]
        refused = any(spans[i][0] < 0 or spans[i][1] > HIGHEST for i in beyond)
        yield Finding(
            "mask_values_out_of_range",
            "error" if refused else "warning",
            f"{counted(len(beyond), 'mask has', 'masks have')} values outside 0 to {LAST_CLASS}",
            f"Each value is a class of its own, up to {HIGHEST:,}; what is below 0 or above that can be none, and "
            "training refuses it.",
            "Look how they were made: another depth, another scale, or numbers of objects instead of classes.",
            of_samples(survey.source, [[i] for i in beyond], words),
        )
    usual = {index: found for index, found in values.items() if index not in {*beyond, *survey.strangers}}
    holders: Counter[int] = Counter(value for found in usual.values() for value, _ in found.counts)
    if len(usual) < FEWEST:
        return
    most = max(1, int(RARE * len(usual)))
    rare = sorted(value for value, masks in holders.items() if masks <= most and value not in (LAST_CLASS, ignored))
    cases = [index for index, found in usual.items() if any(value in rare for value, _ in found.counts)]
    if not cases:
        return
    words = []
    for index in cases:
        held = [
            f"{value} ({share / values[index].pixels:.2%})" for value, share in values[index].counts if value in rare
        ]
        words.append(f"value {', '.join(held[:6])}{f' and {len(held) - 6} more' if len(held) > 6 else ''}")
    expected = sorted(set(holders) - set(rare))
    known = ", ".join(map(str, expected[:12])) + (f" and {len(expected) - 12} more" if len(expected) > 12 else "")
    yield Finding(
        "unexpected_mask_values",
        "warning",
        f"{counted(len(cases), 'mask has', 'masks have')} a value that hardly any other has",
        f"{counted(len(rare), 'value')} in at most {counted(most, 'mask')} of {len(usual):,}; usual are {known}. "
        "Smoothing or JPEG makes values between the true ones; else it is a rare class, or a slip.",
        "Look at them. Resize masks by nearest neighbour and save them without loss.",
        of_samples(survey.source, [[i] for i in cases], words),
    )


def _span(found: MapValues, ignored: int) -> tuple[float, float]:
    """The least and the largest value that stands for a class, as far as values were counted one by one."""
    if not found.counts:
        return found.low, found.high
    values = [value for value, _ in found.counts if value != ignored] or [0]
    return values[0], values[-1]


def _objects(values: Mapping[int, MapValues]) -> Finding:
    most = max(found.high for found in values.values())
    return Finding(
        "masks_number_objects",
        "note",
        f"The masks number objects, it seems: 0 to {most:g}, different from image to image",
        "As classes, every number would be a class of its own.",
        "Set task.foreground=true to take all above 0 as one class; where train sees that by itself, it says so.",
    )


def _numbers(survey: Survey, values: Mapping[int, MapValues]) -> Iterator[Finding]:
    holed = [index for index, found in values.items() if 0 < found.missing < found.pixels]
    if holed:
        words = [f"{values[i].missing / values[i].pixels:.2%} of its values" for i in holed]
        yield Finding(
            "maps_with_holes",
            "note",
            f"{counted(len(holed), 'map has', 'maps have')} values that are not finite",
            "Such pixels are taken as not measured and do not count.",
            "Nothing, if that is meant.",
            of_samples(survey.source, [[i] for i in holed], words),
        )
    negative = [index for index, found in values.items() if found.low < 0]
    if 0 < len(negative) <= 0.1 * len(values):
        yield Finding(
            "negative_map_values",
            "warning",
            f"{counted(len(negative), 'map has', 'maps have')} negative values, all others none",
            "A distance or a depth is never negative; in another unit or with another offset it may be.",
            "Look how they were made.",
            of_samples(survey.source, [[i] for i in negative], [f"down to {values[i].low:g}" for i in negative]),
        )
