"""Which class to label next: where more images are predicted to take most off the error of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitrail.study.statistics.curves import Curve
from vitrail.study.statistics.intervals import Interval, between, whole


@dataclass(frozen=True)
class Gain:
    """What `more` images of a class are predicted to take off the share of all images that are wrong.

    first: the share of draws in which no other class gains more.
    """

    label: str
    more: int
    gain: Interval
    first: float


def label_next(curves: Mapping[str, Curve], shares: Mapping[str, float], more: int) -> list[Gain]:
    """Classes by their gain, largest first.

    curves: class -> its share of wrong images (1 - recall) against the number of its training images.  shares: class ->
    its share of the images that will be met, summing to 1.  It says what a class gains itself; what others lose to it
    is in no curve, so a gain is at most so large.
    """
    labels = list(curves)
    values, drawn = [], []
    for label in labels:
        curve, weight = curves[label], shares[label]
        where = np.array([curve.largest, curve.largest + more])
        one, many = curve.law.at(where), curve.draws.at(where)
        values.append(float(one[0, 0] - one[0, 1]) * weight)
        drawn.append((many[:, 0] - many[:, 1]) * weight)
    table = np.stack(drawn, axis=1)  # (R, K)
    known = whole(table)
    shares_first = np.bincount(known.argmax(axis=1), minlength=len(labels)) / max(1, len(known))
    gains = [
        Gain(label, more, between(values[column], table[:, column]), float(shares_first[column]))
        for column, label in enumerate(labels)
    ]
    return sorted(gains, key=lambda gain: -gain.gain.value)
