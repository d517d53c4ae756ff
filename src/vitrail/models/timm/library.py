"""The library itself: asked for when it is needed, and its refusals in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn

from vitrail.errors import UsageError, first_line

PREFIX = "timm:"


@cache
def library() -> Any:
    """The module; UsageError where it is not installed."""
    try:
        import timm
    except ImportError:
        raise UsageError(f"{PREFIX}NAME needs timm, which is not installed here: pip install timm") from None
    return timm


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """What timm raises at a wrong argument is the user's to mend, whatever its class; what it warns of is not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UsageError:
        raise
    except Exception as error:
        why = first_line(error)
        raise UsageError(f"{PREFIX}{name} cannot be used with this size and these options: {why}") from None


def prefix_names_of(body: nn.Module) -> tuple[str, ...]:
    """What stands before the patch tokens of a model of timm, in order."""
    count = int(getattr(body, "num_prefix_tokens", 0) or 0)
    named = [name for name in ("cls", "dist") if getattr(body, f"{name}_token", None) is not None]
    return (*named, *["register"] * count)[:count]
