from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lively_families import FAMILIES, asked, family, pictures
from torch import Tensor

from vitrail.assemble import create_model
from vitrail.errors import UsageError
from vitrail.explain.inner_maps import find_place, map_and_gradient
from vitrail.explain.methods.grad_cam import METHOD, grad_cam
from vitrail.layers.recompute import recompute
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task


@pytest.mark.parametrize("kind", ["vit_mean", "swin", "swin_v2", "pvt_v2", "resnet", "convnext"])
def test_where_patches_are_averaged_the_maps_mean_is_the_score_but_for_its_bias(kind: str) -> None:
    """The last norm is the right place: what follows it is a mean and one linear layer."""
    model, images = family(kind), pictures()
    head: Any = model.head
    scores = model(images)[:, 1] - head.fc.bias[1]
    made = grad_cam(model, images, asked(images))
    grid = model.backbone.stages()[-1].grid  # type: ignore[operator, union-attr]
    cells = made[:, :: 32 // grid[0], :: 48 // grid[1]]
    torch.testing.assert_close(cells.mean(dim=(1, 2)) * cells[0].numel(), scores, rtol=1e-4, atol=1e-5)
    assert float(cells.detach().std()) > 1e-3


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_block_can_be_looked_at(kind: str) -> None:
    model, images = family(kind), pictures()
    backbone: Any = model.backbone
    blocks = len(backbone.blocks())
    grids = [stage.grid for stage in backbone.stages() for _ in stage.blocks]
    for layer, grid in enumerate(grids):
        made = grad_cam(model, images, asked(images), layer=layer)
        assert torch.equal(made, grad_cam(model, images, asked(images), layer=layer - blocks))
        assert made.isfinite().all()
        assert made.std() > 0
        high, wide = 32 // grid[0], 48 // grid[1]
        assert torch.equal(made, made[:, ::high, ::wide].repeat_interleave(high, 1).repeat_interleave(wide, 2))
    with pytest.raises(UsageError, match=f"no layer {blocks}: this model has {blocks}"):
        grad_cam(model, images, asked(images), layer=blocks)


@pytest.mark.parametrize(
    ("kind", "layer", "words"),
    [
        ("vit", None, "what layer 2 (of 0 to 2) attends to, 6 x 4"),
        ("vit_mean", None, "the backbone's last map, 6 x 4"),
        ("swin", None, "the backbone's last map, 6 x 4"),
        ("swin", 0, "what layer 0 (of 0 to 3) attends to, 12 x 8"),
        ("resnet", -2, "what layer 2 (of 0 to 3) returns, 6 x 4"),
    ],
)
def test_the_caption_says_which_map(kind: str, layer: int | None, words: str) -> None:
    assert METHOD.where(family(kind), layer, None) == words


def test_a_last_map_of_one_cell_gives_way_to_the_last_that_tells_places_apart() -> None:
    model = family("resnet", size=(16, 16))
    assert model.backbone.stages()[-1].grid == (1, 1)  # type: ignore[operator, union-attr]
    assert METHOD.where(model, None, None) == "what layer 2 (of 0 to 3) returns, 2 x 2"
    images = pictures(size=(16, 16))
    assert grad_cam(model, images, asked(images)).std() > 0
    assert METHOD.fits(model) == ""
    assert "one cell" in METHOD.fits(family("resnet", size=(2, 2)))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("head", ["linear", "pyramid"])
def test_a_region_of_a_dense_answer_is_explained_in_every_family(kind: str, head: str) -> None:
    """Equal halves of an image: the map of the whole is the mean of theirs, since nothing here is cut off at zero."""
    model, images = family(kind, dense(head)), pictures()
    left = torch.zeros(2, 32, 48, dtype=torch.bool)
    left[..., :24] = True
    halves = [grad_cam(model, images, asked(images, region=region)) for region in (left, ~left)]
    whole = grad_cam(model, images, asked(images))
    assert whole.std() > 0
    assert (halves[0] - halves[1]).abs().max() > 1e-4
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole, rtol=1e-4, atol=1e-5)


def dense(head: str) -> Any:
    return create_task("segment", [np.eye(3, dtype=np.uint8)], TaskConfig(name="segment", decoder=head))


def expected() -> Tensor:
    images = pictures()
    return grad_cam(family("vit"), images, asked(images))


def test_a_compiled_model_is_explained_as_it_is_written() -> None:
    model, images = family("vit"), pictures()
    compiled: Any = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(images)
    torch.testing.assert_close(grad_cam(compiled, images, asked(images)), expected())
    for block in model.backbone.blocks():  # type: ignore[operator, union-attr]
        block.compile(backend="eager")
    with torch.no_grad():
        model(images)
    torch.testing.assert_close(grad_cam(model, images, asked(images)), expected())


def test_blocks_that_are_recomputed_in_the_backward_pass_give_the_same() -> None:
    model, images = family("vit"), pictures()
    recompute(model.backbone.blocks())  # type: ignore[operator, union-attr]
    torch.testing.assert_close(grad_cam(model, images, asked(images)), expected())


def test_frozen_parameters_and_inference_mode_are_no_hindrance() -> None:
    model, images = family("vit").requires_grad_(False), pictures()
    with torch.inference_mode():
        made = grad_cam(model, images, asked(images))
    torch.testing.assert_close(made, expected())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_another_threads_pass_through_the_same_model_is_not_mistaken_for_ours() -> None:
    model, images = family("vit"), pictures()
    others = torch.zeros_like(images)

    def meanwhile(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=lambda: model(others))
            other.start()
            other.join()

    handle = model.backbone.stem().register_forward_hook(meanwhile)  # type: ignore[operator, union-attr]
    torch.testing.assert_close(grad_cam(model, images, asked(images)), expected())
    handle.remove()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("timm:test_vit", {}, "what layer 5 (of 0 to 5) is given, 4 x 4"),
        ("timm:test_resnet", {}, "the backbone's last map, 2 x 2"),
        (
            "timm:cait_xxs24_224",
            {"depth": 2, "embed_dim": 24, "num_heads": 2},
            "what layer 1 (of 0 to 3) is given, 4 x 4",
        ),
    ],
)
def test_models_whose_attention_is_not_seen_are_explained_too(name: str, options: Any, words: str) -> None:
    pytest.importorskip("timm", reason="needs timm, whose model this is")
    model, images = create_model(name, "classify", 3, image_size=64, **options).eval(), pictures(size=(64, 64))
    assert METHOD.where(model, None, None) == words
    assert grad_cam(model, images, asked(images)).std() > 0


def test_a_layer_whose_tokens_stand_on_no_grid_is_refused_in_words() -> None:
    model, images = family("vit"), pictures()
    elsewhere = replace(find_place(model, None), grid=(5, 5))
    with pytest.raises(UsageError, match=r"no map of 5 x 5 cells .*: choose another layer"):
        map_and_gradient(model, images, asked(images), elsewhere)
