"""Parameters and multiply-accumulates, counted on the meta device: exact, and without memory.

A multiply-accumulate (MAC) is counted for convolutions, linear layers and both products of attention, in one forward
pass at batch 1; norms, softmax, activations and biases are not. Papers that say "FLOPs" mostly mean this number; 1 MAC
is 2 FLOPs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import FlopCounterMode

from vitrail.contracts import Backbone

PLAIN = (bool, int, float, str, tuple, type(None))
"""Attributes that tell blocks apart; tensors do so by their shapes."""


Counted = dict[Hashable, tuple[Any, int]]
"""Kind of block and of its inputs -> what it returns, as shapes, and its FLOPs."""


def parameters(model: nn.Module) -> int:
    """How many parameters, each shared one once."""
    return sum(p.numel() for p in model.parameters())


def gmacs(model: nn.Module, image_size: tuple[int, int], channels: int = 3, counted: Counted | None = None) -> float:
    """Giga multiply-accumulates of one forward pass on one image of (H, W). The model is not touched.

    Blocks of a backbone that are alike, and are given inputs alike, are counted once and taken as often as they are.
    counted: blocks of models before, to which this one's are added.
    """
    shadow = _on_meta(model)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        counter = FlopCounterMode(display=False)
        alike = _Alike(counter, {} if counted is None else counted)
        backbones = [module for module in shadow.modules() if hasattr(module, "blocks")]  # before the dearer check
        blocks = {block for part in backbones if isinstance(part, Backbone) for block in part.blocks()}
        before = {block: vars(block).get("forward") for block in blocks}
        for block in blocks:
            block.forward = alike.once(block)
        try:
            with counter:
                shadow(torch.empty(1, channels, *image_size, device="meta"))
        finally:
            for block, forward in before.items():
                del block.forward
                if forward is not None:
                    block.forward = forward
    return (counter.get_total_flops() + alike.spared) / 2e9


class _Alike:
    """Runs one block of each kind, and answers for the others with its shapes and its count."""

    def __init__(self, counter: FlopCounterMode, counted: Counted) -> None:
        self.counter, self.counted = counter, counted
        self.spared = 0
        """FLOPs of blocks that did not run."""

    def once(self, block: nn.Module) -> Callable[..., Any]:
        """A forward for `block` that runs only where no block alike has met inputs alike."""
        kind, forward = _kind(block), block.forward

        def run(*args: Any, **kwargs: Any) -> Any:
            leaves, structure = tree_flatten((args, kwargs))
            key = (kind, str(structure), *(_told(leaf) for leaf in leaves))
            if key in self.counted:
                shapes, flops = self.counted[key]
                self.spared += flops
                return tree_map(_fresh, shapes)
            before = self.counter.get_total_flops()
            out = forward(*args, **kwargs)
            self.counted[key] = tree_map(_fresh, out), self.counter.get_total_flops() - before
            return out

        return run


def _kind(block: nn.Module) -> Hashable:
    """Equal for blocks of the same modules, settings and shapes."""
    parts = []
    for name, module in block.named_modules():
        settings = tuple(sorted((k, repr(v)) for k, v in vars(module).items() if isinstance(v, PLAIN)))
        tensors = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        parts.append((name, type(module), settings, tuple((key, tuple(tensor.shape)) for key, tensor in tensors)))
    return tuple(parts)


def _told(leaf: Any) -> Hashable:
    return (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)


def _fresh(leaf: Any) -> Any:
    return torch.empty_like(leaf) if isinstance(leaf, Tensor) else leaf


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of the model with shapes and no memory, in evaluation mode and without gradients; itself if it is that."""
    tensors = [*model.parameters(), *model.buffers()]
    still = not any(module.training for module in model.modules())
    if still and all(tensor.is_meta and not tensor.requires_grad for tensor in tensors):
        return model
    memo: dict[int, object] = {}
    for tensor in tensors:
        shadow = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(shadow, False) if isinstance(tensor, nn.Parameter) else shadow
    return copy.deepcopy(model, memo).eval()
