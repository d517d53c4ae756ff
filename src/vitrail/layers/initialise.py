"""First values of parameters, each from a generator of its own.

A parameter's values depend on (seed, its full name) alone: not on the order of construction, on the device, on the
number of ranks, or on which other parameters there are. Values are drawn on the CPU in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from vitrail.seeding import derive_seed

Draw = Callable[[Tensor, Generator], object]
"""Fills a tensor in place from a generator."""


@runtime_checkable
class Initialised(Protocol):
    """A module that says how its own parameters (not its children's) begin."""

    def initialisers(self) -> Mapping[str, Draw]:
        """Own parameter name -> draw."""


@runtime_checkable
class Container(Protocol):
    """A module that says how those inside it begin that cannot say so themselves: modules of a library."""

    def initialisers_of(self, module: nn.Module) -> Mapping[str, Draw]:
        """Own parameter name -> draw; none for a module that begins as its kind does."""


@runtime_checkable
class Beginning(Protocol):
    """A module that gives everything inside it its first values by itself."""

    def begin(self, seed: int) -> None:
        """Give each parameter and buffer inside its first value, a function of the seed alone."""


def truncated_normal(std: float) -> Draw:
    """Normal(0, std) cut at +-2, as in ViT, DeiT, Swin and PVT."""
    return lambda t, g: nn.init.trunc_normal_(t, std=std, generator=g)


def normal(std: float) -> Draw:
    """Normal(0, std)."""
    return lambda t, g: t.normal_(0.0, std, generator=g)


def constant(value: float) -> Draw:
    """The same value everywhere."""
    return lambda t, _: t.fill_(value)


def fan_in_uniform(fan_in: int) -> Draw:
    """Uniform in +-1/sqrt(fan_in): PyTorch's default for convolutions, weight and bias."""
    bound = 1 / math.sqrt(fan_in)
    return lambda t, g: t.uniform_(-bound, bound, generator=g)


@runtime_checkable
class Buffered(Protocol):
    """A module whose buffers are computed, not learned."""

    def fill_buffers(self) -> None:
        """Compute its own buffers again; those on the meta device get memory on the default device first."""


@torch.no_grad()
def initialise(model: nn.Module, seed: int, prefix: str = "") -> None:
    """Give every parameter of `model` its first value, and compute its buffers.

    prefix: what the names of a part begin with in the whole ("backbone."), so that a part alone begins the same.
    What is on the meta device is left there.
    """
    fill_buffers(model)
    around: dict[str, Container | None] = {}  # path -> the nearest container that the module is or stands in
    begun: list[str] = []
    for path, module in model.named_modules():
        container = around.get(path.rpartition(".")[0]) if path else None
        around[path] = module if isinstance(module, Container) else container
        if any(not whole or path.startswith(f"{whole}.") for whole in begun):
            continue
        if isinstance(module, Beginning):
            module.begin(seed)
            begun.append(path)
            continue
        if isinstance(module, Initialised):
            draws = module.initialisers()
        else:
            draws = (container and container.initialisers_of(module)) or _defaults(module)
        for name, parameter in module.named_parameters(recurse=False):
            full = prefix + (f"{path}.{name}" if path else name)
            assert parameter.is_meta or name in draws, f"no initialiser for {full}"
            if not parameter.is_meta:
                draw_value(parameter, draws[name], seed, full)
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not module.running_mean.is_meta:
            module.reset_running_stats()  # kept in files, so not among the buffers that `fill_buffers` computes


@torch.no_grad()
def draw_value(parameter: nn.Parameter, draw: Draw, seed: int, name: str) -> None:
    """Give one parameter its first value, by its full name in the whole model; one on the meta device is left there."""
    if parameter.is_meta:
        return
    values = torch.empty(parameter.shape, dtype=torch.float32)
    draw(values, Generator().manual_seed(derive_seed(seed, "init", name)))
    parameter.copy_(values)


@torch.no_grad()
def fill_buffers(model: nn.Module) -> None:
    """Compute every buffer of `model` that is computed, not learned."""
    for module in model.modules():
        if isinstance(module, Buffered):
            module.fill_buffers()


def _defaults(module: nn.Module) -> Mapping[str, Draw]:
    if isinstance(module, nn.Linear):
        return {"weight": truncated_normal(0.02), "bias": constant(0.0)}
    if isinstance(module, nn.Conv2d):
        draw = fan_in_uniform(module.weight[0].numel())
        return {"weight": draw, "bias": draw}
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.BatchNorm2d, nn.GroupNorm)):
        return {"weight": constant(1.0), "bias": constant(0.0)}
    return {}
