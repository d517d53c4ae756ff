"""What the measurement says, in short sentences: what a textbook says first, and whether it is seen here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vitrail.models import variant
from vitrail.study.invariance.conditions import CIRCULAR, EDGE, PATCHES
from vitrail.study.invariance.consistency import MOVED, STAYS
from vitrail.study.invariance.measured import Found, Measured
from vitrail.study.statistics.intervals import Interval

TRAINED, UNTRAINED = "trained", "untrained"
PLACELESS = "no positions"
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


@dataclass(frozen=True)
class Claim:
    """What a textbook says, and what was found. brief: in a few words.  seen: "shown", "not shown", "cannot tell",
    "not measured".  found: the figures.
    """

    brief: str
    says: str
    seen: str
    found: str

    @property
    def sentence(self) -> str:
        """Both in one."""
        return f"A textbook says: {self.says} {self.seen[0].upper()}{self.seen[1:]} here. {self.found}"


def verdict(found: Sequence[Found]) -> list[str]:
    """Who keeps an answer under what, then which claims are seen here and which are not."""
    said = []
    for family in (EDGE, PATCHES):
        sentence = steadiest(found, family)
        if sentence:
            said.append(sentence)
    told: dict[str, list[str]] = {}
    for claim in claims(found):
        briefs = told.setdefault(claim.seen, [])
        if claim.brief not in briefs:
            briefs.append(claim.brief)
    heads = {"shown": "Of what textbooks say, shown here", "not shown": "Not shown here", "cannot tell": "Cannot tell"}
    said += [f"{head}: {'; '.join(told[seen])}." for seen, head in heads.items() if seen in told]
    return said or ["Too little was measured to say anything; the tables have what there is."]


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
    share, best, state = there[0]
    what = f"Under {family} (mean over all strengths), {best.name} keeps its answer on {percent(share)} of the images"
    if len(there) > 1:
        others = [other for value, other, _ in there[1:] if value.high >= share.low]
        told = (
            f"; that {listed([o.name for o in others])} would keep it as often cannot be ruled out"
            if others
            else (f", more often than {listed([other.name for _, other, _ in there[1:]])}")
        )
        what += told
    return f"{what}. Two different images have the same answer in {plainly(state.alike)} of pairs."


def claims(found: Sequence[Found]) -> list[Claim]:
    """All claims, in the order of a textbook."""
    return [
        _convolutions(found), _without_bias(found), *_by_training(found), *_patches(found), *_order(found),
        *_bags(found),
    ]  # fmt: skip


def _convolutions(found: Sequence[Found]) -> Claim:
    says = "a convolution answers a shifted image with a shifted map, so a CNN's answer hardly changes under a shift."
    brief = "a CNN's answer hardly changes under a shift"
    rows = _states(found, UNTRAINED, CIRCULAR, CONVOLUTIONAL)
    if not rows:
        return Claim(brief, says, "not measured", "No CNN is among the models.")
    moved = [f"{one.name} with fresh weights moves {way(value)}" for one, value in rows]
    moved += [f"{one.name} trained {way(value)}" for one, value in _states(found, TRAINED, CIRCULAR, CONVOLUTIONAL)]
    seen = "cannot tell"
    if all(value.high < HARDLY for _, value in rows):
        seen = "shown"
    elif any(value.low > HARDLY for _, value in rows):
        seen = "not shown"
    return Claim(
        brief, says, seen,
        f"Under circular shifts {listed(moved)} of the way to another image. Strides and padded edges are what keeps it"
        " from 0.",
    )  # fmt: skip


def _without_bias(found: Sequence[Found]) -> Claim:
    brief = "an untrained ViT's answer changes more under a shift than an untrained CNN's"
    says = "a ViT has weaker inductive bias than a CNN: before it is trained, a shift changes its answer more."
    cnns, vits = (_states(found, UNTRAINED, CIRCULAR, of) for of in (CONVOLUTIONAL, PLAIN))
    if not cnns or not vits:
        return Claim(brief, says, "not measured", "It takes a CNN and a ViT side by side.")
    told = {compared(vit, cnn) for _, vit in vits for _, cnn in cnns}
    seen = "shown" if told == {"more"} else "not shown" if told == {"less"} else "cannot tell"
    figures = [f"{one.name} moves {way(value)}" for one, value in (*vits, *cnns)]
    return Claim(
        brief, says, seen, f"With fresh weights, under circular shifts, {listed(figures)} of the way to another image."
    )


def _by_training(found: Sequence[Found]) -> list[Claim]:
    """Of each plain ViT that was trained."""
    says = "what a ViT lacks in inductive bias it learns: training makes its answer steadier under a shift."
    made = []
    for one in found:
        before, after = one.state(UNTRAINED), one.state(TRAINED)
        if family_of(one) not in PLAIN or before is None or after is None:
            continue
        fresh, trained = _moved(before, EDGE), _moved(after, EDGE)
        if fresh is None or trained is None:
            continue
        seen = {"less": "shown", "more": "not shown"}.get(compared(trained, fresh), "cannot tell")
        made.append(
            Claim(
                f"training makes {one.name} steadier under a shift", says, seen,
                f"{one.name}: {way(fresh)} of the way to another image before, {way(trained)} after.",
            )
        )  # fmt: skip
    return made


def _patches(found: Sequence[Found]) -> list[Claim]:
    """Of each plain ViT: a whole patch against half of one."""
    says = "a ViT cuts the image into patches, so a shift by a whole patch changes less than one by half a patch."
    made = []
    for one in found:
        state = one.state(TRAINED) or one.state(UNTRAINED)
        if family_of(one) not in PLAIN or state is None or one.images < FEWEST:
            continue
        whole, half = (_moved(state, CIRCULAR, amount) for amount in (one.cell, one.cell // 2))
        if whole is None or half is None:
            continue
        seen = {"less": "shown", "more": "not shown"}.get(compared(whole, half), "cannot tell")
        made.append(
            Claim(
                f"a shift by a whole patch changes {one.name} less than one by half", says, seen,
                f"{one.name}, {state.state}, shifted in a circle by {one.cell} px, a patch, moves {way(whole)} of the"
                f" way to another image, by half of that {way(half)}.",
            )
        )  # fmt: skip
    return made


def _order(found: Sequence[Found]) -> list[Claim]:
    """Of each model that was measured without positions, its own patches laid out anew."""
    says = "attention does not see the order of patches; what a ViT knows of places is in its position embedding."
    made = []
    for one in found:
        own = one.side // one.cell
        for state in one.states:
            if not state.state.endswith(PLACELESS) or (row := state.of(PATCHES, own)) is None:
                continue
            whole = one.state(state.state.removesuffix(f", {PLACELESS}"))
            with_them = _moved(whole, PATCHES, own) if whole else None
            moved = row.values[MOVED]
            if not math.isfinite(moved.value):
                continue
            seen = "shown" if moved.high < EXACT else "not shown"
            beside = f", and {way(with_them)} with them" if with_them else ""
            made.append(
                Claim(
                    "only its position embedding tells a ViT the order of patches", says, seen,
                    f"{one.name}, {state.state.split(',')[0]}: with its {own} x {own} patches laid out anew its output"
                    f" moves {moved.value:.1g} of the way to another image without positions{beside}.",
                )
            )  # fmt: skip
    return made


def _bags(found: Sequence[Found]) -> list[Claim]:
    """Of each trained model: how much of the answer stays where only patches, and not their places, are left."""
    says = (
        "a model that sees globally uses how parts are arranged, so an answer does not survive patches laid out anew."
    )
    made = []
    for one in found:
        state = one.state(TRAINED)
        rows = [row for row in state.rows if row.family == PATCHES and math.isfinite(row.amount)] if state else []
        if state is None or not rows or not math.isfinite(rows[-1].values[STAYS].value):
            continue
        own = one.side // one.cell  # a ViT's own patches; of others, and where those are single pixels, some 16 parts
        row = min(rows, key=lambda row: (row.amount != own, abs(row.amount - PARTS)))
        stays = row.values[STAYS]
        half = (1 + state.alike) / 2  # between always and what another image would keep
        seen = "shown" if stays.high < half else "not shown" if stays.low > half else "cannot tell"
        if state.alike >= SAME:
            seen = "cannot tell"
        made.append(
            Claim(
                f"{one.name} needs its parts where they are", says, seen,
                f"{one.name}, trained, keeps its answer on {percent(stays)} of the images with {row.amount:g} x"
                f" {row.amount:g} patches laid out anew; two different images agree in {plainly(state.alike)} of"
                " pairs.",
            )
        )  # fmt: skip
    return made


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


def percent(share: Interval) -> str:
    """A share with its interval."""
    between = f" ({100 * share.low:.0f} to {100 * share.high:.0f} %)" if share.known else ""
    return f"{100 * share.value:.0f} %{between}"


def plainly(share: float) -> str:
    """A share that has no interval."""
    return f"{100 * share:.0f} %"


def way(value: Interval) -> str:
    """A distance in shares of that between two images."""
    return percent(value)


def listed(names: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


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
