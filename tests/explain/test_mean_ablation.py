"""Mean ablation: where it looks, and that a cell's figure is what putting it out would do, to first order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lively_families import FAMILIES, asked, family, pictures
from torch import Tensor

from vitrail.assemble import create_model
from vitrail.explain.inner_maps import find_finer_place, find_place
from vitrail.explain.methods.grad_cam import grad_cam
from vitrail.explain.methods.mean_ablation import METHOD, mean_ablation
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task

HIERARCHIES = ("swin", "swin_v2", "pvt", "pvt_v2", "resnet", "convnext")


@pytest.mark.parametrize("kind", FAMILIES)
def test_it_looks_at_the_end_of_the_stage_before_the_last_where_there_is_one(kind: str) -> None:
    model = family(kind)
    stages = model.backbone.stages()  # type: ignore[operator, union-attr]
    place = find_finer_place(model, None)
    if kind in HIERARCHIES:
        before = sum(len(stage.blocks) for stage in stages[:-1]) - 1
        assert place == find_place(model, before)
        assert place.grid == stages[-2].grid
    else:
        assert place == find_place(model, None)
    assert find_finer_place(model, -1) == find_place(model, -1)
    assert METHOD.where(model, None, None) == place.words


def test_a_stage_of_one_cell_gives_way_to_one_that_tells_places_apart() -> None:
    """Of ResNet at 8 pixels the last two stages have one cell each."""
    model = family("resnet", size=(8, 8))
    grids = [stage.grid for stage in model.backbone.stages()]  # type: ignore[operator, union-attr]
    assert grids == [(4, 4), (2, 2), (1, 1), (1, 1)]
    assert find_finer_place(model, None).grid == (2, 2)
    images = pictures(size=(8, 8))
    assert mean_ablation(model, images, asked(images)).std() > 0


@pytest.mark.parametrize("kind", ["vit_mean", "resnet"])
def test_where_the_last_maps_mean_is_read_it_is_grad_cam_there_but_for_its_mean(kind: str) -> None:
    model, images = family(kind), pictures()
    cam = grad_cam(model, images, asked(images))
    made = mean_ablation(model, images, asked(images), layer=-1 if kind == "resnet" else None)
    torch.testing.assert_close(made, cam - cam.mean(dim=(1, 2), keepdim=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_region_of_a_dense_answer_is_explained_in_every_family(kind: str) -> None:
    """Equal halves of an image: the map of the whole is the mean of theirs."""
    task = create_task("segment", [np.eye(3, dtype=np.uint8)], TaskConfig(name="segment"))
    model, images = family(kind, task), pictures()
    left = torch.zeros(2, 32, 48, dtype=torch.bool)
    left[..., :24] = True
    halves = [mean_ablation(model, images, asked(images, region=region)) for region in (left, ~left)]
    whole = mean_ablation(model, images, asked(images))
    assert (halves[0] - halves[1]).abs().max() > 1e-4
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_cells_figure_is_the_slope_of_the_score_as_it_gives_way_to_the_mean(kind: str) -> None:
    """From passes in which the cell is a little nearer to the mean of all, and farther, not from gradients."""
    model, images = family(kind).double(), pictures(1).double()
    place = find_finer_place(model, None)
    made = mean_ablation(model, images, asked(images))[0]
    row, column, step, side = 1, 2, 1e-6, 32 // place.grid[0]

    def moved(held: Tensor, by: float) -> Tensor:
        changed = held.clone()
        cells = cells_of(changed, place.grid)  # a view
        cells[:, row, column] += by * (cells.mean(dim=(1, 2)) - cells[:, row, column])
        return changed

    def score(by: float) -> float:
        def before(module: Any, args: Any) -> Any:
            return (moved(args[0], by), *args[1:])

        def after(module: Any, args: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return moved(output, by)
            return type(output)(moved(output.tokens, by), output.grid, output.prefix)

        if kind == "swin_v2":  # its attention reads what the residual connection carries too
            blocks = [block for stage in model.backbone.stages()[:-1] for block in stage.blocks]  # type: ignore
            handle = blocks[-1].register_forward_pre_hook(before)
        elif place.entering:
            handle = place.module.register_forward_pre_hook(before)
        else:
            handle = place.module.register_forward_hook(after)
        with torch.no_grad():
            said = float(model(images)[0, 1])
        handle.remove()
        return said

    slope = (score(-step) - score(step)) / (2 * step)
    assert abs(slope) > 1e-6
    assert float(made[row * side, column * side]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def cells_of(held: Tensor, grid: tuple[int, int]) -> Tensor:
    """A view of the cells of a map or of tokens, (B, h, w, D)."""
    if held.ndim == 3:
        return held[:, held.shape[1] - grid[0] * grid[1] :].unflatten(1, grid)
    return held if tuple(held.shape[1:3]) == grid else held.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:test_vit", "what layer 5 (of 0 to 5) is given, 4 x 4"),
        ("timm:test_resnet", "what layer 2 (of 0 to 3) returns, 4 x 4"),
    ],
)
def test_models_whose_attention_is_not_seen_are_explained_too(name: str, words: str) -> None:
    pytest.importorskip("timm", reason="needs timm, whose model this is")
    model, images = create_model(name, "classify", 3, image_size=64).eval(), pictures(size=(64, 64))
    assert METHOD.where(model, None, None) == words
    assert mean_ablation(model, images, asked(images)).std() > 0
