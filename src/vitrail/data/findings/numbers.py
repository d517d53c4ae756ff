"""Numbers to be predicted: missing, not finite, constant, far from all others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vitrail.data.cells import SLIPS
from vitrail.data.findings.finding import Finding, counted, of_samples
from vitrail.data.findings.robust import RULE, far_out, fences
from vitrail.data.findings.survey import Survey, as_numbers


def find(survey: Survey) -> Iterator[Finding]:
    """Findings on numeric targets; of several numbers per image, each by itself."""
    if survey.kind != "numbers":
        return
    rows = [as_numbers(target) for target in survey.targets]
    width = max(map(len, rows))
    empty = (None,)
    short = [index for index, row in enumerate(rows) if len(row) != width and row != empty]
    if short:
        yield Finding(
            "numbers_of_other_lengths",
            "error",
            f"{counted(len(short), 'image has', 'images have')} another count of numbers than the others ({width})",
            "Training refuses them: every image must have one number for each output.",
            "Give the missing numbers, or remove the images.",
            of_samples(survey.source, [[i] for i in short], [f"{len(rows[i])} numbers" for i in short]),
        )
    names = tuple(getattr(survey.source, "target_names", ()))
    yield from _nearly_labels(survey, rows, names)
    for place in range(width):
        name = f" in '{names[place]}'" if len(names) == width else f" (number {place + 1} of {width})"
        known = {index: row[place] for index, row in enumerate(rows) if len(row) == width}
        lacking = {index: None for index, row in enumerate(rows) if len(row) != width and row == empty}
        yield from _column(survey, {**known, **lacking}, name if width > 1 else "")


def _nearly_labels(survey: Survey, rows: Sequence[Sequence[float | None]], names: Sequence[str]) -> Iterator[Finding]:
    """Several columns that are 0 and 1 but for few cells."""
    odd = {
        index: [(place, value) for place, value in enumerate(row) if value is not None and value not in (0, 1)]
        for index, row in enumerate(rows)
    }
    cases = [index for index, cells in odd.items() if cells]
    slips, cells = sum(map(len, odd.values())), sum(map(len, rows))
    if max(map(len, rows)) < 2 or len(names) not in (0, max(map(len, rows))) or not 0 < slips <= SLIPS * cells:
        return
    called = [f"'{name}'" for name in names] or [f"number {place + 1}" for place in range(max(map(len, rows)))]
    words = [", ".join(f"{called[place]} is {value:g}" for place, value in odd[i]) for i in cases]
    yield Finding(
        "nearly_labels",
        "warning",
        f"{counted(slips, 'number is', 'numbers are')} neither 0 nor 1, all {cells - slips:,} others are",
        "Columns of 0 and 1 are labels (task multilabel); with one other number in them they are numbers to predict "
        "(task regress).",
        "If they are labels, mend what is named here. If they are numbers, nothing is to be done.",
        of_samples(survey.source, [[i] for i in cases], words),
    )


def _column(survey: Survey, column: dict[int, float | None], name: str) -> Iterator[Finding]:
    missing = [index for index, value in column.items() if value is None]
    if missing:
        yield Finding(
            "missing_numbers",
            "error",
            f"{counted(len(missing), 'image has', 'images have')} no number{name}",
            "Training refuses them: a target that is empty, NaN or no number cannot be learnt from.",
            "Fill them in, or remove the images.",
            of_samples(survey.source, [[i] for i in missing], [f"'{survey.targets[i]}'"[:60] for i in missing]),
        )
    endless = [index for index, value in column.items() if value is not None and math.isinf(value)]
    if endless:
        yield Finding(
            "infinite_numbers",
            "error",
            f"{counted(len(endless), 'number is', 'numbers are')} infinite{name}",
            "Training refuses them; most often a division by zero made them.",
            "Correct them, or remove the images.",
            of_samples(survey.source, [[i] for i in endless], [f"{column[i]}" for i in endless]),
        )
    given = {index: value for index, value in column.items() if value is not None and math.isfinite(value)}
    values = list(given.values())
    if len(values) > 1 and min(values) == max(values):
        yield Finding(
            "constant_number",
            "error",
            f"Every number is {values[0]:g}{name}",
            "There is nothing to learn: the answer is always the same.",
            "Look whether the right column was taken (--target).",
        )
        return
    places = list(given)
    far = [places[row] for row in far_out(values)]
    if far:
        low, high = fences(values)
        yield Finding(
            "outlying_numbers",
            "warning",
            f"{counted(len(far), 'number lies', 'numbers lie')} far from all others{name}",
            f"An outlier is {RULE}: here below {low:.6g} or above {high:.6g}; of positive numbers their "
            "logarithms must be far out as well. A slip of the pen or of the unit pulls the whole fit towards it.",
            "Check them against their source. True ones may stay: loss huber or l1 follows them less than mse.",
            of_samples(survey.source, [[i] for i in far], [f"{given[i]:.6g}" for i in far]),
        )
