"""What a model looked at, by any method of `methods/`, and how far to trust it.

`record` is the door for those who want the attention itself. It is resolved when first used: listing methods loads no
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail.explain.recorder import record as record

__all__ = ["record"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vitrail.explain' has no attribute '{name}'")
    value = globals()[name] = getattr(importlib.import_module("vitrail.explain.recorder"), name)
    return value
