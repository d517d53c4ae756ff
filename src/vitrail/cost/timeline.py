"""The memory of a training step over time: what is allocated when, by what it is, for every batch size at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

LABELS = ("activations", "attention", "copies", "gradients", "workspace")
"""What a step allocates. activations: the images, and what the forward pass keeps for the backward pass, or what is
computed again there.  attention: the part of it that is made inside softmax(QK^T)V.  copies: what is as large whatever
the batch, such as weights in bfloat16 or gathered from other devices.  gradients: of the weights.  workspace: the
rest, passing results and gradients of activations."""


@dataclass
class Span:
    """One storage from its allocation to its end. bytes: at the traced batch.  born, died: instants, in order."""

    bytes: int
    born: int
    died: int = -1
    forward: bool = False
    """Made by a forward pass, or by its repetition in the backward pass."""
    attention: bool = False
    gradient: bool = False


Array = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Peak:
    """Bytes at the instant when most is allocated. parts: by label; their sum is the peak."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Timeline:
    """Every storage of one step, traced at a batch of `batch` images, a prime.

    A storage whose size is a multiple of the prime grows with the batch; any other has one size. turned: the instant
    at which the forward pass had ended.
    """

    spans: Sequence[Span]
    batch: int
    turned: int
    end: int

    @cached_property
    def born(self) -> Array:
        """(spans,) instants."""
        return np.array([span.born for span in self.spans], np.int64)

    @cached_property
    def died(self) -> Array:
        """(spans,) instants; of what stays, the end."""
        return np.array([self.end if span.died < 0 else span.died for span in self.spans], np.int64)

    @cached_property
    def traced(self) -> Array:
        """(spans,) bytes at the traced batch."""
        return np.array([span.bytes for span in self.spans], np.int64)

    @cached_property
    def grows(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(spans,) whether it grows with the batch."""
        grows: np.ndarray[Any, np.dtype[np.bool_]] = (self.traced > 0) & (self.traced % self.batch == 0)
        return grows

    @cached_property
    def labels(self) -> Array:
        """(spans,) places in LABELS."""
        return np.array([LABELS.index(self._label(*pair)) for pair in zip(self.spans, self.grows, strict=True)])

    def _label(self, span: Span, grows: bool) -> str:
        if span.gradient:
            return "gradients"
        if not grows:
            return "copies"
        passing = span.born < self.turned and 0 <= span.died < self.turned
        if not span.forward or passing:
            return "workspace"
        return "attention" if span.attention else "activations"

    def sizes(self, batch: int, rounding: int = 1) -> Array:
        """(spans,) bytes at a batch of so many images, each rounded up as the device's allocator does."""
        exact = np.where(self.grows, self.traced // self.batch * batch, self.traced)
        return -(-exact // rounding) * rounding

    def peak(self, batch: int, rounding: int = 1, kept_gradients: bool = False) -> Peak:
        """The peak at a batch of so many images.

        kept_gradients: they are added to ones that stand already, and each new one ends where it is added.
        """
        sizes = self.sizes(batch, rounding)
        died = np.where((self.labels == LABELS.index("gradients")) & kept_gradients, self.born + 1, self.died)
        change = np.zeros(self.end + 2, np.int64)
        np.add.at(change, self.born, sizes)
        np.add.at(change, died, -sizes)
        top = int(np.cumsum(change)[: self.end].argmax())
        there = (self.born <= top) & (top < died)
        parts = {name: int(sizes[there & (self.labels == place)].sum()) for place, name in enumerate(LABELS)}
        return Peak(parts)
