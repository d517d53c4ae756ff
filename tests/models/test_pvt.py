"""PVT and PVT v2: published sizes, who stands where, any image size, and how they begin."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import vitrail
from vitrail.contracts import Backbone
from vitrail.cost.catalogue import catalogue
from vitrail.errors import UsageError
from vitrail.explain.recorder import record
from vitrail.layers.reduction import FanOutConv2d, ReducedAttention, ReducingEmbed
from vitrail.layers.stages import FOUR, StagesConfig, fit_stages
from vitrail.models import create_backbone, list_models, variant

SMALL = {"widths": (8, 16, 40, 16), "heads": (1, 2, 5, 2), "depths": (1, 2, 1, 1), "mlp_ratios": (2, 2, 2, 2)}
KINDS = ("pvt_tiny", "pvt_v2_b0", "pvt_v2_b2_li")

# reference tables 1.4: parameters exact, GMACs to 0.1 %, the authors' top-1
PUBLISHED = {
    "pvt_tiny": (13_229_288, 1.9329, 75.1),
    "pvt_small": (24_485_864, 3.8157, 79.8),
    "pvt_medium": (44_208_104, 6.6592, 81.2),
    "pvt_large": (61_369_320, 9.8138, 81.7),
    "pvt_v2_b0": (3_666_760, 0.5661, 70.5),
    "pvt_v2_b1": (14_009_000, 2.1084, 78.7),
    "pvt_v2_b2": (25_362_856, 4.0267, 82.0),
    "pvt_v2_b2_li": (22_553_512, 3.8889, 82.1),
    "pvt_v2_b3": (45_238_696, 6.8973, 83.1),
    "pvt_v2_b4": (62_556_072, 10.1011, 83.6),
    "pvt_v2_b5": (81_956_008, 11.7173, 83.8),
}


def _small(name: str, size: int | tuple[int, int] = 64, **options):
    return create_backbone(name, image_size=size, **{**SMALL, **options})


def _images(model: nn.Module, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, model.in_channels, *model.image_size, generator=generator)


# ------------------------------------------------------------------------------------------------------------ the table


def test_every_variant_has_its_published_size_and_cost() -> None:
    rows = {row.name: row for row in catalogue("pvt*")}
    assert rows.keys() == PUBLISHED.keys() == set(list_models("pvt*"))
    for name, (count, cost, top1) in PUBLISHED.items():
        assert rows[name].parameters == count, name
        assert rows[name].gmacs == pytest.approx(cost, rel=1e-3), name
        assert rows[name].published[0].accuracy == pytest.approx(top1 / 100)
        assert all(figure.source and figure.image_size == 224 for figure in rows[name].published)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_224_keeps_the_published_geometry(name: str) -> None:
    row = variant(name)
    chosen = row.fit(row.config, 224)
    assert row.config.model_copy(update=dict(chosen.options)) == row.config
    assert "224 px in patches of 4: stages of 56, 28, 14, 7 tokens" in chosen.why


def test_stochastic_depth_grows_linearly_over_all_stages() -> None:
    model = _small("pvt_tiny", drop_path=0.4)
    assert [block.drop_path.rate for block in model.blocks()] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


# ------------------------------------------------------------------------------------------------------- any image size


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("size", "patch"),
    [((64, 64), 4), ((32, 96), 4), ((45, 70), 4), ((33, 31), 2), ((28, 28), 1), ((8, 8), 1), ((3, 5), 4), ((1, 1), 2)],
)
def test_features_and_pyramid_have_the_declared_shapes(name: str, size: tuple[int, int], patch: int) -> None:
    model = _small(name, size, patch_size=patch)
    assert isinstance(model, Backbone)
    features = model(_images(model), pyramid=True)
    assert model.strides == (patch, 2 * patch, 4 * patch, 8 * patch)
    grids = [tuple(-(-side // stride) for side in size) for stride in model.strides]
    assert [tuple(level.shape) for level in features.pyramid or ()] == [
        (2, width, *grid) for width, grid in zip(SMALL["widths"], grids, strict=True)
    ]
    assert features.grid == grids[-1]
    assert features.tokens.shape == (2, grids[-1][0] * grids[-1][1], 16)
    assert features.prefix.shape == (2, len(model.prefix_names), 16)
    assert model.prefix_names == (("cls",) if name == "pvt_tiny" else ())
    torch.testing.assert_close((features.pyramid or ())[-1].flatten(2).transpose(1, 2), features.tokens)


@pytest.mark.parametrize("name", KINDS)
def test_the_image_size_can_be_changed(name: str) -> None:
    model = _small(name)
    model.set_image_size((40, 52))
    fresh = _small(name, (40, 52))
    images = _images(model)
    assert model(images).grid == fresh(images).grid == (2, 2)
    if name != "pvt_tiny":  # without positions nothing but the geometry depends on the size
        torch.testing.assert_close(model(images).tokens, fresh(images).tokens)


def test_positions_of_each_stage_follow_and_the_row_of_cls_stays() -> None:
    model = _small("pvt_tiny")
    rows = [len(level.pos_embed[0]) for level in model.levels]
    assert rows == [256, 64, 16, 4 + 1]
    smooth = torch.linspace(0, 1, 16).reshape(1, 16, 1).expand(1, 16, 40)
    with torch.no_grad():
        model.levels[2].pos_embed.copy_(smooth)
    cls = model.levels[3].pos_embed[:, 0].clone()
    model.levels[1].pos_embed.requires_grad_(False)
    model.set_image_size((128, 96))
    assert [len(level.pos_embed[0]) for level in model.levels] == [32 * 24, 16 * 12, 8 * 6, 4 * 3 + 1]
    assert not model.levels[1].pos_embed.requires_grad
    assert model.levels[2].pos_embed.requires_grad
    torch.testing.assert_close(model.levels[3].pos_embed[:, 0], cls)
    model.set_image_size((64, 64))
    torch.testing.assert_close(model.levels[2].pos_embed, smooth, atol=0.05, rtol=0)
    assert {id(p) for p in model.undecayed()} == {id(model.cls_token), *(id(v.pos_embed) for v in model.levels)}


def test_what_the_patch_does_not_divide_is_padded_with_zeros() -> None:
    model = _small("pvt_tiny", (30, 21))
    wider = _small("pvt_tiny", (32, 24))
    images = _images(model)
    padded = F.pad(images, (0, 3, 0, 2))
    torch.testing.assert_close(model.stem()(images), wider.stem()(padded))


def test_a_side_shorter_than_the_ratio_uses_the_first_weights_of_the_kernel() -> None:
    attn = ReducedAttention(6, 2, 4, eps=1e-5, convolution=nn.Conv2d)
    x = torch.randn(2, 3 * 8, 6)
    cropped = F.conv2d(x.transpose(1, 2).reshape(2, 6, 3, 8), attn.sr.weight[:, :, :3], attn.sr.bias, stride=4)
    torch.testing.assert_close(attn._reduce(x, (3, 8)), attn.norm(cropped.flatten(2).transpose(1, 2)))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pvt_tiny", {"sr_ratios": (8, 4, 2, 2)}, "the last of sr_ratios must be 1"),
        ("pvt_tiny", {"widths": (64, 128, 320, 500)}, "width 500 is not a multiple of heads 8"),
        ("pvt_v2_b0", {"pooling": "cls"}, "pooling"),
        ("pvt_v2_b0", {"depths": (2, 2, 2)}, "depths"),
        ("pvt_v2_b0", {"depth": 3}, "depths"),
        ("pvt_v2_b0", {"sr_ratios": (0, 1, 1, 1)}, "sr_ratios"),
    ],
)
def test_impossible_options_are_refused_in_words(name: str, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create_backbone(name, **options)


@pytest.mark.parametrize("name", ["pvt_tiny", "pvt_v2_b0"])
def test_an_image_of_another_shape_is_refused_in_words(name: str) -> None:
    model = _small(name)
    with pytest.raises(UsageError, match="set_image_size"):
        model(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UsageError, match="set_image_size"):
        model(torch.zeros(1, 1, 64, 64))
    with pytest.raises(UsageError, match="no pixels"):
        model.set_image_size((0, 64))


# --------------------------------------------------------------------------------------------------------- small images


@pytest.mark.parametrize(
    ("size", "patch", "ratios"),
    [
        (8, 1, (2, 1, 1, 1)),
        (16, 1, (4, 2, 1, 1)),
        (28, 1, (4, 2, 1, 1)),
        (32, 1, (8, 4, 2, 1)),
        (64, 2, (8, 4, 2, 1)),
        (96, 2, (8, 4, 2, 1)),
        (128, 4, (8, 4, 2, 1)),
        (224, 4, (8, 4, 2, 1)),
    ],
)
def test_small_images_get_finer_patches_and_milder_reduction(size: int, patch: int, ratios: tuple) -> None:
    for name in ("pvt_tiny", "pvt_v2_b0"):
        row = variant(name)
        assert row.fit(row.config, size).options == {"patch_size": patch, "sr_ratios": ratios}
    linear = variant("pvt_v2_b2_li")
    assert linear.fit(linear.config, size).options == {"patch_size": patch}
    assert "7 x 7 keys" in linear.fit(linear.config, size).why


@given(st.integers(1, 600))
def test_every_stage_is_left_four_keys_a_side_or_all_there_are(size: int) -> None:
    chosen = fit_stages(StagesConfig(), size).options
    for i in FOUR:
        side = -(-size // (chosen["patch_size"] * 2**i))
        assert side // chosen["sr_ratios"][i] >= min(side, 4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3)])
def test_small_images_can_be_learned(name: str, size: int, channels: int) -> None:
    row = variant(name)
    options = {**SMALL, **row.fit(row.config, size).options, "image_size": size, "in_channels": channels}
    model = vitrail.create_model(name, outputs=4, **options)
    images, labels = _images(model.backbone, 4), torch.arange(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.7  # chance is log 4 = 1.39


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_is_reached(name: str) -> None:
    model = vitrail.create_model(name, outputs=3, image_size=64, **SMALL)
    (model(_images(model.backbone)) * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


# ----------------------------------------------------------------------------------------------------- the first values


def _spread(tensor: Tensor) -> float:
    return float(tensor.detach().std())


def test_v1_convolutions_begin_as_pytorch_has_them_and_the_rest_truncated_normal() -> None:
    model = create_backbone("pvt_tiny", depths=(1, 1, 1, 1))
    attn = model.levels[0].blocks[0].attn
    bound = (64 * 8 * 8) ** -0.5
    assert float(attn.sr.weight.detach().abs().max()) <= bound
    assert _spread(attn.sr.weight) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert float(attn.sr.bias.detach().abs().sum()) > 0
    assert _spread(model.levels[3].blocks[0].mlp.fc1.weight) == pytest.approx(0.02, rel=0.02)
    assert _spread(model.levels[2].pos_embed) == pytest.approx(0.02, rel=0.02)
    assert _spread(model.cls_token) == pytest.approx(0.02, rel=0.15)


def test_v2_convolutions_begin_by_their_fan_out_and_without_bias() -> None:
    model = create_backbone("pvt_v2_b1", depths=(1, 1, 1, 1))
    convolutions = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert len(convolutions) == 4 + 3 + 4  # patches, reductions, depth-wise
    for name, convolution in convolutions.items():
        assert isinstance(convolution, FanOutConv2d), name
        fan_out = convolution.weight.shape[0] * convolution.weight[0, 0].numel() / convolution.groups
        assert _spread(convolution.weight) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
        assert float(convolution.bias.detach().abs().sum()) == 0
    assert _spread(model.levels[3].blocks[0].attn.kv.weight) == pytest.approx(0.02, rel=0.02)


# --------------------------------------------------------------------------------------------------- the linear variant


def test_the_linear_variant_has_49_keys_at_any_size_and_rectifies_before_the_convolution() -> None:
    model = _small("pvt_v2_b2_li", (72, 40))
    with record(model) as recording:
        model(_images(model))
    assert {call.weights.shape[-1] for call in recording.calls} == {49}
    mlp = model.levels[0].blocks[0].mlp
    seen = []
    mlp.dwconv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(_images(model))
    assert float(seen[0].detach().min()) == 0
    assert not _small("pvt_v2_b0").levels[0].blocks[0].mlp.relu


# ----------------------------------------------------------------------------------------------------- who stands where


def _reach(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Which cells (h * w) each token of (1, T, D) depends on: (T, h * w) bool."""
    rows = []
    for token in range(outputs.shape[1]):
        weights = torch.randn(outputs.shape[2], generator=torch.Generator().manual_seed(token), dtype=outputs.dtype)
        (gradient,) = torch.autograd.grad((outputs[0, token] * weights).sum(), inputs, retain_graph=True)
        rows.append((gradient.abs().sum(dim=1) > 0).flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("pooled", [False, True], ids=["strided", "pooled"])
@pytest.mark.parametrize("grid", [(8, 8), (7, 9), (2, 6), (3, 3)])
def test_the_layout_says_which_cells_a_key_is_made_of(grid: tuple[int, int], pooled: bool) -> None:
    attn = ReducedAttention(6, 2, 4, eps=1e-5, convolution=nn.Conv2d, pooled=pooled).double()
    maps = torch.randn(1, 6, *grid, dtype=torch.float64, requires_grad=True)
    keys = attn._reduce(maps.flatten(2).transpose(1, 2), grid)
    layout = attn.layout(grid)
    assert torch.equal(_reach(keys, maps), layout.keys.dense()[0] > 0)
    assert layout.queries is None


@pytest.mark.parametrize("overlap", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("grid", [(8, 8), (7, 5), (1, 3)])
def test_a_stage_says_which_cells_its_tokens_are_made_of(grid: tuple[int, int], stride: int, overlap: bool) -> None:
    embed = ReducingEmbed(3, 6, stride, overlap=overlap, eps=1e-5, convolution=nn.Conv2d).double()
    maps = torch.randn(1, 3, *grid, dtype=torch.float64, requires_grad=True)
    cells = embed.cells(grid)
    assert torch.equal(_reach(embed(maps), maps), cells.dense()[0] > 0)
    assert cells.is_partition() == (not overlap or stride == 1 or grid == (1, 1))


@pytest.mark.parametrize("name", KINDS)
def test_stages_hold_every_block_and_follow_each_other(name: str) -> None:
    model = _small(name, (72, 60))
    stages = model.stages()
    assert [block for stage in stages for block in stage.blocks] == list(model.blocks())
    assert [stage.grid for stage in stages] == [(18, 15), (9, 8), (5, 4), (3, 2)]
    assert [stage.prefix for stage in stages] == ([0, 0, 0, 1] if name == "pvt_tiny" else [0] * 4)
    assert stages[0].entry is None
    for before, stage in itertools.pairwise(stages):
        assert stage.entry.grid == before.grid
        assert stage.entry.cells.shape[1] == stage.grid[0] * stage.grid[1]
        assert int((stage.entry.tokens_per_cell() == 0).sum()) == 0


def test_keys_partition_the_grid_where_the_ratio_divides_it() -> None:
    for name in ("pvt_tiny", "pvt_v2_b0"):
        model = _small(name, 64)
        for stage in model.stages():
            for block in stage.blocks:
                layout = block.attn.layout(stage.grid)
                assert layout.keys is None or layout.keys.is_partition()
                assert (layout.prefix_queries, layout.prefix_keys) == (stage.prefix, stage.prefix)
    pooled = _small("pvt_v2_b2_li", 224)
    divisible = [stage for stage in pooled.stages() if stage.grid[0] % 7 == 0]
    assert len(divisible) == 4
    assert all(stage.blocks[0].attn.layout(stage.grid).keys.is_partition() for stage in divisible)


def test_elsewhere_dropped_remainders_and_overlapping_bins_are_declared() -> None:
    stages = _small("pvt_v2_b0", (72, 60)).stages()  # grids 18 x 15, 9 x 8, 5 x 4, 3 x 2 by ratios 8, 4, 2, 1
    counts = [stage.blocks[0].attn.layout(stage.grid).keys for stage in stages]
    unseen = [int((keys.tokens_per_cell() == 0).sum()) if keys else 0 for keys in counts]
    assert unseen == [18 * 15 - 16 * 8, 9 * 8 - 8 * 8, 5 * 4 - 4 * 4, 0]
    pooled = _small("pvt_v2_b2_li", (72, 60)).stages()
    twice = [int((s.blocks[0].attn.layout(s.grid).keys.tokens_per_cell() > 1).sum()) for s in pooled]
    assert all(count > 0 for count in twice)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (72, 60), (20, 12)])
def test_attention_laid_out_on_cells_still_sums_to_one(name: str, size: tuple[int, int]) -> None:
    model = _small(name, size)
    with record(model) as recording:
        model(_images(model))
    placed = [(stage, block) for stage in model.stages() for block in stage.blocks]
    assert len(placed) == len(recording.calls)
    for (stage, block), call in zip(placed, recording.calls, strict=True):
        assert call.module is block.attn
        matrix = call.layout(stage.grid).matrix(call.weights)  # (B, A, K + h w, K + h w)
        tokens = stage.prefix + stage.grid[0] * stage.grid[1]
        assert matrix.shape == (2, block.attn.heads, tokens, tokens)
        torch.testing.assert_close(matrix.sum(-1), torch.ones(2, block.attn.heads, tokens))


# -------------------------------------------------------------------------------------------------- the torch machinery


@pytest.mark.parametrize("name", KINDS)
def test_compile_export_bf16_and_recomputation(name: str) -> None:
    from vitrail.layers.recompute import recompute

    model = vitrail.create_model(name, outputs=3, image_size=(36, 30), **SMALL).eval()
    images = _images(model.backbone)
    expected = model(images)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(images), expected)
    torch.compiler.reset()
    exported = torch.export.export(model.backbone, (images, True)).module()(images, True)
    torch.testing.assert_close(exported.tokens, model.features(images).tokens)
    assert [len(level[0]) for level in exported.pyramid] == list(SMALL["widths"])
    expected.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    recompute(model.backbone.blocks())
    model(images).sum().backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.isfinite(model.bfloat16()(images.bfloat16())).all()
