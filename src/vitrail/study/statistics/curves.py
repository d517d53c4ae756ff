"""Learning curves: the error against the number of images (or compute), its law, and what the law says of more.

The law is fitted again to each draw of the measured errors, so its intervals hold what images and seeds leave open, and
what sizes have in common too: all are tested on the same images. If the law misses the points by more than that
explains, draws are widened until it does not (Birge 1932). What they cannot hold is that another law might be true
beyond the largest size; `hide_largest` asks that of the data there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.study.statistics.intervals import LEVEL, Interval, between, whole
from vitrail.study.statistics.joint import Joint
from vitrail.study.statistics.power_law import Law, fit

FEWEST = 4


@dataclass(frozen=True)
class Curve:
    """Errors (J,) at sizes (J,), ascending; the law nearest to them (one row), and to each draw of them (R rows)."""

    sizes: Doubles
    errors: Doubles
    law: Law
    draws: Law

    @property
    def largest(self) -> float:
        """The largest size that was measured."""
        return float(self.sizes[-1])

    @property
    def parameters(self) -> dict[str, Interval]:
        """a, b, c, d of error = a (x + d)^-b + c, with intervals; a is the error above c at x + d = 1."""
        return {
            "a": between(float(self.law.factor[0]), self.draws.factor),
            **{name: between(float(getattr(self.law, name)[0]), getattr(self.draws, name)) for name in ("b", "c", "d")},
        }

    def predict(self, size: float, level: float = LEVEL) -> Interval:
        """The error that the law says at a size, measured or not."""
        where = np.array([size], np.float64)
        return between(float(self.law.at(where)[0, 0]), self.draws.at(where)[:, 0], level)


def fit_curve(sizes: Sequence[float], joint: Joint, shifted: bool = False) -> Curve:
    """The curve of one model whose errors at `sizes` are the columns of `joint`, in the same order.

    sizes: ascending, images or compute, > 0.  joint: of errors, lower is better (`Joint.errors` makes them of
    accuracies).  shifted: the form with d, for compute. Raises ValueError below 4 sizes, 5 where d is free: a law with
    as many parameters as points fits anything.
    """
    x = np.asarray(sizes, np.float64)
    least = FEWEST + shifted
    if len(x) != len(joint.names) or (np.diff(x) <= 0).any():
        raise ValueError(f"{len(joint.names)} errors need as many sizes, ascending; these are {list(sizes)}.")
    if len(x) < least:
        raise ValueError(f"A learning curve needs {least} sizes or more, not {len(x)}: its law would fit anything.")
    weights = _weights(joint)
    law = fit(x, joint.values[None], weights, shifted)
    drawn = np.maximum(joint.draws, 0.0)
    draws = fit(x, drawn, weights, shifted)
    off = whole(draws.misfit - law.misfit)
    expected = float(np.median(off)) if len(off) else 0.0  # of points that lie on a law but for what was drawn
    if expected > 0 and law.misfit[0] > expected:
        wider = float(np.sqrt(law.misfit[0] / expected))
        centre = np.median(whole(drawn), axis=0)
        draws = fit(x, np.maximum(centre + (drawn - centre) * wider, 0.0), weights, shifted)
    return Curve(x, joint.values, law, draws)


def _weights(joint: Joint) -> Doubles:
    halves = np.array([joint.interval(name).half for name in joint.names])
    if not np.isfinite(halves).all() or (halves <= 0).all():
        return np.ones(len(halves))
    return np.asarray(1 / np.maximum(halves, halves.max() / 30) ** 2)


@dataclass(frozen=True)
class Hidden:
    """The largest size, hidden and predicted from the others: what was seen there, and what was said.

    predicted: with what leaves open both the law and the hidden figure itself.  held: whether it holds what was seen.
    """

    size: float
    seen: float
    predicted: Interval

    @property
    def held(self) -> bool:
        """Whether the prediction holds what was seen."""
        return self.predicted.holds(self.seen)


def hide_largest(sizes: Sequence[float], joint: Joint, shifted: bool = False) -> Hidden:
    """Whether the law found without the largest size predicts it; needs one size more than `fit_curve`."""
    curve = fit_curve(sizes[:-1], joint.select(joint.names[:-1]), shifted)
    where, seen = np.array([sizes[-1]], np.float64), float(joint.values[-1])
    value = float(curve.law.at(where)[0, 0])
    off = joint.draws[:, -1] - seen  # of the same draw: what the test images do to both cancels
    return Hidden(float(sizes[-1]), seen, between(value, curve.draws.at(where)[:, 0] - off))
