"""What becomes of samples on their way to a model: targets read and stacked, failures named, images mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Targets(Protocol):
    """The part of a task that data needs: how a target is read, and how read targets are stacked."""

    dense: bool
    """Whether a target has a value per pixel: it then goes through every geometric step together with its image."""

    def encode(self, target: Any) -> Any:
        """A source's target -> what `collate` stacks; raises DataError on a target that cannot be used.

        A dense one is read here, to an array (..., h, w) of the image's own size; what `collate` gets is that array
        after the geometry, (..., H, W). BadImage where its file cannot be used.
        """

    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """Encoded targets of a batch -> one tensor, first dimension B."""


class DenseTargets(Targets, Protocol):
    """Targets with a value per pixel."""

    def blank(self, size: tuple[int, int]) -> np.ndarray[Any, Any]:
        """An encoded target of (H, W) pixels of which nothing is known: what an image that failed is given."""


@dataclass(frozen=True)
class Failure:
    """A sample that could not be used, and why, in a short clause."""

    key: str
    reason: str


@dataclass(frozen=True)
class Mixing:
    """How images of a batch were mixed: sample i kept `share[i]` in [0, 1] of itself, the rest is `partners[i]`'s."""

    partners: Tensor  # (B,) int64, rows of the same batch
    share: Tensor  # (B,) float32


@dataclass(frozen=True)
class Batch:
    """One step's (or micro-step's) samples.

    images (B, C, H, W) float32, normalised.  targets: first dimension B, the task's.  weights (B,) float32: 0 for a
    sample that failed after the audit (its image is zeros and must not count).  positions (B,) int64: place in the
    endless training order, or in the split when evaluating.  indices (B,) int64: index in the source.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    positions: Tensor
    indices: Tensor
    keys: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    mixing: Mixing | None = None
