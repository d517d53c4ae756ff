"""What the measurement shows of what is said of transformers and CNNs, in short sentences, and where it does not."""

from __future__ import annotations

from collections.abc import Sequence

from vitrail.report import numbers
from vitrail.study import claims as claimed
from vitrail.study.claims import NOT, PART, SHOWN, Claim, Sight
from vitrail.study.reach.measured import Found, Looks, StateFound
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import listed, percent

GLOBAL = 0.75
"""A head looks globally if at least so far, as a share of how far attention spread evenly over the image looks."""
LOCAL = 0.5
"""Windows keep heads near where they look less far than this on the mean, as the same share."""
OWN = 0.5
"""A field is the cell's own if at least so much of it lies within the cell."""
GROWS = 1.2
"""How many times larger the last layer's field must be than the first's to be called so."""

METHOD = (
    "Attention distance: pixels from a query's cell to the cells it looks at, weighted by attention, averaged over "
    "queries and images (ViT, arXiv 2010.11929, figure 11). Its mean over heads has a 95 % interval over images.",
    "Effective receptive field (Luo et al. 2016, arXiv 1701.04128): for the central cell after each layer, a random "
    "direction of its output, the gradient of that with respect to the image, squared, summed over channels, scaled "
    "to a sum of 1 for each image, and averaged over images, each with its own direction. Its size is the radius in "
    "pixels around the cell's centre that holds 50 or 90 % of it; intervals draw the images again.",
    "What can count at all (the theoretical receptive field) is found with the model's own code: all weights positive, "
    "norms and activations let pass, attention even over whom it may look at. A pixel counts if a path leads from it.",
    "Untrained is the same model with fresh weights, the mean over seeds of each image's figure.",
)
LIMITS = (
    "A gradient says what a small change of a pixel does, not what the model uses of the image.",
    "Where a cell looks and what reaches it are two things: a block adds what attention brings to what was there, and "
    "a cell may look everywhere while nearly all of its gradient comes from its own pixels.",
    "The central cell stands for all; those at the border see less.",
)


def verdict(found: Sequence[Found]) -> list[str]:
    """How far the models see in the end, then what of textbooks' claims is seen here."""
    return [*_farthest(found), *claimed.summary(claims(found))] or ["Nothing could be said of these models."]


def _farthest(found: Sequence[Found]) -> list[str]:
    """The sizes of the last fields, the largest first; of more models than are named at once the two ends."""
    last = sorted(
        ((one.states[0].sees[-1].size.half, one) for one in found if one.states and one.states[0].sees),
        key=lambda pair: -pair[0].value,
    )
    if not last:
        return []
    told = [f"{pixels(half)} in {one.name}{_fresh(one, found)}" for half, one in last]
    ends = listed(told) if len(told) <= claimed.NAMED else f"from {told[0]} down to {told[-1]}"
    fresh = "" if any(one.where for one in found) else ", with fresh weights"
    return [f"How far a cell sees in the end{fresh}: half of what counts in it lies within {ends}."]


def _fresh(one: Found, found: Sequence[Found]) -> str:
    return " (not trained)" if not one.where and any(other.where for other in found) else ""


def claims(found: Sequence[Found]) -> list[Claim]:
    """Of each claim what every model of its kind shows, in each state."""
    states = [(one, state) for one in found for state in one.states]
    return claimed.told([_first_looks(states), _windows(states), _grows(states)])


def _first_looks(states: Sequence[tuple[Found, StateFound]]) -> Claim:
    sights = []
    for one, state in states:
        if not state.looks or state.looks[0].windows > 1:
            continue
        first, own = state.looks[0].heads, state.sees[0]
        far = [head for head in first if head >= GLOBAL * one.even]
        reaches = 1 - own.size.beyond.value < OWN
        seen = SHOWN if far and reaches else PART if far or own.whole == 1 else NOT
        later = percent(state.sees[-1].size.beyond)
        figure = f"{len(far)} of {len(first)} heads; {percent(own.size.beyond)}, after the last layer {later}"
        sights.append(Sight(one.name, state.name, seen, figure))
    return Claim(
        "attention sees the whole image from the first layer on",
        "Attention sees the whole image from the first layer on.",
        "far heads; from beyond the cell",
        tuple(sights),
        f"A head looks far if it looks at least {numbers.share(GLOBAL)} as far as attention spread evenly over the "
        "image. Shown where one does in the first layer and half or more of what counts in the central cell comes from "
        "beyond it; in part where only one of the two holds, or where every pixel could count: "
        "a cell may look everywhere while its own pixels decide. Fresh weights look far without choosing what at.",
    )


def _windows(states: Sequence[tuple[Found, StateFound]]) -> Claim:
    sights = []
    for one, state in states:
        if not state.looks or state.looks[0].windows <= 1:
            continue
        mean = state.looks[0].mean
        figure = f"{pixels(mean)} of {distance(one.even)} px, in the last layer {pixels(state.looks[-1].mean)}"
        sights.append(Sight(one.name, state.name, SHOWN if mean.value < LOCAL * one.even else NOT, figure))
    return Claim(
        "windows keep early layers near",
        "Windows keep early layers near.",
        "first layer, of an even look",
        tuple(sights),
        f"Shown where heads of the first layer look less than {numbers.share(LOCAL)} as far, on the mean, as attention "
        "spread evenly over the image would.",
    )


def _grows(states: Sequence[tuple[Found, StateFound]]) -> Claim:
    """A CNN, and any hierarchy, sees more with every layer."""
    sights = []
    for one, state in states:
        if not state.sees or (state.looks and state.looks[0].windows <= 1 and one.family in ("vit", "deit")):
            continue
        first, last = state.sees[0], state.sees[-1]
        grows = last.size.half.value > GROWS * first.size.half.value
        end = last.size.half.high if last.size.half.known else last.size.half.value
        figure = f"{pixels(first.size.half)} to {pixels(last.size.half)}; evenly {distance(last.even)} px"
        seen = SHOWN if grows and end < last.even else PART if grows else NOT
        sights.append(Sight(one.name, state.name, seen, figure))
    return Claim(
        "layer by layer a cell sees more, and less than it could",
        "Layer by layer a cell sees more, and effectively less than it could.",
        "radius, first to last layer",
        tuple(sights),
        f"The radius holds half of the central cell's field. Shown where it grows to more than {GROWS:g} times "
        "and stays, with its interval, below that of a "
        "field spread evenly over the image; in part where it only grows.",
    )


def distance(value: float) -> str:
    """Pixels, without the unit."""
    return numbers.pixels(value)


def pixels(interval: Interval) -> str:
    """12.3 px (11.9 to 12.8)."""
    value, bracket, span = bare(interval).partition(" (")
    return f"{value} px{bracket}{span}"


def bare(interval: Interval) -> str:
    """12.3 (11.9 to 12.8), for a column of pixels."""
    return numbers.pixels_between(interval.value, interval.low, interval.high)


def heads(looks: Looks) -> str:
    """3.1 to 24.9; 8.0 where all look as far."""
    ends = (distance(end(looks.heads)) for end in (min, max))
    return " to ".join(dict.fromkeys(ends))
