from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import vitrail.explain.methods as catalogue
from vitrail.assemble import VisionModel
from vitrail.errors import UsageError
from vitrail.explain.attention import attend
from vitrail.explain.explainable import has_attention, on_pixels, resolve
from vitrail.explain.methods import get_method, list_methods
from vitrail.explain.methods.raw_attention import maps, raw_attention
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.recorder import record
from vitrail.explain.target import Target

# ------------------------------------------------------------------------------------------------------ the catalogue


def test_every_file_is_a_method_that_bears_its_name() -> None:
    files = {path.stem for path in Path(catalogue.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(list_methods()) >= {"raw_attention", "rollout"}
    assert all(get_method(name).name == name and get_method(name).source for name in files)


def test_dashes_and_underscores_are_alike() -> None:
    assert get_method("raw-attention") is get_method("raw_attention")


def test_a_misspelt_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="rollout"):
        get_method("rolout")


def test_listing_methods_loads_no_torch() -> None:
    listing = "from vitrail.explain.methods import list_methods; list_methods()"
    subprocess.run([sys.executable, "-c", f"{listing}; import sys; assert 'torch' not in sys.modules"], check=True)


@pytest.mark.parametrize("name", list_methods())
@pytest.mark.parametrize("pooling", ["cls", "mean", "map"])
def test_every_method_gives_a_finite_map_over_the_pixels(
    name: str, pooling: str, make_model: Callable[..., VisionModel], images: Tensor, aim: Callable[..., Target]
) -> None:
    model = make_model(pooling=pooling, cls=pooling == "cls", registers=2).train()
    before = torch.random.get_rng_state()
    made = get_method(name).compute(model, images, aim(images), layer=None, head=None)
    assert made.shape == (2, 32, 32)
    assert made.dtype == torch.float32
    assert bool(made.isfinite().all())
    assert not torch.equal(made[0], made[1])
    assert model.training, "the mode is put back"
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", list_methods())
def test_a_batch_is_explained_as_its_images_are(
    name: str, model: VisionModel, images: Tensor, aim: Callable[..., Target]
) -> None:
    both = get_method(name).compute(model, images, aim(images), layer=None, head=None)
    alone = get_method(name).compute(model, images[1:], aim(images[1:]), layer=None, head=None)
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ raw attention


def at(images: Tensor, **parts: Any) -> Target:
    """The first output of every image."""
    return Target(torch.zeros(len(images), dtype=torch.int64), **parts)


def raw(model: VisionModel, images: Tensor, layer: int | None = None, head: int | None = None) -> Tensor:
    """Raw attention for the first output."""
    return raw_attention(model, images, at(images), layer=layer, head=head)


def rolled(model: VisionModel, images: Tensor, layer: int | None = None) -> Tensor:
    """Rollout for the first output."""
    return rollout(model, images, at(images), layer=layer)


def chain(blocks: Sequence[Tensor]) -> Tensor:
    """Oracle: A_L ... A_1 with A_l = rownorm(mean over heads + I), matrix by matrix; (B, A, T, T) each -> (B, T, T)."""
    product = identity = torch.eye(blocks[0].shape[-1])
    for weights in blocks:
        mixed = weights.mean(dim=1) + identity
        product = mixed / mixed.sum(dim=-1, keepdim=True) @ product
    return product


def recorded(model: VisionModel, images: Tensor) -> list[Tensor]:
    with record(model) as recording, torch.no_grad():
        model(images)
    return [call.weights for call in recording.calls]


def test_raw_attention_is_the_row_of_cls_in_the_last_block(model: VisionModel, images: Tensor) -> None:
    row = recorded(model, images)[-1].mean(1)[:, 0, 1:]  # (B, 16)
    made = raw(model, images)
    torch.testing.assert_close(made[:, 12, 20], row[:, 4 + 2])  # it is in patch row 1, column 2 of 4 x 4
    torch.testing.assert_close(made[:, ::8, ::8].flatten(1), row)


def test_layer_and_head_choose_one_matrix(model: VisionModel, images: Tensor) -> None:
    row = recorded(model, images)[0][:, 2, 0, 1:]
    torch.testing.assert_close(raw(model, images, layer=0, head=2)[:, ::8, ::8].flatten(1), row)
    torch.testing.assert_close(raw(model, images, layer=-3, head=-1)[:, ::8, ::8].flatten(1), row)


def test_registers_are_not_taken_for_patches(make_model: Callable[..., VisionModel], images: Tensor) -> None:
    model = make_model(registers=3)
    row = recorded(model, images)[-1].mean(1)[:, 0, 4:]
    torch.testing.assert_close(raw(model, images)[:, ::8, ::8].flatten(1), row)


def test_without_cls_it_is_the_mean_of_all_patches_rows(make_model: Callable[..., VisionModel], images: Tensor) -> None:
    model = make_model(pooling="mean", cls=False)
    rows = recorded(model, images)[-1].mean(1).mean(1)
    torch.testing.assert_close(raw(model, images)[:, ::8, ::8].flatten(1), rows)


def test_a_cls_token_that_the_head_does_not_read_is_not_asked(
    make_model: Callable[..., VisionModel], images: Tensor
) -> None:
    model = make_model(pooling="mean", cls=True)
    rows = recorded(model, images)[-1].mean(1)[:, 1:, 1:].mean(1)
    torch.testing.assert_close(raw(model, images)[:, ::8, ::8].flatten(1), rows)


def test_attention_pooling_is_asked_itself_unless_a_layer_is_named(
    make_model: Callable[..., VisionModel], images: Tensor
) -> None:
    model = make_model(pooling="map", cls=False)
    *blocks, pool = recorded(model, images)
    assert pool.shape[2:] == (1, 16)
    torch.testing.assert_close(raw(model, images)[:, ::8, ::8].flatten(1), pool.mean(1)[:, 0])
    torch.testing.assert_close(raw(model, images, layer=-1)[:, ::8, ::8].flatten(1), blocks[-1].mean(1).mean(1))
    where = get_method("raw_attention").where
    assert where(model, None, None) == "pooling head, mean of heads"
    assert where(model, -1, 1) == "layer 2 (of 0 to 2), head 1"


def test_maps_hold_every_layer_and_head(model: VisionModel, images: Tensor) -> None:
    made = maps(model, images, at(images))
    assert [layer.shape for layer in made] == [(2, 3, 4, 4)] * 3
    for layer in range(3):
        for head in range(3):
            one = raw(model, images, layer=layer, head=head)[:, ::8, ::8]
            torch.testing.assert_close(made[layer][:, head], one)


@pytest.mark.parametrize(("asked", "range_"), [({"layer": 3}, "0 to 2"), ({"head": -4}, "-3 to -1")])
def test_a_layer_or_head_out_of_range_is_told_the_range(
    asked: dict[str, int], range_: str, model: VisionModel, images: Tensor
) -> None:
    with pytest.raises(UsageError, match=range_):
        raw(model, images, **asked)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ rollout


def test_rollout_is_that_of_the_paper_written_out(model: VisionModel, images: Tensor) -> None:
    """Oracle: Abnar and Zuidema's recursion in NumPy, in float64, one image at a time."""
    blocks = [weights.double().numpy() for weights in recorded(model, images)]
    for image in range(2):
        product = np.eye(17)
        for weights in blocks:
            mixed = weights[image].mean(axis=0) + np.eye(17)
            product = (mixed / mixed.sum(axis=1, keepdims=True)) @ product
        made = rolled(model, images)[image, ::8, ::8].flatten()
        np.testing.assert_allclose(made.numpy(), product[0, 1:], rtol=1e-4, atol=1e-7)


def test_rollout_stops_at_the_layer_asked_for(model: VisionModel, images: Tensor) -> None:
    first = recorded(model, images)[:1]
    torch.testing.assert_close(rolled(model, images, layer=0)[:, ::8, ::8].flatten(1), chain(first)[:, 0, 1:])
    assert torch.equal(rolled(model, images, layer=-1), rolled(model, images))


def test_rollout_begins_with_what_a_pooling_head_attends_to(
    make_model: Callable[..., VisionModel], images: Tensor
) -> None:
    model = make_model(pooling="map", cls=False)
    *blocks, pool = recorded(model, images)
    expected = (pool.mean(1) @ chain(blocks))[:, 0]
    torch.testing.assert_close(rolled(model, images)[:, ::8, ::8].flatten(1), expected)
    evenly = chain(blocks).mean(1)
    torch.testing.assert_close(rolled(model, images, layer=-1)[:, ::8, ::8].flatten(1), evenly)
    assert (expected - evenly).abs().max() > 1e-4


# ----------------------------------------------------------------------------------------------------------- their base


def test_a_backbone_without_attention_is_refused_in_words(model: VisionModel, images: Tensor) -> None:
    bare = torch.nn.Identity()
    bare.backbone, bare.head, bare.pooling = torch.nn.Conv2d(3, 4, 8), torch.nn.Identity(), "mean"  # type: ignore
    assert not has_attention(bare)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Conv2d has no attention"):
        attend(bare, images)  # type: ignore[arg-type]


@given(count=st.integers(1, 50), data=st.data())
def test_places_count_from_either_end(count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(-count, count - 1))
    assert list(range(count))[index] == resolve(index, count, "layer")


def test_every_pixel_has_the_value_of_its_patch() -> None:
    token_map = torch.arange(6.0).reshape(1, 2, 3)
    made = on_pixels(token_map, (8, 12))
    assert torch.equal(made[0], token_map[0].repeat_interleave(4, 0).repeat_interleave(4, 1))
