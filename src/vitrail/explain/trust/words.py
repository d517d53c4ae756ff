"""The table in words: which method to believe on this model, or that none is worth more than a mark at the centre."""

from __future__ import annotations

from collections.abc import Sequence

from vitrail.explain.trust.bootstrap import LEAST, Estimate, mean
from vitrail.explain.trust.table import CENTRE, RANDOM, Measured, Summary, Trust

ALIKE = 0.5
"""Maps whose ranks correlate as much with those of a model that knows nothing are not about what was learned."""

LEAST_DROP = 0.05
"""Of an answer: what is lost of it with the whole image hidden. Where it is less, there is nothing to explain."""


def believed(trust: Trust) -> str | None:
    """The method with the highest gain of those that beat both controls beyond chance and change with the weights.

    Intervals are widened for the number of methods compared (Bonferroni), since the best of many is looked for.
    """
    if trust.drop < LEAST_DROP:
        return None
    able = [row for row in trust.methods if _beats(trust, row) and not _blind(row)]
    return max(able, key=lambda row: float(row.gain.mean())).name if able else None


def verdict(trust: Trust) -> list[str]:
    """Sentences: which method to believe and by how much, which are as good, whether it points, what to doubt."""
    own = f"{trust.images:,} {trust.split} images".replace("  ", " ")
    if not trust.methods:
        return [f"No method was compared on {own}."]
    if trust.images < LEAST:
        return [f"{own.capitalize()} are too few to say which method to believe on this model."]
    if trust.drop < LEAST_DROP:
        return [
            f"On {own}, the answer hardly depends on the image: with all of it hidden, {trust.left} changes by no more "
            f"than {plain(trust.drop)} on the mean. What hides the rest sooner cannot be told, so no method is to be "
            "believed on this model."
        ]
    name, doubted = believed(trust), [row for row in trust.methods if _beats(trust, row)]
    if name is None and not doubted:
        best = next(summary for summary in trust.summaries if not summary.control)
        return [_none(trust, own), *_depends(best), *_doubts(trust)]
    row = trust.of(name) if name else max(doubted, key=lambda row: float(row.gain.mean()))
    summary = _summary(trust, row.name)
    opening = (
        f"On {own}, the method to believe on this model is {called(row.name)}: what it marks, the answer needs."
        if name
        else f"On {own}, {called(row.name)} is ahead on this model, to be believed with a doubt (below)."
    )
    said = [
        f"{opening} Insertion less deletion is {plain(summary.gain.value)}, {plain(summary.over_centre.value)} more "
        f"than for a mark at the image's centre (95% interval {ranged(summary.over_centre)}) and "
        f"{plain(summary.over_random.value)} more than for a random map ({ranged(summary.over_random)})."
    ]
    equals = [
        called(other.name)
        for other in trust.methods
        if other is not row and _beats(trust, other) and _equal(row, other, len(trust.methods))
    ]
    if equals:
        said.append(f"{listed(equals).capitalize()} cannot be told from it on these images.")
    if summary.pointing.images:
        centre, random = (_summary(trust, control).pointing for control in (CENTRE, RANDOM))
        said.append(
            f"Its highest point lies on the object in {share(summary.pointing.value)} of the "
            f"{summary.pointing.images:,} images in which that is known to stand somewhere"
            f"{_in_brackets(summary.pointing)}; the image's centre does in {share(centre.value)}, a random point in "
            f"{share(random.value)}."
        )
    return said + _depends(summary) + _doubts(trust)


def called(name: str) -> str:
    """A method's name as people read it."""
    return name.replace("_", " ")


def plain(value: float) -> str:
    """Two decimals, and no minus before nothing."""
    return f"{value:.2f}".replace("-0.00", "0.00")


def share(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.0f}%"


def ranged(estimate: Estimate) -> str:
    """ "0.12 to 0.31", or that there is none."""
    return f"{plain(estimate.low)} to {plain(estimate.high)}" if estimate.known else "too few images for one"


def one_part(summary: Summary, unknown: str = "") -> str:
    """ "0.20 to 0.90": the rank correlations with one part shuffled, from the least to the most."""
    found = summary.alone.values()
    return f"{plain(min(found))} to {plain(max(found))}" if found else unknown


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _none(trust: Trust, own: str) -> str:
    best = next(summary for summary in trust.summaries if not summary.control)
    methods = "the one method compared" if len(trust.methods) == 1 else f"none of the {len(trust.methods)} methods"
    beats = "does not beat" if len(trust.methods) == 1 else "beats"
    return (
        f"On {own}, {methods} {beats} both a mark at the image's centre and a random map beyond chance, so none is to "
        f"be believed on this model: the highest gain, of {called(best.name)}, differs from the centre's by "
        f"{plain(best.over_centre.value)} (95% interval {ranged(best.over_centre)}) and from a random map's by "
        f"{plain(best.over_random.value)} ({ranged(best.over_random)})."
    )


def _depends(summary: Summary) -> list[str]:
    """What becomes of its maps with one part of the model shuffled at a time, the rest as trained."""
    if not summary.alone:
        return []
    most, least = (end(summary.alone, key=summary.alone.__getitem__) for end in (min, max))
    low, high, name = plain(summary.alone[most]), plain(summary.alone[least]), called(summary.name)
    if low == high:
        return [f"Shuffled one part at a time, each changes the maps of {name} alike ({low})."]
    unused = ", that is, not at all" if high == plain(1.0) else ""
    return [
        f"With one part of the model shuffled at a time and the rest as trained, the maps of {name} change most with "
        f"the weights of the {most} (rank correlation {low}) and least with those of the {least} ({high}{unused})."
    ]


def _doubts(trust: Trust) -> list[str]:
    blind = [row for row in trust.methods if _blind(row)]
    if not blind:
        return []
    told = listed([f"{called(row.name)} ({plain(float(row.sanity['all'].mean()))})" for row in blind])
    return [
        f"Maps of {told} stay much the same when all weights are shuffled (rank correlation in brackets), so much "
        "of what they show is not what the model learned."
    ]


def _summary(trust: Trust, name: str) -> Summary:
    return next(summary for summary in trust.summaries if summary.name == name)


def _beats(trust: Trust, row: Measured) -> bool:
    level = 1 - 0.05 / len(trust.methods)
    return all(trust.over(row, control, level).low > 0 for control in (CENTRE, RANDOM))  # NaN is not


def _equal(row: Measured, other: Measured, methods: int) -> bool:
    return mean(row.gain - other.gain, 1 - 0.05 / methods).low <= 0


def _blind(row: Measured) -> bool:
    return "all" in row.sanity and float(row.sanity["all"].mean()) >= ALIKE


def _in_brackets(estimate: Estimate) -> str:
    return f" (95% interval {share(max(0, estimate.low))} to {share(min(1, estimate.high))})" if estimate.known else ""
