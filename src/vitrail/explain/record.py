"""Seeing attention: hooks on the one module that computes it, for as long as a `with` block lasts.

The models know nothing of this and ordinary passes keep the fused kernel. A hook that only observes carries no
gradient, because the fused kernel never forms the weights; in differentiable mode it answers in the kernel's place.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from vitrail.layers.attention import AttentionLayout, ScaledDotProduct, attention_weights

_recorded: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Attention cores that a `record` is listening to now."""


class LaidOut(Protocol):
    """A module that owns an attention core."""

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """Who stands where on a token grid of (h, w)."""


@dataclass(frozen=True)
class Call:
    """One call of attention.

    module: who owns the attention.  name: its dotted name in the model.  weights (B, A, T_q, T_k), rows summing to 1,
    float32 (float64 where the model computes in it).
    """

    module: nn.Module
    name: str
    weights: Tensor

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """Who stands where on a token grid of (h, w)."""
        return cast(LaidOut, self.module).layout(grid)


@dataclass
class Recording:
    """What `record` saw. model: the eager module to call.  calls: in the order they were made."""

    model: nn.Module
    calls: list[Call] = field(default_factory=list)


@contextmanager
def record(model: nn.Module, differentiable: bool = False) -> Iterator[Recording]:
    """Record the attention weights of every call of `model` inside the block.

    Observing, outputs are bit-identical to those of an unrecorded pass and the weights are detached. With
    `differentiable`, attention answers softmax(QK^T / sqrt(d)) V from the recorded weights, equal up to rounding, and
    gradients flow from the outputs to `weights`. A compiled model is recorded on its eager module: a hook that is
    added after compiling would silently not be called.

    Raises RuntimeError on entering where the model has no attention or is being recorded already, and on leaving
    where no call was recorded. Hooks are gone on leaving, whatever happened.
    """
    model = _eager(model)
    cores = {name: core for name, core in model.named_modules() if isinstance(core, ScaledDotProduct)}
    if not cores:
        raise RuntimeError(f"{type(model).__name__} has no attention to record")
    if any(core in _recorded for core in cores.values()):
        raise RuntimeError("this model is being recorded already: leave the outer record(...) first")
    recording = Recording(model)
    handles = []
    _recorded.update(cores.values())
    try:
        for name, core in cores.items():
            owner = name.rpartition(".")[0]
            hook = partial(_hook, recording, model.get_submodule(owner), owner, differentiable)
            handles.append(core.register_forward_hook(hook, with_kwargs=True))
        with _uncompiled(model):
            yield recording
    finally:
        for handle in handles:
            handle.remove()
        _recorded.difference_update(cores.values())
    if not recording.calls:
        raise RuntimeError("no attention was recorded: call recording.model(images) inside the with block")


def _hook(
    recording: Recording, owner: nn.Module, name: str, differentiable: bool,
    core: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor,
) -> Tensor | None:  # fmt: skip
    """After `core(*args, **kwargs)` gave `output`: note the weights and, if differentiable, answer from them."""
    q, k, v, bias = _arguments(*args, **kwargs)
    wide = torch.promote_types(q.dtype, torch.float32)
    with nullcontext() if differentiable else torch.no_grad():
        weights = attention_weights(q.to(wide), k.to(wide), bias)
    recording.calls.append(Call(owner, name, weights))
    return (weights @ v.to(wide)).to(output.dtype) if differentiable else None


def _arguments(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The signature of `ScaledDotProduct.forward`."""
    return q, k, v, bias


def _eager(model: nn.Module) -> nn.Module:
    """The module that torch.compile wrapped, or `model` itself."""
    inner = getattr(model, "_orig_mod", model)
    assert isinstance(inner, nn.Module)
    return inner


def _uncompiled(model: nn.Module) -> AbstractContextManager[Any]:
    """Run parts that were compiled, in place or block by block, as they were written; nothing to do for others."""
    for module in model.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
            return stance
    return nullcontext()
