"""Models whose answer provably depends on one patch: methods that are claimed to be faithful must point at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lively_families import FAMILIES, SIZE, asked, family, pictures
from torch import Tensor

from vitrail.assemble import VisionModel, create_model
from vitrail.explain.inner_maps import find_place, map_and_gradient
from vitrail.explain.methods import get_method, list_methods
from vitrail.explain.methods.occlusion import occlusion
from vitrail.explain.perturbation import Covering

BY_PIXELS = ("input_gradient", "integrated_gradients", "smoothgrad")
ROW, COLUMN, PATCH = 1, 4, 8
"""Of 4 x 6 patches one that no flip or swap of rows and columns leaves in place."""


def patch_of(maps: Tensor) -> Tensor:
    """(B, H, W) -> (B, 8, 8): what a map says of that patch."""
    return maps[:, PATCH * ROW : PATCH * (ROW + 1), PATCH * COLUMN : PATCH * (COLUMN + 1)]


def staring_model() -> VisionModel:
    """Two blocks in which every token looks at one patch alone: all other weights of attention are exactly 0.

    Channel 0 says by its position which token is that patch, and keys are that channel, scaled until the softmax has
    nothing left for others; queries are constant, values leave the channel out, and the MLPs add nothing.
    """
    model = create_model(
        "vit_tiny", "classify", 3, image_size=SIZE, patch_size=PATCH, width=8, heads=1, hidden=8, depth=2
    )
    backbone: Any = model.backbone
    draw = torch.Generator().manual_seed(3)
    content = torch.diag(torch.tensor([0.0] + [1.0] * 7))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
        backbone.patch_embed.proj.weight[0] = 0
        backbone.pos_embed[..., 0] = -30
        backbone.pos_embed[:, 1 + ROW * 6 + COLUMN, 0] = 30
        for block in backbone.encoder:
            query, key, value = block.attn.qkv.weight.chunk(3)
            query.zero_()
            block.attn.qkv.bias[0] = 1
            key.copy_(torch.diag(torch.tensor([200.0] + [0.0] * 7)))
            value.copy_(content)
            block.attn.proj.weight.copy_(content)
            block.mlp.fc2.weight.zero_()
            block.mlp.fc2.bias.zero_()
    return model.eval()


def others(images: Tensor) -> Tensor:
    """The same patch, everything else drawn anew."""
    changed = torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    patch_of(changed.flatten(0, 1)).copy_(patch_of(images.flatten(0, 1)))
    return changed


def test_the_constructed_model_answers_from_that_patch_alone() -> None:
    model, images = staring_model(), pictures()
    with torch.no_grad():
        assert torch.equal(model(images), model(others(images)))
        patch_of(images.flatten(0, 1)).zero_()
        assert (model(images) - model(others(pictures()))).abs().min() > 1e-3


@pytest.mark.parametrize("name", sorted({*list_methods()} - {"grad_cam"}))
def test_every_method_points_at_the_one_patch_that_a_vit_answers_from(name: str) -> None:
    model, images = staring_model(), pictures(1)
    with torch.no_grad():
        grey = images.clone()
        patch_of(grey.flatten(0, 1)).zero_()
        output = int((model(images) - model(grey)).argmax())  # what the patch speaks for
    made = get_method(name).compute(model, images, asked(images, output), layer=None, head=None).abs()
    assert patch_of(made).amax() == made.amax() > 0
    if name != "occlusion":  # whose windows reach over into the patches beside it
        assert float(patch_of(made).sum() / made.sum()) > 0.999


def test_gradients_at_an_inner_map_are_that_patchs_alone_until_grad_cam_averages_them() -> None:
    """Why Grad-CAM is not claimed where the head reads [CLS]: its weights hold for cells that the answer never saw."""
    model, images = staring_model(), pictures()
    values, gradients = map_and_gradient(model, images, asked(images), find_place(model, None))
    each = (values * gradients).sum(dim=1).abs()  # (B, 4, 6)
    assert (each[:, ROW, COLUMN] > 0).all()
    each[:, ROW, COLUMN] = 0
    assert (each == 0).all()
    averaged = get_method("grad_cam").compute(model, images, asked(images), layer=None, head=None)
    assert float(patch_of(averaged).abs().sum() / averaged.abs().sum()) < 0.5


# ------------------------------------------------------------------------------------------------ through a peephole


@pytest.fixture(params=FAMILIES)
def peeping(request: pytest.FixtureRequest) -> Iterator[VisionModel]:
    """A model of each family that is shown one patch of every image, and grey."""
    model = family(request.param)
    hole = torch.zeros(1, *SIZE)
    patch_of(hole).fill_(1)
    handle = model.backbone.register_forward_pre_hook(lambda module, args: (args[0] * hole, *args[1:]))
    yield model
    handle.remove()


@pytest.mark.parametrize("name", BY_PIXELS)
def test_pixels_that_a_model_is_not_shown_have_nothing_in_the_map(name: str, peeping: VisionModel) -> None:
    images = pictures()
    made = get_method(name).compute(peeping, images, asked(images), layer=None, head=None)
    assert (patch_of(made) != 0).all()
    patch_of(made).zero_()
    assert (made == 0).all()


def test_covering_what_a_model_is_not_shown_changes_nothing(peeping: VisionModel) -> None:
    images = pictures()
    covering = Covering((2 * PATCH, 2 * PATCH), (PATCH, PATCH))
    made = occlusion(peeping, images, asked(images), covering=covering).abs()
    assert torch.equal(patch_of(made).amax(dim=(1, 2)), made.amax(dim=(1, 2)))
    made[:, PATCH * (ROW - 1) : PATCH * (ROW + 2), PATCH * (COLUMN - 1) : PATCH * (COLUMN + 2)] = 0
    assert (made < 1e-5).all()  # nothing but what rounding leaves of batches of other sizes
