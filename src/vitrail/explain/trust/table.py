"""What was measured of each method, and its summary: means over images with intervals, methods beside controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from vitrail.explain.trust.bootstrap import Doubles, Estimate, mean

CENTRE, RANDOM = "centre prior", "random map"
CONTROLS = (CENTRE, RANDOM)
"""Maps that know nothing of the image, by name; `controls` makes them. A report reads results without torch."""

CASCADE = ("head", "last block", "half", "all")
ALONE = ("stem alone", "first block alone", "middle block alone", "last block alone")
"""Which weights are shuffled (`sanity` does it). Down from the answer, each with all that stands before it: the head,
the last block, the upper half of the blocks, every weight. And parts one at a time: the stem and single blocks; the
head is the first of CASCADE anyway.
"""

COLUMNS = ("deletion", "insertion", "gain", "over_centre", "over_random", "pointing", "energy")


@dataclass(frozen=True)
class Measured:
    """One method, or control, on n images. deletion, insertion (n, baselines): areas under the curves.

    pointing: 1 where the highest point lies on the object, else 0.  energy: the share of the map on the object. Both
    (n,), NaN where it is not known where the object stands.  sanity: level of randomised weights -> rank correlation
    with the map of the trained model, of those images on which it was computed.
    """

    name: str
    deletion: Doubles
    insertion: Doubles
    pointing: Doubles
    energy: Doubles
    sanity: Mapping[str, Doubles] = field(default_factory=dict)

    @cached_property
    def gain(self) -> Doubles:
        """(n,) insertion less deletion, the mean over baselines: one figure for both, 0 for a map that says nothing."""
        difference: Doubles = (self.insertion - self.deletion).mean(axis=1)
        return difference


@dataclass(frozen=True)
class Summary:
    """A row of the table. over_centre, over_random: gain less that of the control on the same images."""

    name: str
    deletion: Estimate
    insertion: Estimate
    gain: Estimate
    over_centre: Estimate
    over_random: Estimate
    pointing: Estimate
    energy: Estimate
    sanity: Mapping[str, Estimate]

    @property
    def alone(self) -> Mapping[str, float]:
        """Rank correlation with one part shuffled and the rest as trained, of each part; empty where not computed.

        The head is one such part: it is what is shuffled first from the answer down.
        """
        if not any(level in self.sanity for level in ALONE):
            return {}
        parts = [level for level in (*ALONE, CASCADE[0]) if level in self.sanity]
        return {level.removesuffix(" alone"): self.sanity[level].value for level in parts}

    @property
    def control(self) -> bool:
        """Whether this is no method, but what methods are compared with."""
        return self.name in CONTROLS

    def record(self) -> dict[str, Any]:
        """For JSON: each column as value, low, high and images; what is not known is left out."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        columns |= {f"sanity/{level}": estimate for level, estimate in self.sanity.items()}
        return {"name": self.name, "control": self.control} | {
            name: {key: value for key, value in vars(estimate).items() if math.isfinite(value)}
            for name, estimate in columns.items()
            if estimate.images
        }


@dataclass(frozen=True)
class Trust:
    """What is known of how far methods can be trusted on one model.

    images: how many were explained.  split: whose, "" where they are of no split.  left: what is left of an answer as
    an image is hidden, in words.  baselines: what cells were hidden by.  rows: methods, then controls.  refused:
    methods that do not fit the model -> why.  drop: how much of the answer is lost with the whole image hidden, the
    mean over images and baselines.
    """

    images: int
    left: str
    baselines: Sequence[str]
    rows: Sequence[Measured]
    refused: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    drop: float = math.inf

    def of_split(self, split: str, refused: Mapping[str, str] | None = None) -> Trust:
        """The same, said of a split; with other methods that do not fit, where they are known."""
        return replace(self, split=split, refused=self.refused if refused is None else refused)

    @property
    def methods(self) -> list[Measured]:
        """The rows that are no controls."""
        return [row for row in self.rows if row.name not in CONTROLS]

    def of(self, name: str) -> Measured:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)

    def over(self, row: Measured, control: str, level: float = 0.95) -> Estimate:
        """The gain of a row less that of a control, image by image."""
        return mean(row.gain - self.of(control).gain, level)

    @cached_property
    def summaries(self) -> list[Summary]:
        """A summary of each row, the highest gain first, controls last."""
        made = [
            Summary(
                name=row.name,
                deletion=mean(row.deletion.mean(axis=1)),
                insertion=mean(row.insertion.mean(axis=1)),
                gain=mean(row.gain),
                over_centre=self.over(row, CENTRE),
                over_random=self.over(row, RANDOM),
                pointing=mean(row.pointing),
                energy=mean(row.energy),
                sanity={level: mean(values) for level, values in row.sanity.items()},
            )
            for row in self.rows
        ]
        return sorted(made, key=lambda summary: (summary.control, -summary.gain.value))

    @property
    def parts(self) -> list[str]:
        """What was shuffled one at a time, in words; none where that was not computed."""
        return list(next((summary.alone for summary in self.summaries if summary.alone), ()))

    def csv(self) -> Iterator[list[Any]]:
        """A header and a row per method: each column with the ends of its interval."""
        levels = list(dict.fromkeys(level for row in self.rows for level in row.sanity))
        names = [*COLUMNS, *(f"sanity/{level}" for level in levels)]
        yield ["method", "images", *(part for name in names for part in (name, f"{name}_low", f"{name}_high"))]
        for summary in self.summaries:
            estimates = [getattr(summary, name) for name in COLUMNS]
            estimates += [summary.sanity.get(level, Estimate(math.nan, math.nan, math.nan, 0)) for level in levels]
            parts = [part for each in estimates for part in (each.value, each.low, each.high)]
            yield [summary.name, self.images, *(f"{part:.5f}" if math.isfinite(part) else "" for part in parts)]
