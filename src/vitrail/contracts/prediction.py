"""What a model says of one image, and the table that predictions stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vitrail.contracts.arrays import Floats

ROW = ("path", "status", "reason")
"""Columns that every table of predictions begins with."""

SPLIT_COLUMN = "split"
"""The last column of a run's own predictions.csv."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input, or why it could not.

    source: the path or name as given.  status "ok" or "failed" with a `reason`.  values: the task's columns, in the
    order they stand in predictions.csv (classify: label, confidence).  arrays: what does not fit in a row
    (classify: "probabilities", (Y,) float32).  answer: the values in a few words, to stand under a picture.
    """

    source: str
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    answer: str = ""

    @property
    def label(self) -> str:
        """The predicted class (classify only)."""
        return str(self.values["label"])

    @property
    def confidence(self) -> float:
        """Probability of the predicted class, in [0, 1] (classify only)."""
        return float(self.values["confidence"])


Spread = Callable[[Floats], Floats]
"""A map (H, W) over the model's pixels -> (height, width) over an image's own, NaN outside of what the model saw."""
