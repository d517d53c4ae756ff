"""Parameters and multiply-accumulates, counted on the meta device: exact, and without memory.

A multiply-accumulate (MAC) is counted for convolutions, linear layers and both products of attention, in one forward
pass at batch 1; norms, softmax, activations and biases are not. Papers that say "FLOPs" mostly mean this number; 1 MAC
is 2 FLOPs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """How many parameters, each shared one once."""
    return sum(p.numel() for p in model.parameters())


def gmacs(model: nn.Module, image_size: tuple[int, int], channels: int = 3) -> float:
    """Giga multiply-accumulates of one forward pass on one image of (H, W). The model is not touched."""
    with _on_meta(model) as shadow, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        counter = FlopCounterMode(display=False)
        with counter:
            shadow(torch.empty(1, channels, *image_size, device="meta"))
    return counter.get_total_flops() / 2e9


@contextmanager
def _on_meta(model: nn.Module) -> Iterator[nn.Module]:
    """A copy of the model with shapes and no memory, in evaluation mode."""
    memo: dict[int, object] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        shadow = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(shadow, False) if isinstance(tensor, nn.Parameter) else shadow
    yield copy.deepcopy(model, memo).eval()
