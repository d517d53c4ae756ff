"""Both generations of Swin compute what timm, torchvision and transformers compute, forwards and backwards."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from reference import close32, close64, outputs_and_gradients, randomise
from swin_reference import PEERS, SMALL, WIDE_TO_NARROW, Shape, from_timm

import vitrail
from vitrail.models import swin, swin_v2

PRECISIONS = [(torch.float64, close64), (torch.float32, close32)]


def _pair(peer: str, generation: int, shape: Shape = SMALL, **options) -> tuple[nn.Module, nn.Module]:
    build, convert = PEERS[peer]
    theirs = build(generation, shape).eval()
    randomise(theirs)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("logit_scale"):  # the value they are trained from, and a little of everything around
                parameter.add_(2.3)
            if name.endswith("qkv.bias") and generation == 2:  # torchvision's unused third
                parameter[len(parameter) // 3 : 2 * len(parameter) // 3] = 0
    ours = shape.ours(generation, **options)
    ours.load_state_dict(convert(theirs.state_dict()))
    return ours, theirs


def _images(size: int | tuple[int, int], dtype: torch.dtype) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)).to(dtype)


def _agree(peer: str, ours: nn.Module, theirs: nn.Module, dtype: torch.dtype, close, size=None) -> bool:
    images = _images(size or ours.backbone.image_size, dtype)
    logits, gradients = outputs_and_gradients(ours.to(dtype), images)
    reference, theirs_gradients = outputs_and_gradients(theirs.to(dtype), images)
    named = PEERS[peer][1](theirs_gradients)
    assert named.keys() == gradients.keys()
    pairs = [(logits, reference)] + [(gradients[name], named[name]) for name in named]
    return all(close(a, b) for a, b in pairs)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(("dtype", "close"), PRECISIONS)
def test_logits_and_gradients_equal(peer: str, generation: int, dtype: torch.dtype, close) -> None:
    assert _agree(peer, *_pair(peer, generation), dtype, close)


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(("dtype", "close"), PRECISIONS)
def test_a_wrong_epsilon_is_noticed(generation: int, dtype: torch.dtype, close) -> None:
    assert not _agree("timm", *_pair("timm", generation, eps=1e-6), dtype, close)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_wrong_activation_is_noticed(generation: int) -> None:
    assert not _agree("timm", *_pair("timm", generation, activation="gelu_tanh"), torch.float32, close32)


@pytest.mark.parametrize(("generation", "module"), [(1, swin), (2, swin_v2)])
def test_a_wrong_order_of_merging_is_noticed(generation: int, module, monkeypatch) -> None:
    def across_the_rows(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        maps = tokens.unflatten(1, grid)
        parts = [maps[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]  # a b c d, not a c b d
        return torch.cat(parts, dim=-1).flatten(1, 2)

    monkeypatch.setattr(module, "quartets", across_the_rows)
    assert not _agree("timm", *_pair("timm", generation), torch.float32, close32)


@pytest.mark.parametrize("peer", ["timm", "transformers"])
def test_offsets_are_measured_by_the_pretrained_window(peer: str) -> None:
    ours, theirs = _pair(peer, 2, WIDE_TO_NARROW)
    assert _agree(peer, ours, theirs, torch.float64, close64)
    otherwise = replace(WIDE_TO_NARROW, pretrained=()).ours(2)
    otherwise.load_state_dict(ours.state_dict())
    assert not _agree(peer, otherwise, theirs, torch.float64, close64)


def test_a_row_of_12_to_24_equals_timm_at_reduced_depth() -> None:
    """float64 only: over 576 tokens a window the gradient of a temperature has float32 noise above 1e-5, timm's too."""
    timm = pytest.importorskip("timm", reason="needs timm, a reference implementation")
    name, less = "swinv2_base_window12to24_192to384", {"depths": (2, 2, 1, 1)}
    theirs = timm.create_model(name, img_size=192, num_classes=5, embed_dim=16, num_heads=(1, 1, 2, 2), **less).eval()
    randomise(theirs)
    ours = vitrail.create_model(name, outputs=5, image_size=192, width=16, heads=(1, 1, 2, 2), **less).eval()
    ours.load_state_dict(from_timm(theirs.state_dict()))
    assert ours.backbone.blocks()[0].attn.windows.size == (24, 24)
    assert _agree("timm", ours, theirs, torch.float64, close64)


def _sharpen(model: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale"):
                parameter.fill_(6.0)


def test_the_least_temperature_and_what_is_seen_across_a_shift_at_it_equal_timm(monkeypatch) -> None:
    ours, theirs = _pair("timm", 2)
    _sharpen(ours)
    _sharpen(theirs)
    # scores reach 100 + 16 here, so that two tokens kept apart by -100 still see a little of each other
    with torch.no_grad():
        assert close64(ours.double()(_images(48, torch.float64)), theirs.double()(_images(48, torch.float64)))
    monkeypatch.setattr("vitrail.layers.window.FAR", float("-inf"))
    ours.backbone.set_image_size((48, 48))
    with torch.no_grad():
        assert not close64(ours(_images(48, torch.float64)), theirs(_images(48, torch.float64)))


@pytest.mark.parametrize("generation", [1, 2])
def test_a_clamped_window_takes_the_middle_of_the_table(generation: int) -> None:
    """timm gives the last level, a grid of 3, a table of its own for windows of 3; ours is in the middle of 12's."""
    shape = replace(SMALL, depths=(2, 1, 1, 1), heads=(2, 2, 4, 4), window=12)
    theirs = PEERS["timm"][0](generation, shape).eval()
    randomise(theirs)
    ours = shape.ours(generation)
    tensors = from_timm(theirs.state_dict())
    for name in [name for name in tensors if name.endswith("bias_table")]:
        table = tensors[name].unflatten(0, (round(len(tensors[name]) ** 0.5), -1))
        margin = (23 - len(table)) // 2
        widened = torch.full((23, 23, table.shape[-1]), 9.0)
        widened[margin : 23 - margin, margin : 23 - margin] = table
        tensors[name] = widened.flatten(0, 1)
    ours.load_state_dict(tensors)
    with torch.no_grad():
        assert close64(ours.double()(_images(48, torch.float64)), theirs.double()(_images(48, torch.float64)))


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("size", [(48, 96), (96, 48)])
def test_images_that_are_not_square_equal_timm(generation: int, size: tuple[int, int]) -> None:
    theirs = PEERS["timm"][0](generation, replace(SMALL, image_size=size)).eval()
    randomise(theirs)
    ours = SMALL.ours(generation)
    ours.load_state_dict(from_timm(theirs.state_dict()))
    ours.backbone.set_image_size(size)
    assert _agree("timm", ours, theirs, torch.float64, close64)


def test_a_side_that_one_window_spans_is_clamped_and_not_shifted_alone() -> None:
    """Grids of 48 x 12, 24 x 6 and 12 x 3: the last has windows of 6 x 3, shifted down but not across."""
    ours, theirs = _pair("timm", 2, replace(SMALL, image_size=(96, 24)))
    assert ours.backbone.blocks()[-1].attn.windows.size == (6, 3)
    assert ours.backbone.blocks()[-1].attn.windows.shift == (3, 0)
    assert _agree("timm", ours, theirs, torch.float64, close64)


@pytest.mark.parametrize("generation", [1, 2])
def test_pixels_that_the_patch_does_not_divide_are_padded_as_in_transformers(generation: int) -> None:
    ours, theirs = _pair("transformers", generation)
    ours.backbone.set_image_size((47, 47))
    assert _agree("transformers", ours, theirs, torch.float64, close64)


@pytest.mark.parametrize("generation", [1, 2])
def test_odd_grids_are_merged_as_in_torchvision(generation: int) -> None:
    """Windows of one cell, so that nothing but the merging pads; torchvision's second generation divides by 0 there."""
    shape = replace(SMALL, image_size=10, window=1)
    ours, theirs = _pair("torchvision", generation, shape) if generation == 1 else _pair("timm", 2, shape)
    assert [stage.grid for stage in ours.backbone.stages()] == [(5, 5), (3, 3), (2, 2)]
    assert _agree("torchvision" if generation == 1 else "timm", ours, theirs, torch.float64, close64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
@pytest.mark.parametrize(("dtype", "close"), PRECISIONS)
def test_a_full_size_model_equals_timm(name: str, dtype: torch.dtype, close) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, a reference implementation")
    theirs = timm.create_model(name, num_classes=10).eval()
    randomise(theirs)
    ours = vitrail.create_model(name, outputs=10).eval()
    ours.load_state_dict(from_timm(theirs.state_dict()))
    assert _agree("timm", ours, theirs, dtype, close)
