"""What a module of another library does, found by running a copy of it that has shapes and no memory."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]
Grid = tuple[int, int]


@dataclass(frozen=True)
class Look:
    """outputs: what the run returned, on the meta device.  shapes: of the tensor that each module returned, by name.
    idle: names of parameters that the first output does not depend on.
    """

    outputs: Any
    shapes: dict[str, Shape]
    idle: tuple[str, ...]


def look(module: nn.Module, run: Callable[[Any], Any]) -> Look:
    """Run `run(copy of module)` in evaluation mode on the meta device. The module is not touched.

    `run` returns a tensor, or a tuple whose first entry is one. What the module itself raises comes through.
    """
    memo: dict[int, object] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        shadow = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(shadow, tensor.is_floating_point()) if _learned(tensor) else shadow
    twin = copy.deepcopy(module, memo).eval()
    shapes: dict[str, Shape] = {}
    for name, part in twin.named_modules():
        part.register_forward_hook(_noting(shapes, name))
    with torch.device("meta"), torch.enable_grad():
        outputs = run(twin)
        first = outputs if isinstance(outputs, Tensor) else outputs[0]
        first.sum().backward()
    idle = tuple(name for name, parameter in twin.named_parameters() if parameter.grad is None)
    return Look(outputs, shapes, idle)


def _learned(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter)


def _noting(shapes: dict[str, Shape], name: str) -> Callable[..., None]:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    return note


def prune(module: nn.Module, idle: tuple[str, ...]) -> None:
    """Take out every part whose parameters are all among the `idle`; parameters beside working ones become fixed."""
    silent = set(idle)
    for path, part in _outermost(module, silent):
        module.set_submodule(path, nn.Identity())
        silent -= {f"{path}.{name}" for name, _ in part.named_parameters()}
    for name in silent:
        module.get_parameter(name).requires_grad_(False)


def _outermost(module: nn.Module, silent: set[str], path: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, part in list(module.named_children()):
        whole = f"{path}.{name}" if path else name
        own = {f"{whole}.{parameter}" for parameter, _ in part.named_parameters()}
        if own and own <= silent:
            yield whole, part
        else:
            yield from _outermost(part, silent, whole)


LISTS = (nn.Sequential, nn.ModuleList)
NO_BLOCKS = ("stem", "conv_stem", "conv1", "bn1", "patch_embed", "head", "norm", "classifier", "fc")
"""Parts of a model that stand before its blocks or after them, as timm names them."""


def listed_blocks(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of a model by name: what its lists hold, lists within lists unrolled.

    Where it has no lists, its parts; itself where it has no parts.
    """
    parts = [(name, part) for name, part in module.named_children() if not name.startswith(NO_BLOCKS)]
    inside = [block for name, part in parts for block in _unrolled(name, part)]
    return [block for block in inside if _learns(block)] or [part for part in parts if _learns(part)] or [("", module)]


def _learns(named: tuple[str, nn.Module]) -> bool:
    return any(True for _ in named[1].parameters())


def _unrolled(path: str, part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    inner = getattr(part, "blocks", None)
    if isinstance(inner, LISTS):
        path, part = f"{path}.blocks", inner
    elif not isinstance(part, LISTS):
        return
    for name, child in part.named_children():
        whole = f"{path}.{name}"
        nested = isinstance(child, LISTS) or isinstance(getattr(child, "blocks", None), LISTS)
        if nested:
            yield from _unrolled(whole, child)
        else:
            yield whole, child


def run_before(module: nn.Module, blocks: Sequence[str], seen: Look) -> dict[str, list[str]]:
    """Block -> the modules with parameters of their own, by name, that ran after the block before it and before it."""
    ran: dict[str, list[str]] = {block: [] for block in blocks}
    waiting: list[str] = []
    entered: set[str] = set()
    for name in seen.shapes:  # in the order in which they ended: parts of a block come before the block
        block = next((block for block in blocks if name == block or name.startswith(f"{block}.")), None)
        if block is None:
            if name and any(True for _ in module.get_submodule(name).parameters(recurse=False)):
                waiting.append(name)
        elif block not in entered:
            entered.add(block)
            ran[block], waiting = waiting, []
    return ran


def stride_of(grid: Grid, size: Grid) -> int:
    """s with grid = (ceil(H / s), ceil(W / s)) for images of size (H, W), a power of 2 if one will do; 0 for none."""
    height, width = size
    candidates = (*(1 << power for power in range(8)), *range(1, 1 + max(size)))
    return next((s for s in candidates if (-(-height // s), -(-width // s)) == grid), 0)


def grid_at(shape: Shape, size: Grid, prefix: int, channels_last: bool) -> Grid | None:
    """Where what has this shape stands on images of size (H, W): a map's own sides, or the grid with so many tokens.

    prefix: tokens that may stand before them.  channels_last: which sides of a map to take where both would do. None
    where nothing fits a whole stride.
    """
    if len(shape) == 4:
        sides = ((shape[1], shape[2]), (shape[2], shape[3]))
        return next((grid for grid in (sides if channels_last else sides[::-1]) if stride_of(grid, size)), None)
    if len(shape) != 3:
        return None
    grids = [(-(-size[0] // s), -(-size[1] // s)) for s in range(1, 1 + max(size))]
    return next((grid for n in (shape[1] - prefix, shape[1]) for grid in grids if grid[0] * grid[1] == n), None)


def arguments_of(kind: type[nn.Module]) -> set[str]:
    """Names that a class of modules takes when it is made, those that it hands on to its bases included."""
    found: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is nn.Module:
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found
