"""One file is one method of explanation. This folder is the catalogue: each file offers `METHOD`.

Listing the names imports no method, and so no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol

from vitrail.errors import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from vitrail.explain.explainable import Explainable
    from vitrail.explain.target import Target

Cost = Literal["attention", "gradient", "passes"]
"""What a map takes: one pass that is watched, a few passes and ways back, or as many passes as places are tried."""


class Explain(Protocol):
    """The computation of a method."""

    def __call__(
        self, model: Explainable, images: Tensor, target: Target, *, layer: int | None, head: int | None
    ) -> Tensor:
        """Images (B, C, H, W), normalised, -> (B, H, W) float32 over the model's pixels, signed, unnormalised.

        target: what of the answer to explain; parts that the method does not take (`by_class`, `by_cell`) are not
        looked at.  layer, head: which, negative from the end; None is the method's own choice. Raises UsageError for
        one that the model does not have, and where the method does not fit the model. An image's map does not depend on
        the others of its batch; the model is run in evaluation mode and left as it was found, gradients included.
        """


class PerHead(Protocol):
    """Every layer and head of a method at once."""

    def __call__(self, model: Explainable, images: Tensor, target: Target) -> Sequence[Tensor]:
        """Images (B, C, H, W) -> of each layer (B, A, h, w), its heads over its own grid; A and the grid may differ."""


@dataclass(frozen=True)
class Method:
    """A method: its name (that of its file), what it shows in a line, what it can be asked for, and its computation.

    source: paper and equation.  where: (model, layer, head) -> words for the caption.  fits: "" for a model that it can
    explain, else why not, in words.  cost: what a map takes.
    by_class: it explains one output, or one against another; otherwise it shows the same for all.  by_layer, by_head,
    by_cell: takes a layer, a head, the cell whose gaze is asked for.  per_head: all layers and heads at once, or None.
    """

    name: str
    description: str
    source: str
    compute: Explain
    where: Callable[[Explainable, int | None, int | None], str]
    fits: Callable[[Explainable], str]
    cost: Cost
    by_class: bool = False
    by_layer: bool = False
    by_head: bool = False
    by_cell: bool = False
    per_head: PerHead | None = None


@cache
def list_methods() -> tuple[str, ...]:
    """Names of all methods, in alphabetical order."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__)))


def get_method(name: str) -> Method:
    """The method of a name, "-" and "_" alike; UsageError with the nearest names otherwise."""
    wanted = name.replace("-", "_")
    if wanted not in list_methods():
        raise unknown("method", name, list_methods())
    method: Method = importlib.import_module(f"{__name__}.{wanted}").METHOD
    return method
