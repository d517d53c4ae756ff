"""Activations that are computed again in the backward pass instead of being kept: less memory, about a third more time.

Chen et al. 2016 (arXiv 1604.06174). Values and gradients stay as they are, random draws included, and so do the running
statistics of BatchNorm, which see each batch once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Keep only the inputs of each of these modules between the forward and the backward pass.

    Names of parameters do not change, and a deep copy recomputes its own blocks.
    """
    for block in blocks:
        again: dict[str, Any] = {}
        if any(isinstance(module, _BatchNorm) for module in block.modules()):
            again["context_fn"] = partial(_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, **again)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the forward pass and around its repetition."""
    return nullcontext(), _untracked(block)


@contextmanager
def _untracked(block: nn.Module) -> Iterator[None]:
    """BatchNorms compute as before, and what they write of the batch is taken back."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
