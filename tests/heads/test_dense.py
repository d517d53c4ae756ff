"""A value per pixel from tokens."""

from __future__ import annotations

import pytest
import torch

from vitrail.contracts import Features
from vitrail.errors import UsageError
from vitrail.heads.dense import DECODERS, decoder
from vitrail.layers.initialise import initialise
from vitrail.models import create_backbone


def _backbone(**options):
    return create_backbone("vit_tiny", **{"image_size": 32, "patch_size": 8, "width": 24, "depth": 1, **options})


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_every_pixel_has_an_answer(kind: str, size: tuple[int, int]) -> None:
    backbone = _backbone(image_size=size)
    head = decoder(kind, backbone, 5)
    initialise(head, 0)
    out = head(backbone(torch.randn(2, 3, *size), True), size)
    assert out.shape == (2, 5, *size)
    out.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("kind", DECODERS)
def test_an_answer_does_not_depend_on_what_stands_beside_it(kind: str) -> None:
    backbone = _backbone()
    head = decoder(kind, backbone, 2)
    initialise(head, 0)
    images = torch.randn(3, 3, 32, 32)
    together = head(backbone(images, True), (32, 32))
    alone = head(backbone(images[:1], True), (32, 32))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_the_linear_decoder_of_one_grid_is_a_linear_layer_on_tokens() -> None:
    backbone = _backbone()
    head = decoder("linear", backbone, 4)
    initialise(head, 0)
    features = backbone(torch.randn(1, 3, 32, 32), True)
    layer = head.levels[0]
    logits = features.tokens @ layer.weight[:, :, 0, 0].T + layer.bias  # (B, N, Y)
    expected = torch.nn.functional.interpolate(
        torch.nn.functional.interpolate(logits.transpose(1, 2).reshape(1, 4, 4, 4), scale_factor=4.0, mode="bilinear"),
        size=(32, 32),
        mode="bilinear",
    )
    torch.testing.assert_close(head(features, (32, 32)), expected, atol=1e-5, rtol=1e-5)


def test_what_a_backbone_padded_is_cut_off() -> None:
    class Padded:
        strides, channels, width = (4, 8), (6, 6), 6

        def stages(self):
            return [None, None]

    head = decoder("pyramid", Padded(), 2)  # type: ignore[arg-type]
    initialise(head, 0)
    maps = (torch.randn(1, 6, 3, 4), torch.randn(1, 6, 2, 2))  # of an image of 10 x 13
    features = Features(torch.zeros(1, 4, 6), (2, 2), torch.zeros(1, 0, 6), maps)
    assert head(features, (10, 13)).shape == (1, 2, 10, 13)


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(UsageError, match="pyramid"):
        decoder("pyramyd", _backbone(), 2)


@pytest.mark.parametrize(("patch", "stride"), [(16, 4), (8, 4), (4, 4), (2, 2), (1, 1)])
def test_maps_that_say_nothing_new_are_left_out(patch: int, stride: int) -> None:
    """Of one grid: nothing finer than stride 4, unless the grid itself is."""
    head = decoder("pyramid", _backbone(image_size=16, patch_size=patch), 2)
    assert head.stride == stride
    features = _backbone(image_size=16, patch_size=patch)(torch.zeros(1, 3, 16, 16), True)
    assert head(features, (16, 16)).shape == (1, 2, 16, 16)
