"""What the measurement says, in short sentences: what a textbook says first, and whether it is seen here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitrail.models import variant
from vitrail.report.numbers import share
from vitrail.study import claims as claimed
from vitrail.study.claims import NOT, SHOWN, UNKNOWN, Claim, Sight, Verdict
from vitrail.study.invariance.conditions import CIRCULAR, EDGE, PATCHES
from vitrail.study.invariance.consistency import MOVED, STAYS
from vitrail.study.invariance.measured import Found, Measured
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import listed, percent
from vitrail.study.subjects import PLACELESS, TRAINED, UNTRAINED

HARDLY = 0.25
"""Of the way to another image: what moves less hardly changes."""
SAME = 0.5
"""Share of pairs of different images with one answer from which on it says little that an answer stays."""
EXACT = 1e-3
"""What is moved by less than this share of the way to another image has moved by rounding alone."""
CONVOLUTIONAL, PLAIN = ("resnet", "convnext"), ("vit", "deit")
"""Families by what textbooks say of them."""
PARTS = 4
"""Parts a side that an image is cut into to ask whether a model needs them where they are."""
FEWEST = 8
"""Images below which nothing is compared."""
WAY = "moved"
OF_WAY = "Moved: how far, of the way to another image. "


def verdict(found: Sequence[Found]) -> list[str]:
    """Who keeps an answer under what, then which claims are seen here and which are not."""
    said = [sentence for family in (EDGE, PATCHES) if (sentence := steadiest(found, family))]
    return [*said, *claimed.summary(claims(found))] or [
        "Too little was measured to say anything; the tables have what there is."
    ]


def steadiest(found: Sequence[Found], family: str) -> str:
    """Which trained model keeps its answer most often under the changes of a family; "" where none can be judged."""
    there = []
    for one in found:
        row = (state := one.state(TRAINED)) and state.of(family)
        if state and row and math.isfinite(row.values[STAYS].value) and state.alike < SAME:
            there.append((row.values[STAYS], one, state))
    if not there:
        return ""
    there.sort(key=lambda entry: -entry[0].value)
    kept, best, state = there[0]
    what = f"Under {family}, {best.name} keeps its answer on {percent(kept)} of the images"
    if len(there) > 1:
        others = [other for value, other, _ in there[1:] if value.high >= kept.low]
        told = (
            f"; {listed([o.name for o in others])} may keep it as often"
            if others
            else (f", more often than {listed([other.name for _, other, _ in there[1:]])}")
        )
        what += told
    return f"{what}. Two different images have the same answer in {share(state.alike)} of pairs."


def claims(found: Sequence[Found]) -> list[Claim]:
    """All claims that are of one of these models, in the order of a textbook."""
    return claimed.told(
        [_convolutions(found), _without_bias(found), _by_training(found), _patches(found), _order(found), _bags(found)]
    )


def _convolutions(found: Sequence[Found]) -> Claim:
    sights = [
        Sight(one.name, state, SHOWN if value.high < HARDLY else NOT if value.low > HARDLY else UNKNOWN, percent(value))
        for state in (UNTRAINED, TRAINED)
        for one, value in _states(found, state, CIRCULAR, CONVOLUTIONAL)
    ]
    return Claim(
        "a CNN's answer hardly changes under a shift",
        "A convolution answers a shifted image with a shifted map, so a CNN's answer hardly changes under a shift.",
        WAY, tuple(sights),
        f"{OF_WAY}Under circular shifts; shown where it moves less than {share(HARDLY)} of the way, with its interval. "
        "Strides and padded edges are what keeps it from 0.",
    )  # fmt: skip


def _without_bias(found: Sequence[Found]) -> Claim:
    cnns, vits = (_states(found, UNTRAINED, CIRCULAR, of) for of in (CONVOLUTIONAL, PLAIN))
    sights = [
        Sight(f"{vit.name} beside {cnn.name}", UNTRAINED, _more(moved, other), f"{percent(moved)}, {percent(other)}")
        for vit, moved in vits
        for cnn, other in cnns
    ]
    return Claim(
        "an untrained ViT's answer changes more under a shift than an untrained CNN's",
        "A ViT has weaker inductive bias than a CNN: before it is trained, a shift changes its answer more.",
        f"{WAY}, each", tuple(sights), f"{OF_WAY}Under circular shifts. Shown where the two intervals stand apart.",
    )  # fmt: skip


def _by_training(found: Sequence[Found]) -> Claim:
    """Of each plain ViT that was trained."""
    sights = []
    for one in found:
        before, after = one.state(UNTRAINED), one.state(TRAINED)
        if family_of(one) not in PLAIN or before is None or after is None:
            continue
        fresh, trained = _moved(before, EDGE), _moved(after, EDGE)
        if fresh is not None and trained is not None:
            figure = f"{percent(fresh)} before, {percent(trained)} after"
            sights.append(Sight(one.name, "before and after", _more(fresh, trained), figure))
    return Claim(
        "training makes a ViT steadier under a shift",
        "What a ViT lacks in inductive bias it learns: training makes its answer steadier under a shift.",
        WAY, tuple(sights), f"{OF_WAY}Under shifts with the edge repeated. Shown where the two intervals stand apart.",
    )  # fmt: skip


def _patches(found: Sequence[Found]) -> Claim:
    """Of each plain ViT: a whole patch against half of one."""
    sights = []
    for one in found:
        state = one.state(TRAINED) or one.state(UNTRAINED)
        if family_of(one) not in PLAIN or state is None or one.images < FEWEST:
            continue
        whole, half = (_moved(state, CIRCULAR, amount) for amount in (one.cell, one.cell // 2))
        if whole is not None and half is not None:
            figure = f"{percent(whole)} by {one.cell} px, {percent(half)} by {one.cell // 2}"
            sights.append(Sight(one.name, state.state, _more(half, whole), figure))
    return Claim(
        "a shift by a whole patch changes a ViT's answer less than one by half a patch",
        "A ViT cuts the image into patches, so a shift by a whole patch changes less than one by half a patch.",
        WAY, tuple(sights), f"{OF_WAY}Under circular shifts. Shown where the two intervals stand apart.",
    )  # fmt: skip


def _order(found: Sequence[Found]) -> Claim:
    """Of each model that was measured without positions, its own patches laid out anew."""
    sights = []
    for one in found:
        own = one.side // one.cell
        for state in one.states:
            if not state.state.endswith(PLACELESS) or (row := state.of(PATCHES, own)) is None:
                continue
            with_them = _moved(whole, PATCHES, own) if (whole := one.state(without_places(state.state))) else None
            moved = row.values[MOVED]
            if math.isfinite(moved.value):
                beside = f", {percent(with_them)} with them" if with_them else ""
                seen = SHOWN if moved.high < EXACT else NOT
                figure = f"{percent(moved)} without positions{beside}"
                sights.append(Sight(one.name, without_places(state.state), seen, figure))
    return Claim(
        "only its position embedding tells a ViT the order of patches",
        "Attention does not see the order of patches; what a ViT knows of places is in its position embedding.",
        WAY, tuple(sights),
        f"{OF_WAY}A model's own patches laid out anew. Shown where without positions nothing moves but by rounding, "
        f"less than {share(EXACT)}.",
    )  # fmt: skip


def without_places(state: str) -> str:
    """Of a state without positions the one with them."""
    return state.removesuffix(PLACELESS)


def _bags(found: Sequence[Found]) -> Claim:
    """Of each trained model: how much of the answer stays where only patches, and not their places, are left."""
    sights = []
    for one in found:
        state = one.state(TRAINED)
        rows = [row for row in state.rows if row.family == PATCHES and math.isfinite(row.amount)] if state else []
        if state is None or not rows or not math.isfinite(rows[-1].values[STAYS].value):
            continue
        own = one.side // one.cell  # a ViT's own patches; of others, and where those are single pixels, some 16 parts
        row = min(rows, key=lambda row: (row.amount != own, abs(row.amount - PARTS)))
        stays = row.values[STAYS]
        half = (1 + state.alike) / 2  # between always and what another image would keep
        seen = SHOWN if stays.high < half else NOT if stays.low > half else UNKNOWN
        figure = f"{percent(stays)} with {row.amount:g} x {row.amount:g} patches; {share(state.alike)} by chance"
        sights.append(Sight(one.name, TRAINED, seen if state.alike < SAME else UNKNOWN, figure))
    return Claim(
        "a model needs its parts where they are",
        "A model that sees globally uses how parts are arranged, so an answer does not survive patches laid out anew.",
        "images whose answer stays", tuple(sights),
        "Chance is how often two different images have the same answer. Shown where, with its interval, less than half"
        " of what lies between chance and all stays.",
    )  # fmt: skip


def _more(one: Interval, other: Interval) -> Verdict:
    """Whether the one is more than the other, as a claim would have it."""
    seen: dict[str, Verdict] = {"more": SHOWN, "less": NOT}
    return seen.get(compared(one, other), UNKNOWN)


def compared(one: Interval, other: Interval) -> str:
    """ "more", "less", or "cannot tell": whether two intervals stand apart."""
    if not (one.known and other.known):
        return "cannot tell"
    return "more" if one.low > other.high else "less" if one.high < other.low else "cannot tell"


def family_of(one: Found) -> str:
    """The family of a model of the catalogue."""
    return variant(one.model).family


def _states(found: Sequence[Found], state: str, family: str, families: Sequence[str]) -> list[tuple[Found, Interval]]:
    there = [(one, one.state(state)) for one in found if family_of(one) in families and one.images >= FEWEST]
    moved = [(one, _moved(measured, family)) for one, measured in there if measured is not None]
    return [(one, value) for one, value in moved if value is not None]


def _moved(state: Measured, family: str, amount: float | None = None) -> Interval | None:
    row = state.of(family, amount)
    return row.values[MOVED] if row is not None and math.isfinite(row.values[MOVED].value) else None


METHOD = (
    "Every model is shown the same held-out images, at its own size, as they are and changed in each way. Changes are"
    " made to the pixels that the model is given, after its resizing; directions and orders are drawn from the name of"
    " the image, so they are the same for all models.",
    "An answer stays where the class (or the set of labels) is the same. How far an output moved is its distance before"
    " softmax, over the root of the mean square distance between the outputs of two different images: 0 % is no change"
    " at all, 100 % as far as to another image.",
    "Untrained is the same model with fresh weights; each image's figures are averaged over the seeds. Such a model"
    " often gives nearly all images the same answer, so of those the distance is to be read, not whether the answer"
    " stays.",
    "Without positions, the position embedding of the patches is set to zero and nothing is trained again.",
    "Intervals are of 95 %, by the bootstrap over images. They do not hold what another training would give.",
)
LIMITS = (
    "A change that is drawn on pixels is not what a camera does: a shift leaves an edge to be filled, a rotation and a"
    " scale blur a little, a circular shift has a seam.",
    "That an answer stays does not make it right, and that it changes does not make it wrong: a 6 turned by 180 degrees"
    " is a 9.",
    "A trained model is steady also because training showed it such changes (augmentation). This measures model and"
    " training together; only fresh weights show the model alone.",
    "Models at other sizes, with other data and recipes may come out otherwise. One training of each was measured.",
)
"""What holds for every study of this kind."""
