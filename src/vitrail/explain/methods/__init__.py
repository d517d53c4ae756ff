"""One file is one method of explanation. This folder is the catalogue: each file offers `METHOD`.

Listing the names imports no method, and so no torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from vitrail.errors import unknown

if TYPE_CHECKING:
    from torch import Tensor

    from vitrail.explain.attention import Explainable


class Explain(Protocol):
    """The computation of a method."""

    def __call__(
        self, model: Explainable, images: Tensor, target: Tensor | None, *, layer: int | None, head: int | None
    ) -> Tensor:
        """Images (B, C, H, W), normalised, -> (B, H, W) float32 over the model's pixels, signed, unnormalised.

        target (B,) int64: the class to explain, or None for the predicted one.  layer, head: which, negative from the
        end; None is the method's own choice. Raises UsageError for one that the model does not have.
        """


@dataclass(frozen=True)
class Method:
    """A method: its name (that of its file), what it shows in a line, what it can be asked for, and its computation.

    by_class: it explains one class; otherwise a target does not apply.  by_layer, by_head: takes a layer, a head.
    where: (model, layer, head) -> words for the caption.  source: paper and equation.
    """

    name: str
    description: str
    source: str
    compute: Explain
    where: Callable[[Explainable, int | None, int | None], str]
    by_class: bool = False
    by_layer: bool = False
    by_head: bool = False


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
