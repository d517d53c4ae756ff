"""What a study of scaling says, in short sentences, and what it does not: where a range is too small to tell."""

from __future__ import annotations

import math

from vitrail.report.numbers import share
from vitrail.study import cells_page
from vitrail.study.scaling.asked import RANGE
from vitrail.study.scaling.results import Fitted, Results, Spent
from vitrail.study.scaling.sizes import DEPTH, HIDDEN, WIDTH
from vitrail.study.scaling.work import WorkOnSizes
from vitrail.study.shares import TUNING
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.power_law import LEAST_EXPONENT, MOST_EXPONENT
from vitrail.study.statistics.recommendation import Measure
from vitrail.study.statistics.words import listed, scored
from vitrail.training.journal import duration

WIDE = 3.0
"""A figure whose interval spans more than so many times its low end is not known to any use."""
INSIDE = 0.9
"""Of the draws of a best size, how many must lie among the sizes that were tried to say that it does."""
MANY = 8
"""Budgets below which a law with four parameters could hardly have missed them."""


def verdict(found: Results) -> list[str]:
    """The best size for the largest budget, how it grows, what more compute would bring, and the form of the law."""
    said = [best(found), optimal(found.budgets[-1], found), *of_growth(found), *of_law(found)]
    if found.seeds < 2:
        said.append("Each was trained once, so intervals hold other test images and not what another seed would give.")
    return said


def best(found: Results) -> str:
    """The size with the lowest error at the largest budget, and those whose intervals reach into its own."""
    last = found.budgets[-1]
    errors = sorted(last.errors, key=lambda label: last.errors[label].value)
    error = scored(last.errors[last.best], found.measure)
    opening = f"With the largest budget, {flops(last.flops)} of training, {last.best} has the lowest error, {error}"
    near = [label for label in errors[1:] if last.errors[label].low <= last.errors[last.best].high]
    if near:
        opening += f", but {listed(near)} may do as well"
    return f"{opening} ({_basis(found)})."


def optimal(spent: Spent, found: Results) -> str:
    """What the parabola says of the best size at one budget."""
    optimum = spent.optimum
    if optimum is None:
        return "A best size needs 4 sizes or more."
    size, sizes = optimum.size, [each.parameters for each in found.sizes]
    if not size.known:
        return "The best size cannot be told."
    if optimum.inside >= INSIDE and size.high <= WIDE * size.low:
        return f"The best size, by the curve through all sizes, is {_count(size)} parameters."
    if size.low > max(sizes):
        return f"Error still falls at the largest size: the best is above {_million(max(sizes))} parameters."
    if size.high < min(sizes):
        return f"Error rises from the smallest size on: the best is under {_million(min(sizes))} parameters."
    doubt = "The sizes are too alike, or too few, to tell the best"
    return f"{doubt}: the curve through all of them leaves open {_open(size)}."


def of_growth(found: Results) -> list[str]:
    """How the best size grows with compute."""
    if found.growth is None:
        return []
    exponent = found.growth.exponent
    if not exponent.known:
        return [
            "How the best size grows with the budget cannot be told: at some budget error falls or rises over all sizes"
            " that were tried."
        ]
    told = f"{exponent.value:.2f} ({exponent.low:.2f} to {exponent.high:.2f}, 95 %)"
    if exponent.low > 0 and exponent.high <= WIDE * exponent.low:
        return [f"The best size grows as the budget to the power of {told}."]
    return [
        f"How the best size grows with the budget is not told by a range of {_range(found):.0f} times: its exponent may"
        f" be anything from {exponent.low:.2f} to {exponent.high:.2f}."
    ]


def of_law(found: Results) -> list[str]:
    """The law of the lowest error, what it says of more compute, and its form beside the published one."""
    if found.law is None:
        return [
            f"A law of error and compute needs 4 budgets, and 5 for the published form; there are {len(found.budgets)}."
        ]
    law, last = found.law, found.budgets[-1]
    double = law.curve.predict(2 * last.flops)
    now = law.curve.predict(last.flops)
    said = [_exponent(law, found)]
    text = f"With twice the largest budget the lowest error is predicted to be {scored(double, found.measure)}"
    text += f", against {scored(now, found.measure)} by the same law with the largest"
    if law.hidden is None:
        said.append(f"{text}. That could not be checked: hiding the largest budget needs five.")
    elif law.hidden.held:
        said.append(f"{text}. Checked: the law from the smaller budgets alone holds the error with the largest.")
    else:
        seen = _plainly(law.hidden.seen, found.measure)
        said.append(
            f"{text}. Do not build on that: from the smaller budgets alone"
            f" {scored(law.hidden.predicted, found.measure)} was predicted with the largest, and {seen} was seen."
        )
    return [*said, _form(law, found)]


def _exponent(law: Fitted, found: Results) -> str:
    b, c = law.curve.parameters["b"], law.curve.parameters["c"]
    form = "a (C + d)^-b + c" if law.shifted else "a C^-b + c"
    at_ends = b.low <= LEAST_EXPONENT * 1.01 or b.high >= MOST_EXPONENT * 0.99
    if not b.known or at_ends or b.high > WIDE * b.low:
        span = f": b may be anything from {b.low:.2g} to {b.high:.2g}" if b.known else ""
        text = f"A range of {_range(found):.0f} times in compute is too small to tell the exponent of E = {form}{span}"
    else:
        text = f"The lowest error falls as E = {form} with b = {b.value:.2f} ({b.low:.2f} to {b.high:.2f}, 95 %)"
    if c.known and c.low > 0.1 * law.curve.errors[-1]:
        return f"{text}; it levels off at {scored(c, found.measure)}."
    return f"{text}; whether it levels off above 0 is not told."


def _form(law: Fitted, found: Results) -> str:
    """The form beside that of Zhai et al.; never their exponents, which are of other data."""
    count = len(found.budgets)
    published = "published for ViT (Zhai et al. 2022, E = a (C + d)^-b + c)"
    d = "" if law.shifted else ", here without d, for which there are too few budgets"
    if law.holds == count:
        weak = f" {count} points are few: a law with so many parameters follows most curves that fall."
        text = f"The form {published} describes these errors{d}." + (weak if count < MANY else "")
    else:
        text = (
            f"The form {published} does not describe these errors well{d}: it misses {count - law.holds} of {count} by"
            " more than a fifth."
        )
    return f"{text} Its published exponents are of other data and far more compute, and are not compared."


def _range(found: Results) -> float:
    return found.budgets[-1].flops / found.budgets[0].flops


def _basis(found: Results) -> str:
    return f"95 %, {found.seeds} seed{'s'[: found.seeds > 1]}, {found.images:,} {found.unit}"


def _plainly(error: float, measure: Measure) -> str:
    return scored(Interval(error, math.nan, math.nan), measure).partition(" ")[0]


def flops(count: float) -> str:
    """A budget, as GFLOPs or what is nearest to it."""
    for unit, name in ((1e18, "EFLOPs"), (1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs")):
        if count >= unit:
            return f"{count / unit:.2g} {name}" if count < 100 * unit else f"{count / unit:.0f} {name}"
    return f"{count / 1e6:.0f} MFLOPs"


def _million(count: float) -> str:
    return f"{count / 1e6:.2g} million" if count >= 1e5 else f"{count:,.0f}"


def _count(size: Interval) -> str:
    if size.high >= 1e5:
        return f"{size.value / 1e6:.2g} ({size.low / 1e6:.2g} to {size.high / 1e6:.2g}) million"
    return f"{size.value:,.0f} ({size.low:,.0f} to {size.high:,.0f})"


def _open(size: Interval) -> str:
    low = f"from {_million(size.low)} parameters" if size.low > 0 else "anything from less than the smallest"
    return f"{low} to {_million(size.high)}" if math.isfinite(size.high) else f"{low} to more than the largest"


# ------------------------------------------------------------------------------------------- around the figures


def subtitle(work: WorkOnSizes, found: Results) -> str:
    """What was studied on what, in one line."""
    counts = ", ".join(f"{len(work.ground.data.indices(split)):,} {split}" for split in ("train", "val", "test"))
    seeds = f"{found.seeds} seed{'s'[: found.seeds > 1]}"
    place = work.ground.known.source.location
    return f"{len(found.sizes)} sizes, {len(found.budgets)} budgets, {seeds}, {counts} images of {place}"


def cautions(work: WorkOnSizes, found: Results) -> list[str]:
    """What one must know before using it."""
    said = cells_page.chosen(work)
    said += [f"{label} is left out: {why}." for label, why in found.missing.items()]
    said += cells_page.of_images(found.split, found.images, found.unit, found.lost, "error")
    last = found.budgets[-1].seen
    most, least = max(last, key=lambda label: last[label]), min(last, key=lambda label: last[label])
    said.append(
        f"With the largest budget {most} saw every image {last[most]:,.0f} times, {least} {last[least]:,.0f} times: "
        "published laws are of images that are seen about once, and repeated ones bring less."
    )
    return said


def method(work: WorkOnSizes, found: Results) -> list[str]:
    """How it was done, in sentences."""
    asked = work.asked
    said = [
        f"From one size to the next the scale doubles, and width grows as its power of {WIDTH}, depth {DEPTH}, the"
        f" MLP {HIDDEN:.2f}: the exponents of SoViT (Alabdulmohsin et al. 2023). Heads are about as wide as the"
        " family's own; width is rounded to a multiple of 4 heads, depth to whole blocks, the MLP to a multiple of 4.",
        "A budget is images seen times the training FLOPs of one, which are three forward passes'. Every size was"
        " trained with every budget, each in a run of its own whose rate falls to its end: none is a snapshot of a"
        f" longer one. The largest is {RANGE:g} times the smallest. Epochs are rounded, so budgets are met within some"
        " percent; the table says what each had.",
        "At each budget a parabola in the logarithm of size goes through the errors; the best size is where it is"
        " lowest (Hoffmann et al. 2022, approach 2). The law is fitted to the lowest error of each budget, and again to"
        " each draw of test images" + (" and seeds." if found.seeds > 1 else "."),
    ]
    if asked.seconds is not None:
        said.append(
            f"{duration(asked.seconds)} were asked for; a trial measured how fast each size trains here, and the"
            " largest budget is what fits."
        )
    if work.tuned:
        grid = ", ".join(f"{rate:g}" for rate in asked.rates)
        said.append(
            f"Learning rates of {grid} times the recipe's own were tried for each size, each for {share(TUNING)} of the"
            " largest budget, and the best on validation was taken at every budget. No test image was there."
        )
    else:
        said.append("Every size had the recipe's own learning rate: one that suits a size less bends the curves.")
    return said


LIMITS = (
    "The lowest of several measured errors is a little too good; where sizes are close, by about what their intervals"
    " leave open.",
    "A law that fits inside the budgets may not hold outside; the check hides one budget only.",
    "The shape of the sizes follows exponents of other data. For these images another shape may be better.",
    "On few images a large budget means many passes over them, and error may stop falling for want of images, not of"
    " compute.",
)
