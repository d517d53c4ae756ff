"""The recommendation in short sentences, for someone who trains a model for the first time."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from vitrail.report import numbers
from vitrail.study.statistics.candidates import ALIKE, comparable
from vitrail.study.statistics.crossing import Crossing
from vitrail.study.statistics.differences import Comparison
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.labels import Gain
from vitrail.study.statistics.recommendation import Measure, Recommendation

LIKELY, UNLIKELY = 0.5, 0.05
FIRST = 0.8
"""A class is named as the one to label next if no other gains more in this share of the draws."""


def sentences(found: Recommendation) -> list[str]:
    """The recommendation first, then why, how sure, what it costs, what would tell or change it."""
    said = [_opening(found)]
    said += [_compared(found, c) for c in found.comparisons]
    if _trainings(found) < 2:
        said.append("One seed says nothing of what another training of the same model would give. Train 3 or more.")
    elif found.sure is not None and found.comparisons:
        said.append(
            f"With other {found.unit} and other seeds, {found.about} would come out best, or within "
            f"{amount(found.measure.minimal, found.measure)} of the best, in {_hundred(found.sure)} of 100 cases."
        )
    said += _price(found)
    said += _would_tell(found)
    return said + [change(one, found.unreliable) for one in found.changes if one.factor.value > 1]


def _opening(found: Recommendation) -> str:
    if found.choice is None and _trainings(found) < 2:
        return f"Cannot tell which model is best here: each was trained once. {found.leading} has the best score."
    if found.choice is None:
        rivals = listed(found.rivals)
        return f"Cannot tell which model is best here. {found.leading} has the best score, but {rivals} may be better."
    least = amount(found.measure.minimal, found.measure)
    best = "It has the best score here, and no" if found.choice == found.leading else "No"
    return {
        "the only one": f"{found.choice} is the only model that was trained.",
        "better than all others": f"Take {found.choice}. It is better here than every other model.",
        "none is better": f"Take {found.choice}. {best} other can be better by more than {least}.",
        "as good and cheaper": f"Take {found.choice}. No other model can be better here by more than {least}, and of "
        "those of which that is true it costs least.",
    }[found.reason]


def _compared(found: Recommendation, c: Comparison) -> str:
    measure, basis = found.measure, _basis(found)
    low, high = c.together.low, c.together.high
    if not c.together.known:
        few = f"there are too few {found.unit} ({found.images}) to say anything"
        return f"{c.first} against {c.second}: {few}. Test on more, or use folds."
    if c.verdict == "better":
        return f"{c.first} is better than {c.second} here by {span(low, high, measure)} ({basis})."
    if c.verdict == "worse":
        return f"{c.first} is worse than {c.second} here by {span(-high, -low, measure)} ({basis})."
    if c.verdict == "equal":
        least = amount(measure.minimal, measure)
        return f"{c.first} and {c.second} are equal here: they differ by less than {least} ({basis})."
    if low < 0 < high:
        width = (high - low) * measure.scale / 4
        worse, better = (_with_unit(_short(end * measure.scale, width), measure) for end in (-low, high))
        return f"{c.first} may be anything from {worse} worse to {better} better than {c.second} ({basis})."
    side, near, far = ("ahead of", low, high) if low >= 0 else ("behind", -high, -low)
    doubt = "" if _trainings(found) < 2 else ", which may be too little to matter"
    return f"{c.first} is {side} {c.second} by {span(near, far, measure)}{doubt} ({basis})."


def _trainings(found: Recommendation) -> int:
    return found.seeds * max(1, found.folds)


def _basis(found: Recommendation) -> str:
    runs = f"{found.seeds} x {found.folds} folds" if found.folds else f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    return f"95 %, {runs}, {found.images:,} {found.unit}"


def _price(found: Recommendation) -> list[str]:
    """What the model costs beside the others, where that would make one think again."""
    names = [found.about, *(c.second for c in found.comparisons)]
    kind, costs = comparable(names, found.costs)
    if not kind or len(names) < 2 or found.choice is None:
        return []
    own, said = costs[found.about], []
    for c in found.comparisons:
        other = costs[c.second]
        if own > other * ALIKE and c.verdict == "better":
            said.append(
                f"{c.second} is {_times(own / other)} {_saving(kind)} ({_priced(other, kind)} against "
                f"{_priced(own, kind)}). Take it if that is worth more to you than "
                f"{span(c.together.low, c.together.high, found.measure)}."
            )
        elif other > own * ALIKE:
            said.append(
                f"{found.about} is {_times(other / own)} {_saving(kind)} than {c.second} ({_priced(own, kind)} against "
                f"{_priced(other, kind)})."
            )
    return said


def _saving(kind: str) -> str:
    return "faster" if kind == "latency_ms" else "smaller"


def _priced(cost: float, kind: str) -> str:
    return f"{cost:.3g} ms an image" if kind == "latency_ms" else f"{cost / 1e6:.3g} million parameters"


def _would_tell(found: Recommendation) -> list[str]:
    said = []
    told = {c.second for c in found.comparisons if c.together.known and _trainings(found) > 1}
    for need in (need for need in found.needed if need.second in told):
        ways = []
        if need.images is not None:
            ways.append(f"about {_round(need.images):,} {found.unit} (there are {found.images:,})")
        if need.seeds is not None:
            ways.append(f"{need.seeds} seeds (there are {found.seeds})")
        if need.both is not None:
            images, seeds = need.both
            ways.append(f"about {_round(images):,} {found.unit} and {seeds} seeds together")
        pair = f"{need.first} and {need.second}"
        said.append(
            f"To tell {pair} apart, or equal, it would take {' or '.join(ways)}, if their difference stays as it is."
            if ways
            else f"Neither 64 times the {found.unit} nor 20 seeds would tell {pair} apart: their difference, as seen, "
            "is close to the least that matters."
        )
    return said


def change(one: Crossing, unreliable: Collection[str] = ()) -> str:
    """Whether and with how many images one model is predicted to pass another.

    unreliable: models whose curve missed its own largest size when that was hidden.
    """
    factor, pair = one.factor, (one.first, one.second)
    if not factor.known:
        text = f"Whether more images would let {one.first} pass {one.second} cannot be told."
    elif math.isfinite(factor.high) and factor.low > 1:
        text = (
            f"With {_times(factor.value)} the images {one.first} is predicted to pass {one.second}; it may take "
            f"{_number(factor.low)} to {_number(factor.high)} times (95 %)."
        )
    elif one.share <= UNLIKELY:
        text = f"Even with {one.reach:.0f} times the images {one.first} is not predicted to pass {one.second}."
    elif math.isfinite(factor.value) and one.share >= LIKELY:
        text = (
            f"With {_times(factor.value)} the images {one.first} may pass {one.second}, but that is not sure: "
            f"the curves leave open anything from {_number(factor.low)} times"
            + (f" to {_number(factor.high)} times." if math.isfinite(factor.high) else " to never.")
        )
    else:
        text = f"Whether more images would let {one.first} pass {one.second} cannot be told from these curves."
    missed = [name for name in pair if name in unreliable]
    doubt = " Do not build on that: the curve of {} missed its own largest size when that was hidden."
    return text + (doubt.format(listed(missed)) if missed else "")


def labelling(gains: Sequence[Gain]) -> str:
    """Which class to label next, or that it cannot be told; gains as `label_next` orders them, of shares of images."""
    if not gains:
        return "There are no classes to label."
    best, points = gains[0], Measure(name="error")
    if best.gain.known and best.gain.low > 0 and best.first >= FIRST:
        span_ = span(best.gain.low, best.gain.high, points)
        return (
            f"Label {best.more:,} more images of {best.label} first: that is predicted to take {span_} off the error."
        )
    near = [gain.label for gain in gains if gain.first >= UNLIKELY] or [gain.label for gain in gains]
    if len(near) == 1:
        return f"Cannot tell which class to label first: even {near[0]}, first in the forecast, may gain nothing."
    return f"Cannot tell which class to label first: {listed(near[:5])} are predicted to gain about as much."


def amount(value: float, measure: Measure) -> str:
    """A difference in the measure's unit: 0.014 of accuracy is "1.4 points"."""
    return _with_unit(_short(value * measure.scale, abs(value * measure.scale) / 3), measure)


def span(low: float, high: float, measure: Measure) -> str:
    """From one difference to another: "4 to 9 points"."""
    ends = low * measure.scale, high * measure.scale
    width = max(abs(ends[1] - ends[0]), max(map(abs, ends)) / 10)
    texts = [_short(end, width) for end in ends]
    return _with_unit(texts[0] if texts[0] == texts[1] else " to ".join(texts), measure)


def scored(score: Interval, measure: Measure) -> str:
    """A score and its interval: "81.2 (79.0 to 83.1)"."""
    value, low, high = (x * measure.scale for x in (score.value, score.low, score.high))
    width = max(high - low, abs(value) / 100) if score.known else abs(value) / 10
    places = _places(width / 8)
    if not score.known:
        return f"{value:.{places}f} (interval not known)"
    return f"{value:.{places}f} ({low:.{places}f} to {high:.{places}f})"


def percent(part: Interval) -> str:
    """A share and its interval: "62 % (55 to 69 %)"."""
    return numbers.share_between(part.value, part.low, part.high)


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _with_unit(text: str, measure: Measure) -> str:
    unit = measure.unit[:-1] if text == "1" and measure.unit == "points" else measure.unit
    return f"{text} {unit}".strip()


def _places(width: float) -> int:
    """As many decimals as a figure deserves that is uncertain by `width`: its last digit is a tenth of it or more."""
    return max(0, min(6, round(-math.log10(width / 5)))) if 0 < width < math.inf else 1


def _short(value: float, width: float) -> str:
    text = f"{value:.{_places(width)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _times(factor: float) -> str:
    return f"{_number(factor)} times"


def _number(factor: float) -> str:
    return f"{factor:.2g}" if factor < 10 else f"{factor:.0f}"


def _round(count: int) -> int:
    """To two digits, upwards: what is guessed is not said to the last image."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def _hundred(share: float) -> str:
    return "more than 99" if share > 0.995 else f"about {100 * share:.0f}"
