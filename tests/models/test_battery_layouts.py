"""Where tokens are said to stand, against where they come from.

The oracle is the model itself: each cell in turn is disturbed in float64, and what a query, a key, an output or a token
of the next stage then notices must be what `layout`, `matrix` and `Stage.entry` declare, no more and no less.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from reduced import Reduced, images, stir, structures
from torch import Tensor, nn

from vitrail.contracts import CellMap
from vitrail.errors import UsageError
from vitrail.explain.recorder import record
from vitrail.layers.attention import ScaledDotProduct, attention_weights
from vitrail.models import build_backbone, list_models, variant

every_structure = pytest.mark.parametrize("small", structures(), ids=str)

SIZES = ((64, 64), (40, 40), (36, 36), (40, 36), (33, 50))
"""Pixels where the patch is 4, in proportion elsewhere: what four stages divide, and what they do not."""
CHUNK = 64
NOTICED = 1e-12
"""Of the largest value: above rounding in float64, below the faintest attention."""

Grid = tuple[int, int]
Given = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a call."""


def _attentions(part: nn.Module) -> list[nn.Module]:
    return [module for module in part.modules() if isinstance(getattr(module, "core", None), ScaledDotProduct)]


def _attends(small: Reduced) -> bool:
    with torch.device("meta"):
        return bool(_attentions(small.backbone()))


with_attention = pytest.mark.parametrize("small", [s for s in structures() if _attends(s)], ids=str)

# -------------------------------------------------------------------------------------------------- disturbing cells


def _cells(x: Tensor, grid: Grid, prefix: int = 0) -> Tensor:
    """A view of tokens (B, K + N, D), or of a map (B, D, h, w) or (B, h, w, D), as (B, K + N, D)."""
    if x.ndim == 3:
        assert x.shape[1] == prefix + grid[0] * grid[1]
        return x
    if x.shape[2:] == grid:
        return x.flatten(2).transpose(1, 2)
    assert x.shape[1:3] == grid
    return x.flatten(1, 2)


def _lay(tokens: Tensor, like: Tensor, grid: Grid) -> Tensor:
    """The way back, for tokens (B, K + N, D) in the form of `like`."""
    if like.ndim == 3:
        return tokens
    if like.shape[2:] == grid:
        return tokens.transpose(1, 2).unflatten(2, grid)
    return tokens.unflatten(1, grid)


def _noticed(run: Callable[[Tensor], list[Tensor]], x: Tensor, grid: Grid, prefix: int) -> list[Tensor]:
    """Which entries notice which token. run: x of any batch -> tensors (B, T_i, ...).

    Returns for each of them (T_i, K + N) bool.
    """
    tokens = _cells(x, grid, prefix)[:1]
    count = tokens.shape[1]
    noise = torch.randn(count, tokens.shape[2], dtype=x.dtype, generator=torch.Generator().manual_seed(5))
    base = run(_lay(tokens, x, grid))
    columns: list[list[Tensor]] = [[] for _ in base]
    for chunk in torch.arange(count).split(CHUNK):
        disturbed = tokens.repeat(len(chunk), 1, 1)
        disturbed[torch.arange(len(chunk)), chunk] += noise[chunk]
        for column, before, after in zip(columns, base, run(_lay(disturbed, x, grid)), strict=True):
            difference = (after - before).abs().flatten(2).amax(dim=2)  # (chunk, T_i)
            column.append(difference > NOTICED * float(before.abs().max()))
    return [torch.cat(column).T for column in columns]


def _set_to(small: Reduced, size: Grid) -> Any | None:
    """A backbone in float64 that takes images of this size; None where its patch does not divide it."""
    backbone = small.backbone()
    patch = small.options.get("patch_size", variant(small.name).config.patch_size)
    size = (size[0] * patch // 4, size[1] * patch // 4)
    try:
        backbone.set_image_size(size)
    except UsageError:
        assert any(side % backbone.strides[-1] for side in size), f"{size} is refused"
        return None
    stir(backbone)
    return backbone.double().requires_grad_(False)


def _inputs(backbone: Any) -> dict[nn.Module, Given]:
    """What each block is called with for one image."""
    met: dict[nn.Module, Given] = {}
    handles = [
        block.register_forward_pre_hook(
            lambda block, args, kwargs: met.update({block: (args, kwargs)}), with_kwargs=True
        )
        for block in backbone.blocks()
    ]
    backbone(images(backbone, batch=1).double())
    for handle in handles:
        handle.remove()
    return met


def _cases(small: Reduced) -> list[tuple[str, Any]]:
    """Backbones by the family's rule for small images and as published, at every size."""
    found = []
    for how, case, sizes in (("fitted", small, SIZES[::3]), ("as published", small.as_published(), SIZES)):
        for size in sizes:
            backbone = _set_to(case, size)
            if backbone is not None:
                found.append((f"{how} {size}", backbone))
    assert len(found) >= 2
    return found


# --------------------------------------------------------------------------------------------------------- attention


def _declared(cells: CellMap | None, grid: Grid, prefix: int, before: int) -> Tensor:
    """(W, T, K + N) bool: the tokens that each token of a call is made of.

    prefix: leading tokens of the call.  before: K, those of the block.
    """
    places = grid[0] * grid[1]
    over = torch.eye(places).bool()[None] if cells is None else cells.dense() > 0  # (W, T - prefix, N)
    windows, own = over.shape[:2]
    declared = torch.zeros(windows, prefix + own, before + places, dtype=torch.bool)
    declared[:, :prefix, :before] = torch.eye(prefix, before).bool()
    declared[:, prefix:, before:] = over
    return declared


def _everywhere(backbone: Any) -> Iterator[tuple[Any, nn.Module, nn.Module]]:
    """Each attention with its stage and its block."""
    for stage in backbone.stages():
        for block in stage.blocks:
            for attention in _attentions(block):
                yield stage, block, attention


def _called(block: nn.Module, attention: nn.Module, given: Given, x: Tensor | None = None) -> tuple[Any, ...]:
    """What a block, given x instead of its own first argument, calls its attention's core with."""
    seen: list[tuple[Any, ...]] = []
    handle = attention.core.register_forward_pre_hook(lambda core, args: seen.append(args))
    (own, *rest), named = given
    block(own if x is None else x, *rest, **named)
    handle.remove()
    (args,) = seen  # once
    return args


@with_attention
def test_queries_and_keys_are_made_of_the_cells_they_are_said_to_stand_for(small: Reduced) -> None:
    for told, backbone in _cases(small):
        met = _inputs(backbone)
        for stage, block, attention in _everywhere(backbone):
            layout = attention.layout(stage.grid)
            assert layout.grid == stage.grid
            assert layout.prefix_queries == stage.prefix
            run = partial(_queries_keys_values, block, attention, met[block], layout.windows)
            found = _noticed(run, met[block][0][0], stage.grid, stage.prefix)
            queries, keys = (layout.queries, layout.prefix_queries), (layout.keys, layout.prefix_keys)
            for name, noticed, (cells, prefix) in zip("qkv", found, (queries, keys, keys), strict=True):
                declared = _declared(cells, stage.grid, prefix, stage.prefix).flatten(0, 1)
                assert torch.equal(noticed, declared), (told, stage.grid, type(attention).__name__, name)
                if cells is not None:
                    _check_map(cells)


def _queries_keys_values(block: nn.Module, attention: nn.Module, given: Given, windows: int, x: Tensor) -> list[Tensor]:
    """(B, W * A, T, d) -> (B, W * T, A, d), each."""
    args = _called(block, attention, given, x)
    return [tensor.unflatten(1, (windows, -1)).transpose(2, 3).flatten(1, 2) for tensor in args[:3]]


def _check_map(cells: CellMap) -> None:
    """Rows sum to 1 or are padding, in equal parts of cells that exist."""
    sums = cells.shares.sum(dim=-1)
    torch.testing.assert_close(sums, (~cells.padding()).float())
    assert (cells.shares >= 0).all()
    assert ((cells.cells >= 0) | (cells.shares == 0)).all()
    assert int(cells.cells.max()) < cells.grid[0] * cells.grid[1]
    largest = cells.shares.amax(dim=-1, keepdim=True)
    assert ((cells.shares == 0) | (cells.shares == largest)).all()
    torch.testing.assert_close(cells.dense().sum(dim=-1), sums)


@with_attention
def test_a_cell_listens_to_what_the_matrix_says(small: Reduced) -> None:
    """Through the whole block but its MLP: what the matrix shows of cell i is what the output of cell i depends on."""
    for told, backbone in _cases(small):
        met = _inputs(backbone)
        for stage, block, attention in _everywhere(backbone):
            layout = attention.layout(stage.grid)
            q, k, _, bias = _called(block, attention, met[block])
            matrix = layout.matrix(attention_weights(q, k, bias))[0]  # (A, K + N, K + N)
            torch.testing.assert_close(matrix.sum(dim=-1), torch.ones_like(matrix[..., 0]), msg=told)
            shown = (matrix > NOTICED).any(dim=0)
            assert layout.windows > 1 or shown[:, shown.any(dim=0)].all(), (told, "in one window all see all")
            run = partial(_output, block, met[block], stage)
            with _silenced(block.mlp):
                (noticed,) = _noticed(run, met[block][0][0], stage.grid, stage.prefix)
            assert torch.equal(noticed, shown | torch.eye(len(shown)).bool()), (told, stage.grid)


def _output(block: nn.Module, given: Given, stage: Any, x: Tensor) -> list[Tensor]:
    (_, *rest), named = given
    return [_cells(block(x, *rest, **named), stage.grid, stage.prefix)]


@contextmanager
def _silenced(mlp: nn.Module) -> Iterator[None]:
    """Answers zero for a while."""
    mlp.forward = lambda x, *_: torch.zeros_like(x)
    yield
    del mlp.forward


@with_attention
def test_a_recorded_pass_lays_out_every_attention(small: Reduced) -> None:
    backbone = small.backbone()
    grids = {attention: stage.grid for stage, _, attention in _everywhere(backbone)}
    with torch.no_grad(), record(backbone) as seen:
        seen.model(images(backbone))
    assert {call.module for call in seen.calls} == set(grids)
    for call in seen.calls:
        layout = call.layout(grids[call.module])
        matrix = layout.matrix(call.weights)
        places = layout.grid[0] * layout.grid[1]
        assert matrix.shape[0] == 2
        assert matrix.shape[2:] == (layout.prefix_queries + places, layout.prefix_keys + places)
        torch.testing.assert_close(matrix.sum(dim=-1), torch.ones_like(matrix[..., 0]))


# ------------------------------------------------------------------------------------------------------- transitions


@every_structure
def test_tokens_of_a_stage_are_made_of_the_cells_that_its_entry_declares(small: Reduced) -> None:
    for told, backbone in _cases(small):
        for before, stage in itertools.pairwise(backbone.stages()):
            if before.grid == stage.grid == (1, 1):
                continue
            _check_map(stage.entry)
            noticed = _through(backbone, before, stage)
            assert torch.equal(noticed, stage.entry.dense()[0] > 0), (told, before.grid, stage.grid)


def _through(backbone: Any, before: Any, stage: Any) -> Tensor:
    """(N, N before) bool: which tokens of a stage notice which of the one before, as its last block hands them on."""
    output: list[Tensor] = []
    handle = before.blocks[-1].register_forward_hook(lambda block, args, out: output.append(out))
    pixels = images(backbone, batch=1).double()
    backbone(pixels)
    handle.remove()

    def run(x: Tensor) -> list[Tensor]:
        handles = [before.blocks[-1].register_forward_hook(lambda block, args, out: x), *_listen(stage)]
        with pytest.raises(_Reached) as reached:
            backbone(pixels)
        for handle in handles:
            handle.remove()
        return [_cells(reached.value.tokens, stage.grid, stage.prefix)[:, stage.prefix :]]

    (noticed,) = _noticed(run, output[0], before.grid, before.prefix)
    return noticed[:, before.prefix :]


class _Reached(Exception):
    """Ends a forward pass with what it came to."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens


def _listen(stage: Any) -> list[Any]:
    """Hooks on what is first on the stage's grid: the input of its first block, or the first such thing inside it."""
    first = stage.blocks[0]

    def on(value: Any) -> None:
        if isinstance(value, Tensor) and value.ndim in (3, 4) and _is_on(value, stage):
            raise _Reached(value)

    inside = [module for module in first.modules() if module is not first]
    handles = [first.register_forward_pre_hook(lambda block, args: on(args[0]))]
    return handles + [module.register_forward_hook(lambda module, args, out: on(out)) for module in inside]


def _is_on(value: Tensor, stage: Any) -> bool:
    if value.ndim == 3:
        return value.shape[1] == stage.prefix + stage.grid[0] * stage.grid[1]
    return value.shape[2:] == stage.grid or value.shape[1:3] == stage.grid


# ------------------------------------------------------------------------------- as published, over the whole catalogue


@pytest.mark.parametrize("name", list_models())
def test_at_the_published_size_attention_partitions_the_grid_and_no_cell_is_unseen(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, variant(name).config)
    for stage in backbone.stages():
        assert stage.entry is None or int(stage.entry.tokens_per_cell().min()) >= 1
        for attention in (a for block in stage.blocks[:2] for a in _attentions(block)):
            layout = attention.layout(stage.grid)
            for cells in (layout.queries, layout.keys):
                assert cells is None or cells.is_partition()
                assert cells is None or not cells.padding().any()
