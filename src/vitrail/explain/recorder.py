"""Seeing attention: hooks on the one module that computes it, for as long as a `with` block lasts.

The models know nothing of this and ordinary passes keep the fused kernel. What enters attention is kept, and weights
are formed of it when they are asked for: they grow with the square of the tokens and need not all be there at once.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from vitrail.layers.attention import AttentionLayout, ScaledDotProduct, attention_weights


class LaidOut(Protocol):
    """A module that owns an attention core."""

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """Who stands where on a token grid of (h, w)."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of attention.

    module: who owns the attention.  name: its dotted name in the model.  q (B, A, T_q, d), k and v (B, A, T_k, d), bias
    as `ScaledDotProduct` takes them, float32 (float64 where the model computes in it), detached.  output
    (B, A, T_q, d): what the core answered, with its graph; None unless outputs are recorded.  formed: weights that the
    answer was computed from, in differentiable mode.
    """

    module: nn.Module
    name: str
    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None = None
    output: Tensor | None = None
    formed: Tensor | None = None

    @cached_property
    def weights(self) -> Tensor:
        """(B, A, T_q, T_k), rows summing to 1; formed when first asked for, in differentiable mode with the answer."""
        return self.formed if self.formed is not None else self.rows(slice(None))

    def rows(self, queries: Tensor | slice) -> Tensor:
        """Weights of some queries only, by place: (B, A, Q, T_k), detached."""
        with torch.no_grad():
            bias = self.bias
            if bias is not None and bias.shape[-2] > 1:
                bias = bias[..., queries, :]
            return attention_weights(self.q[:, :, queries], self.k, bias)

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """Who stands where on a token grid of (h, w)."""
        return cast(LaidOut, self.module).layout(grid)


@dataclass
class Recording:
    """What `record` saw. model: the eager module to call.  calls: in the order they were made."""

    model: nn.Module
    calls: list[Call] = field(default_factory=list)


class _Here(threading.local):
    """Attention cores that a `record` of this thread is listening to now."""

    def __init__(self) -> None:
        self.cores: weakref.WeakSet[nn.Module] = weakref.WeakSet()


_here = _Here()


@contextmanager
def record(model: nn.Module, differentiable: bool = False, *, outputs: bool = False) -> Iterator[Recording]:
    """Record the attention of every call of `model` inside the block.

    Observing, outputs are bit-identical to those of an unrecorded pass and the weights are detached. With
    `differentiable`, attention answers softmax(QK^T / sqrt(d)) V from the recorded weights, equal up to rounding, and
    gradients flow from the outputs to `weights`. With `outputs`, calls keep what attention answered, and its graph
    where gradients are enabled. A compiled model is recorded on its eager module: a hook that is added after compiling
    would silently not be called. Only calls of the thread that entered are seen, so that others may use the same model,
    and record it, meanwhile.

    Raises RuntimeError on entering where the model has no attention or is being recorded already by this thread, and on
    leaving where no call was recorded. Hooks are gone on leaving, whatever happened.
    """
    model = eager(model)
    cores = {name: core for name, core in model.named_modules() if isinstance(core, ScaledDotProduct)}
    if not cores:
        raise RuntimeError(f"{type(model).__name__} has no attention to record")
    if any(core in _here.cores for core in cores.values()):
        raise RuntimeError("this model is being recorded already: leave the outer record(...) first")
    recording = Recording(model)
    handles = []
    mode = _Mode(recording, differentiable, outputs, threading.get_ident())
    _here.cores.update(cores.values())
    try:
        for name, core in cores.items():
            owner = name.rpartition(".")[0]
            hook = partial(mode.note, model.get_submodule(owner), owner)
            handles.append(core.register_forward_hook(hook, with_kwargs=True))
        with uncompiled(model):
            yield recording
    finally:
        for handle in handles:
            handle.remove()
        _here.cores.difference_update(cores.values())
    if not recording.calls:
        raise RuntimeError("no attention was recorded: call recording.model(images) inside the with block")


@dataclass(frozen=True)
class _Mode:
    recording: Recording
    differentiable: bool
    outputs: bool
    thread: int

    def note(self, owner: nn.Module, name: str, core: nn.Module, args: tuple[Any, ...], *heard: Any) -> Tensor | None:
        """After `core(*args, **kwargs)` gave `output`: keep what entered and, if differentiable, answer from it.

        heard: kwargs and output. Another thread may hear the output alone: torch notes that a hook takes keywords a
        moment after the hook itself.
        """
        if threading.get_ident() != self.thread:
            return None
        kwargs, output = heard
        q, k, v, bias = _arguments(*args, **kwargs)
        wide = torch.promote_types(q.dtype, torch.float32)
        weights = attention_weights(q.to(wide), k.to(wide), bias) if self.differentiable else None
        answer = output if weights is None else (weights @ v.to(wide)).to(output.dtype)
        q, k, v = (tensor.detach().to(wide) for tensor in (q, k, v))
        hidden = None if bias is None else bias.detach()
        call = Call(owner, name, q, k, v, hidden, answer if self.outputs else None, weights)
        self.recording.calls.append(call)
        return None if weights is None else answer


def _arguments(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The signature of `ScaledDotProduct.forward`."""
    return q, k, v, bias


def eager(model: nn.Module) -> nn.Module:
    """The module that torch.compile wrapped, or `model` itself."""
    inner = getattr(model, "_orig_mod", model)
    assert isinstance(inner, nn.Module)
    return inner


_stances = threading.Lock()
_forced = ExitStack()
"""Holds the one change of stance until the last who needs it leaves: the stance is the process's, not a thread's."""
_users = 0


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run parts that were compiled, in place or block by block, as they were written; nothing to do for others."""
    compiled = (hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) for part in model.modules())
    if not any(compiled):
        yield
        return
    global _users
    with _stances:
        _users += 1
        if _users == 1:
            stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
            _forced.enter_context(stance)
    try:
        yield
    finally:
        with _stances:
            _users -= 1
            if not _users:
                _forced.close()
