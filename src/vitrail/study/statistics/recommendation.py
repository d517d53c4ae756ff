"""One recommendation from scores, costs and learning curves: which model, why, how sure, and what would change it.

A model may be recommended if no other can be better than it by a difference that matters, as far as intervals that hold
together say (multiple comparisons with the best: Hsu 1996, chapter 4). Of several such models the cheapest is taken. If
there is none, nothing is recommended, and it is said what would tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vitrail.study.statistics.candidates import Cost, cheapest, comparable
from vitrail.study.statistics.crossing import Crossing, crossing
from vitrail.study.statistics.curves import Curve, Hidden
from vitrail.study.statistics.differences import Better, Comparison, Verdict, compare
from vitrail.study.statistics.intervals import whole
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.needed import Needed, needed

Reason = Literal["the only one", "better than all others", "none is better", "as good and cheaper", "cannot tell"]
_TURNED: Mapping[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Measure:
    """What is compared. minimal: the least difference that matters, in the score's own unit.

    unit, scale: how a difference is written; 0.01 of accuracy is 1 point.
    """

    name: str = "accuracy"
    better: Better = "higher"
    minimal: float = 0.01
    unit: str = "points"
    scale: float = 100.0


@dataclass(frozen=True)
class Recommendation:
    """Which model to take, as data; `words.sentences` says it.

    choice: None where nothing can be told.  leading: the best score, whether or not it is the choice.  comparisons: of
    the choice, or else of the leading model, with each other one; positive where it is better.  sure: the share of
    draws of images and seeds in which no other is better than it by a difference that matters; None where not known.
    rivals: models that may be better than it by that much.  changes: where the curves of others pass its own.
    needed: what would tell, for each rival.  unreliable: models whose curve missed its own hidden size.
    seeds, folds, images: of what was compared; seeds are repeats where there are folds.
    """

    choice: str | None
    leading: str
    reason: Reason
    comparisons: tuple[Comparison, ...]
    sure: float | None
    rivals: tuple[str, ...]
    changes: tuple[Crossing, ...]
    needed: tuple[Needed, ...]
    unreliable: tuple[str, ...]
    measure: Measure
    seeds: int
    folds: int
    images: int
    unit: str
    costs: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """The model that is spoken of: the choice, or else the leading one."""
        return self.choice or self.leading


def recommend(
    joint: Joint,
    measure: Measure,
    costs: Mapping[str, Cost] | None = None,
    curves: Mapping[str, Curve] | None = None,
    hidden: Mapping[str, Hidden] | None = None,
    unit: str = "test images",
) -> Recommendation:
    """The recommendation for models scored once on the same test images.

    costs, curves (of errors, from one `Joint`), hidden: by model, of those that have one.  unit: what was drawn; the
    groups' name where images were drawn in groups.
    """
    costs, curves, hidden = costs or {}, curves or {}, hidden or {}
    sign = 1.0 if measure.better == "higher" else -1.0
    scores = {name: float(value) * sign for name, value in zip(joint.names, joint.values, strict=True)}
    found = compare(joint, measure.minimal, measure.better)
    leading = max(scores, key=lambda name: scores[name])
    safe = [name for name in joint.names if not _rivals(found, name, measure.minimal)]
    trained = joint.count * max(1, joint.folds) > 1
    choice = cheapest(safe, costs, scores) if safe and (trained or len(scores) == 1) else None
    about = choice or leading
    own = seen_from(found, about)
    rivals = () if choice else _rivals(found, about, measure.minimal) or tuple(n for n in joint.names if n != about)
    return Recommendation(
        choice=choice,
        leading=leading,
        reason=_reason(choice, leading, own, costs),
        comparisons=own,
        sure=_sure(joint, about, sign, measure.minimal) if trained else None,
        rivals=rivals,
        changes=_changes(about, curves),
        needed=tuple(needed(joint, about, name, measure.minimal, measure.better) for name in rivals),
        unreliable=tuple(name for name in curves if name in hidden and not hidden[name].held),
        measure=measure,
        seeds=joint.count,
        folds=joint.folds,
        images=joint.units,
        unit=unit,
        costs={name: costs[name] for name in joint.names if name in costs},
    )


def seen_from(found: list[Comparison], name: str) -> tuple[Comparison, ...]:
    """The comparisons of a model, turned so that it stands first; its nearest rival before the others."""
    turned = [
        Comparison(c.second, c.first, c.alone.scaled(-1), c.together.scaled(-1), _TURNED.get(c.verdict, c.verdict))
        for c in found
        if c.second == name
    ]
    return tuple(sorted((*(c for c in found if c.first == name), *turned), key=lambda c: c.together.value))


def _rivals(found: list[Comparison], name: str, minimal: float) -> tuple[str, ...]:
    """Models that may be better than `name` by more than `minimal`."""
    return tuple(c.second for c in seen_from(found, name) if not c.together.low >= -minimal)  # NaN: it may


def _reason(
    choice: str | None, leading: str, own: tuple[Comparison, ...], costs: Mapping[str, Cost]
) -> Reason:  # fmt: skip
    if choice is None:
        return "cannot tell"
    if not own:
        return "the only one"
    if all(c.verdict == "better" for c in own):
        return "better than all others"
    _, found = comparable((choice, leading), costs)
    return "as good and cheaper" if found and found[choice] < found[leading] else "none is better"


def _sure(joint: Joint, name: str, sign: float, minimal: float) -> float | None:
    known = whole(joint.draws * sign)
    if not len(known):
        return None
    return float((known.max(axis=1) - known[:, joint.index(name)] <= minimal).mean())


def _changes(about: str, curves: Mapping[str, Curve]) -> tuple[Crossing, ...]:
    if about not in curves:
        return ()
    return tuple(crossing((name, about), curve, curves[about]) for name, curve in curves.items() if name != about)
