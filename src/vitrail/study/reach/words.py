"""What the measurement shows of what is said of transformers and CNNs, in short sentences, and where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitrail.study.reach.measured import Found, Looks, Sees, StateFound
from vitrail.study.statistics.intervals import Interval

GLOBAL = 0.75
"""A head looks globally if at least so far, as a share of how far attention spread evenly over the image looks."""
LOCAL = 0.5
"""And nearby if at most so far."""
OWN = 0.5
"""A field is the cell's own if at least so much of it lies within the cell."""
EVEN = 0.95
"""A head looks at all alike if it looks at least so far, as the same share."""
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


@dataclass(frozen=True)
class Claim:
    """What a textbook says of a model, and whether it is seen here: "yes", "in part" or "no"."""

    name: str
    says: str
    seen: str
    found: str


def claims(found: Sequence[Found]) -> list[Claim]:
    """Of each model what is said of its kind, as its last state (trained where it is) shows it."""
    made = []
    for one in found:
        for state in one.states:
            made += [claim for claim in (_first_looks(one, state), _windows(one, state), _grows(one, state)) if claim]
    return made


def verdict(found: Sequence[Found]) -> list[str]:
    """A sentence a claim."""
    every = claims(found)
    counts = [f"{sum(c.seen == seen for c in every)} {_seen(seen)}" for seen in ("yes", "in part", "no")]
    said = [f"Of {len(every)} things that are said of such models, {counts[0]}, {counts[1]}, {counts[2]}."]
    said += [
        f"{claim.name}: {claim.says[0].lower()}{claim.says[1:]}: {_seen(claim.seen)}. {claim.found}" for claim in every
    ]
    return said if every else ["Nothing could be said of these models."]


def _seen(seen: str) -> str:
    return {"yes": "seen here", "in part": "seen in part", "no": "not seen"}[seen]


def _called(one: Found, state: StateFound) -> str:
    return f"{one.name}, {state.name}"


def _first_looks(one: Found, state: StateFound) -> Claim | None:
    """A ViT sees globally from its first layer on."""
    if not state.looks or state.looks[0].windows > 1:
        return None
    first, own = state.looks[0], state.sees[0]
    far = [head for head in first.heads if head >= GLOBAL * one.even]
    near = [head for head in first.heads if head <= LOCAL * one.even]
    attends = "yes" if far else "no"
    reaches = 1 - own.size.beyond.value < OWN
    seen = "yes" if far and reaches else "in part" if far or own.whole == 1 else attends
    heads = f"{len(far)} of {len(first.heads)} heads look {GLOBAL:.0%} or more as far as evenly spread attention would"
    text = (
        f"In its first layer {heads} ({_rounded(one.even)} px), and {len(near)} at most half as far. "
        f"Of the field of the central cell {share(own.size.beyond)} comes from beyond the cell itself after that "
        f"layer, and {share(state.sees[-1].size.beyond)} after the last"
    )
    text += "." if reaches else ": it may look everywhere, but at first nearly all that counts is its own."
    if state.name.startswith("untrained") and min(first.heads) > EVEN * one.even:
        text += " With fresh weights that is no choice: every head looks at all patches nearly alike."
    return Claim(_called(one, state), "Attention sees the whole image from the first layer on", seen, text)


def _windows(one: Found, state: StateFound) -> Claim | None:
    """Windows restrict how far heads look."""
    if not state.looks or state.looks[0].windows <= 1:
        return None
    first, last = state.looks[0], state.looks[-1]
    inside = first.mean.value < LOCAL * one.even
    box = state.sees[0].box
    text = (
        f"In the first layer heads look {pixels(first.mean)} on the mean, where windows allow about "
        f"{_rounded(first.allowed)} and the whole image {_rounded(one.even)}; nothing beyond {box[0]} x {box[1]} px "
        f"can count. In the last they look {pixels(last.mean)}."
    )
    return Claim(_called(one, state), "Windows keep early layers near", "yes" if inside else "no", text)


def _grows(one: Found, state: StateFound) -> Claim | None:
    """A CNN, and any hierarchy, sees more with every layer."""
    if not state.sees or (state.looks and state.looks[0].windows <= 1 and one.family in ("vit", "deit")):
        return None
    first, last = state.sees[0], state.sees[-1]
    grows = last.size.half.value > GROWS * first.size.half.value
    small = last.size.half.value < last.even
    seen = "yes" if grows and small else "in part" if grows else "no"
    text = (
        f"Half of the field lies within {pixels(first.size.half)} after the first layer and within "
        f"{pixels(last.size.half)} after the last; spread evenly over the image it would be {_rounded(last.even)} px. "
        + (
            "The whole image can count from the first layer on."
            if first.whole == 1
            else f"What can count at all grows from {boxed(first, one)} to {boxed(last, one)}."
        )
    )
    says = "Layer by layer a cell sees more, and effectively less than it could"
    return Claim(_called(one, state), says, seen, text)


def boxed(sees: Sees, one: Found) -> str:
    """23 x 23 px, or the whole image."""
    return (
        "the whole image" if sees.whole == 1 else f"{sees.box[0]} x {sees.box[1]} px of {one.size[0]} x {one.size[1]}"
    )


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def pixels(interval: Interval) -> str:
    """12.3 px (11.9 to 12.8)."""
    if not interval.known:
        return f"{interval.value:.1f} px"
    return f"{interval.value:.1f} px ({interval.low:.1f} to {interval.high:.1f})"


def share(interval: Interval) -> str:
    """12.3% (11.9 to 12.8)."""
    value, low, high = (100 * end for end in (interval.value, interval.low, interval.high))
    return f"{value:.1f}% ({low:.1f} to {high:.1f})" if interval.known else f"{value:.1f}%"


def heads(looks: Looks) -> str:
    """3.1 to 24.9."""
    return f"{min(looks.heads):.1f} to {max(looks.heads):.1f}"
