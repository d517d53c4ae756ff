"""The attention of one pass through a model of any family, and the way back through it, from the answer to patches.

Layers stand on the grids of their stages. Between two stages each token of the later one stands for cells of the
earlier (`Stage.entry`): patches merged, or seen under a kernel, in equal parts. What convolutions and MLPs mix with
learned weights is not attention and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Stage
from vitrail.errors import UsageError
from vitrail.explain.explainable import (
    Explainable,
    attending,
    cell_side,
    on_pixels,
    over_cells,
    readers,
    resolve,
    unsuited,
)
from vitrail.explain.layer import Layer, lay
from vitrail.explain.passes import BACKWARD, chunks, evaluating, rows, score
from vitrail.explain.recorder import Call, record
from vitrail.explain.target import Target

Step = Callable[[Layer, Tensor], Tensor]
"""One layer of the way back: shares of its queries (B, K + h * w) -> shares of its keys."""


@dataclass(frozen=True, eq=False)
class Attention:
    """layers: of the encoder blocks, in order.  pool: of the pooling head, one query that stands nowhere over the last
    grid's patches; None where the head does not attend.  stages: the backbone's.  images: (B, H, W).
    """

    model: Explainable
    layers: tuple[Layer, ...]
    pool: Layer | None
    stages: Sequence[Stage]
    images: tuple[int, int, int]

    def layer(self, index: int | None) -> Layer:
        """The layer of that number, negative from the end; None is the last that has more than one cell.

        Raises UsageError with the range for one that is not there.
        """
        if index is None:
            return [layer for layer in self.layers if self.stages[layer.stage].grid != (1, 1)][-1]
        return self.layers[resolve(index, len(self.layers), "layer")]

    def asked(self, target: Target, pool: Callable[[Layer], Tensor] | None = None) -> Tensor:
        """Who is asked: shares of the last grid's tokens, (B, K + h * w), prefix first.

        The cell of the target, or its reader, or what the head reads: its prefix tokens in equal parts, or all patches
        in equal parts, of a dense answer those of the target's region. pool: what a pooling head's attention says of
        the patches, (B, h * w); it is asked where there is such a head and the target names nothing else.

        Raises UsageError for a cell or a reader that the model does not have.
        """
        stage = self.stages[-1]
        height, width = stage.grid
        one = self.layers[-1].call.q.new_ones(())
        shares = one.new_zeros(self.images[0], stage.prefix + height * width)
        patches = shares[:, stage.prefix :]
        if target.cell is not None:
            row, column = target.cell
            if not (0 <= row < height and 0 <= column < width):
                raise UsageError(f"no patch {row},{column}: this model's last grid has {height} rows of {width}")
            patches[:, row * width + column] = 1
        elif read := readers(self.model, target.reader):
            shares[:, list(read)] = 1 / len(read)
        elif pool is not None and self.pool is not None:
            patches.copy_(pool(self.pool))
        elif target.region is not None and self.model.task.dense:
            side = cell_side(self.model, stage.grid)
            patches.copy_(over_cells(target.region.to(shares.device), stage.grid, side))
        else:
            patches.fill_(1 / (height * width))
        return shares

    def back(self, shares: Tensor, step: Step, last: int = -1) -> Tensor:
        """All the way to the first grid: shares of the last grid's tokens (B, K + h * w) -> (B, h, w) of the first.

        Through layers `last` to the first, each by `step`, and through what stands between their stages. What prefix
        tokens are left with at the end, or where they come into being, comes from no patch and is let go.
        """
        chosen = self.layers[: resolve(last, len(self.layers), "layer") + 1]
        stage = chosen[-1].stage
        shares = self.at(shares, stage)
        for layer in reversed(chosen):
            shares = step(layer, self.enter(shares, stage, layer.stage))
            stage = layer.stage
        first = self.stages[0]
        return self.enter(shares, stage, 0)[:, first.prefix :].reshape(-1, *first.grid)

    def at(self, shares: Tensor, stage: int) -> Tensor:
        """Who is asked in a stage, for shares of the last grid's tokens (B, K + h * w): those that they are made of.

        Where that is nobody, since the stage does not have the prefix token that is asked in the last, all its patches
        in equal parts.
        """
        found = self.enter(shares, len(self.stages) - 1, stage)
        prefix = self.stages[stage].prefix
        evenly = torch.zeros_like(found)
        evenly[:, prefix:] = 1 / (found.shape[1] - prefix)
        return torch.where(found.any(dim=1, keepdim=True), found, evenly)

    def enter(self, shares: Tensor, later: int, earlier: int) -> Tensor:
        """Shares of the tokens of one stage (B, K + h * w) as shares of those of an earlier stage."""
        for number in range(later, earlier, -1):
            here, before = self.stages[number], self.stages[number - 1]
            assert here.entry is not None, "a stage after the first says where its tokens come from"
            kept = min(here.prefix, before.prefix)
            prefix = torch.nn.functional.pad(shares[:, :kept], (0, before.prefix - kept))
            patches = lay(here.entry, shares[:, None, here.prefix :])
            shares = torch.cat([prefix, patches], dim=1)
        return shares

    def on_grid(self, keys: Tensor, layer: Layer) -> Tensor:
        """Shares of a layer's keys, (B, ..., K_k + h * w) -> those of its cells, (B, ..., h, w)."""
        patches = keys[..., layer.layout.prefix_keys :]
        return patches.reshape(*patches.shape[:-1], *self.stages[layer.stage].grid)

    def pixels(self, patches: Tensor, stage: int) -> Tensor:
        """A map over the grid of a stage (B, h, w) -> (B, H, W) float32: every pixel has the value of its cell."""
        return on_pixels(patches, self.images[1:], cell_side(self.model, self.stages[stage].grid))


def attend(model: Explainable, images: Tensor, target: Target | None = None) -> Attention:
    """Run images (B, C, H, W) through a model in evaluation mode and keep its attention.

    target: where gradients of its score at each layer are wanted too. The model is left as it was found.
    Raises UsageError where the model has no attention that can be seen, or the answer asked for does not depend on it.
    """
    if why := unsuited(model):
        raise UsageError(why)
    module = cast(nn.Module, model)
    size = (len(images), images.shape[2], images.shape[3])
    if target is None:
        with evaluating(model), record(module) as recording, torch.no_grad():
            features = model.features(images, pyramid=model.task.dense)
            model.answer(features, images.shape[2:])
        return _sorted(model, recording.calls, size)
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()  # so that there is a graph where parameters are frozen
        with record(module, outputs=True) as recording:
            scores = score(model, pixels, target)
        return _with_gradients(_sorted(model, recording.calls, size), scores)


def through(
    model: Explainable, images: Tensor, target: Target, read: Callable[[Attention, Target], Tensor], gradients: bool
) -> Tensor:
    """What `read` makes of the attention to images (B, C, H, W), a few at a time: (B, H, W) float32, detached."""
    made = []
    for chosen in chunks(len(images), images.shape[2:], BACKWARD):
        own = rows(target, chosen)
        made.append(read(attend(model, images[chosen], own if gradients else None), own).detach().float())
    return torch.cat(made)


def _sorted(model: Explainable, calls: Sequence[Call], images: tuple[int, int, int]) -> Attention:
    """Calls by the block that made them, in the blocks' order, and that of the head."""
    stages = cast(Backbone, model.backbone).stages()
    blocks = attending(model)
    places = {id(part): place for place, (block, _) in enumerate(blocks) for part in block.modules()}
    own = sorted((call for call in calls if id(call.module) in places), key=lambda call: places[id(call.module)])
    numbers = [blocks[places[id(call.module)]][1] for call in own]
    layers = [Layer(call, call.layout(stages[n].grid), n) for call, n in zip(own, numbers, strict=True)]
    inside = {id(part) for part in model.head.modules()}
    heads = [call for call in calls if id(call.module) in inside]
    last = len(stages) - 1
    pool = Layer(heads[-1], heads[-1].layout(stages[last].grid), last) if heads else None
    return Attention(model, tuple(layers), pool, stages, images)


def _with_gradients(attention: Attention, scores: Tensor) -> Attention:
    layers = [*attention.layers, *([] if attention.pool is None else [attention.pool])]
    answers = [cast(Tensor, layer.call.output) for layer in layers]
    found: Sequence[Tensor | None] = [None] * len(answers)
    if scores.requires_grad:
        found = torch.autograd.grad(scores.sum(), answers, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise UsageError("the answer asked for does not depend on any attention of this model: choose another")
    made = [
        replace(
            layer,
            call=replace(layer.call, output=None),  # the graph is not needed any more
            gradient=torch.zeros_like(layer.call.q) if gradient is None else gradient.to(layer.call.q),
        )
        for layer, gradient in zip(layers, found, strict=True)
    ]
    count = len(attention.layers)
    return replace(attention, layers=tuple(made[:count]), pool=made[count] if attention.pool is not None else None)
