"""Both generations of Swin as models: their tables, first values, maps, and how they meet images of any size."""

from __future__ import annotations

import math

import pytest
import torch

import vitrail
from vitrail.contracts import Backbone, Features
from vitrail.cost.catalogue import catalogue
from vitrail.errors import UsageError
from vitrail.models import configure, create_backbone, list_models, variant

# reference tables 1.3, with the digits that timm 1.0.31 gives where the table has fewer: parameters, GMACs
PINNED = {
    "swin_tiny_patch4_window7_224": (28_288_354, 4.4906),
    "swin_small_patch4_window7_224": (49_606_258, 8.7409),
    "swin_base_patch4_window7_224": (87_768_224, 15.4309),
    "swin_large_patch4_window7_224": (196_532_476, 34.4758),
    "swin_tiny_patch4_window12_384": (28_338_034, 13.9938),
    "swin_small_patch4_window12_384": (49_707_778, 26.9888),
    "swin_base_patch4_window12_384": (87_903_584, 47.0831),
    "swin_large_patch4_window12_384": (196_735_516, 103.9191),
    "swinv2_tiny_window8_256": (28_347_154, 5.9397),
    "swinv2_tiny_window16_256": (28_347_154, 6.6606),
    "swinv2_small_window8_256": (49_728_418, 11.5459),
    "swinv2_small_window16_256": (49_728_418, 12.7831),
    "swinv2_base_window8_256": (87_918_816, 20.3251),
    "swinv2_base_window16_256": (87_918_816, 21.9692),
    "swinv2_base_window12_192": (87_918_816, 11.8563),
    "swinv2_base_window12to16_192to256": (87_918_816, 21.9692),
    "swinv2_base_window12to24_192to384": (87_918_816, 55.1483),
    "swinv2_large_window12_192": (196_739_932, 26.1019),
    "swinv2_large_window12to16_192to256": (196_739_932, 47.7403),
    "swinv2_large_window12to24_192to384": (196_739_932, 115.9914),
}
BOTH = ["swin_tiny", "swinv2_tiny"]
SMALL = {"image_size": 32, "patch_size": 4, "width": 8, "heads": (1, 2, 2), "depths": (2, 2, 1), "window": 4}


def _small(name: str, **options):
    return vitrail.create_model(name, **{**SMALL, "outputs": 3, **options})


def _moved(model: torch.nn.Module) -> torch.nn.Module:
    """A little away from the first values, where second-generation blocks do nothing."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.2)
    return model


def test_every_row_has_the_published_size_and_cost() -> None:
    rows = {row.name: row for row in catalogue("swin*")}
    assert rows.keys() == PINNED.keys()
    for name, (count, cost) in PINNED.items():
        assert rows[name].parameters == count
        assert rows[name].gmacs == pytest.approx(cost, rel=1e-4)


def test_the_rows_beyond_the_tables_cost_what_timm_costs() -> None:
    timm = pytest.importorskip("timm", reason="needs timm, a reference implementation")
    from vitrail.cost.count import gmacs, parameters

    for name in ("swinv2_base_window12_192", "swinv2_large_window12_192"):
        with torch.device("meta"):
            theirs = timm.create_model(name, num_classes=1000)
        assert parameters(theirs) == PINNED[name][0]
        assert gmacs(theirs, (192, 192)) == pytest.approx(PINNED[name][1], rel=1e-4)


def test_names_are_those_of_timm() -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose names ours are")
    in_the_tables_alone = {"swin_tiny_patch4_window12_384", "swin_small_patch4_window12_384"}
    assert set(list_models("swin*")) - in_the_tables_alone <= set(timm.list_models("swin*"))


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("swin_tiny", "swin_tiny_patch4_window7_224"),
        ("swin_large", "swin_large_patch4_window7_224"),
        ("swinv2_small", "swinv2_small_window8_256"),
        ("swinv2_large", "swinv2_large_window12_192"),
    ],
)
def test_short_names(short: str, full: str) -> None:
    assert variant(short).name == full


def test_published_figures_stand_at_the_size_of_the_name() -> None:
    for name in list_models("swin*"):
        row = variant(name)
        for figure in row.published:
            assert name.endswith(str(figure.image_size))
            assert 0.8 < figure.accuracy < 0.88
        assert row.normalisation == "imagenet"
        assert row.crop_fraction == (1.0 if row.config.image_size == 384 else 0.9)
    best = {name: max(f.accuracy for f in variant(name).published) for name in PINNED if variant(name).published}
    assert len(best) == 16
    assert best["swinv2_large_window12to24_192to384"] == 0.876


# ------------------------------------------------------------------------------------------------------ first values


def test_first_values_are_those_of_the_official_code() -> None:
    model = create_backbone("swin_tiny", width=64, heads=(2, 4, 8, 16), depths=(1, 1, 1, 1))
    table, qkv = model.levels[3].blocks[0].attn.bias_table, model.levels[3].blocks[0].attn.qkv
    assert table.shape == (13 * 13, 16)
    assert float(table.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(qkv.bias.detach().abs().max()) == 0
    kernel = model.patch_embed.proj.weight.detach()
    assert float(kernel.abs().max()) <= (3 * 4 * 4) ** -0.5
    assert float(model.levels[3].blocks[0].norm1.weight.detach().min()) == 1


def test_blocks_of_the_second_generation_begin_as_the_identity() -> None:
    """The official `_init_respostnorm`: weight and bias of the norm that ends a branch are 0."""
    model = create_backbone("swinv2_tiny", **SMALL)
    block = model.blocks()[1]
    x = torch.randn(2, 64, 8)
    torch.testing.assert_close(block(x), x, atol=0, rtol=0)
    assert block.attn.logit_scale.flatten().tolist() == pytest.approx([math.log(10)])
    assert float(block.attn.q_bias.detach().abs().max()) == 0
    x.square().sum().sub(block(x * 2).sum()).backward()
    assert float(block.norm1.weight.grad.abs().sum()) > 0  # and they leave it


@pytest.mark.parametrize("name", BOTH)
def test_stochastic_depth_grows_linearly_over_all_levels(name: str) -> None:
    model = create_backbone(name, **SMALL, drop_path=0.4)
    assert [block.drop_path.rate for block in model.blocks()] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_undecayed_are_position_biases_and_temperatures() -> None:
    first, second = create_backbone("swin_tiny", **SMALL), create_backbone("swinv2_tiny", **SMALL)
    named = {id(parameter): name for model in (first, second) for name, parameter in model.named_parameters()}
    ends = {named[id(p)].rsplit("attn.")[1] for model in (first, second) for p in model.undecayed()}
    assert ends == {"bias_table", "logit_scale", "cpb.fc1.weight", "cpb.fc1.bias", "cpb.fc2.weight"}
    assert len(list(first.undecayed())) == 5
    assert len(list(second.undecayed())) == 20


# ---------------------------------------------------------------------------------------------------------- any image


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", [(32, 32), (37, 50), (5, 90), (1, 1)])
def test_maps_stand_at_the_declared_strides(name: str, size: tuple[int, int]) -> None:
    backbone = _moved(create_backbone(name, **{**SMALL, "image_size": size}))
    assert isinstance(backbone, Backbone)
    assert backbone.strides == (4, 8, 16)
    assert backbone.channels == (8, 16, 32)
    features = backbone(torch.randn(2, 3, *size), pyramid=True)
    shapes = [(2, c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip((8, 16, 32), (4, 8, 16), strict=True)]
    assert [tuple(level.shape) for level in features.pyramid] == shapes
    assert features.grid == shapes[-1][2:]
    assert features.prefix.shape == (2, 0, 32)
    torch.testing.assert_close(features.pyramid[-1].flatten(2).transpose(1, 2), features.tokens)


def test_strides_of_the_catalogue_are_4_to_32() -> None:
    backbone = create_backbone("swin_tiny", image_size=64, depths=(1, 1, 1, 1), width=6, heads=(1, 1, 1, 1))
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.channels == (6, 12, 24, 48)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels(name: str, channels: int) -> None:
    assert _small(name, in_channels=channels)(torch.randn(2, channels, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("pooling", ["mean", "map"])
def test_every_parameter_is_reached(name: str, pooling: str) -> None:
    model = _moved(_small(name, pooling=pooling, image_size=37))
    (model(torch.randn(2, 3, 37, 37)) * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", BOTH)
def test_images_of_another_size_are_refused_in_words(name: str) -> None:
    with pytest.raises(UsageError, match="set_image_size"):
        _small(name)(torch.randn(1, 3, 64, 64))
    with pytest.raises(UsageError, match="0 x 32"):
        _small(name).backbone.set_image_size((0, 32))


@pytest.mark.parametrize(
    "bad",
    [
        {"heads": (1, 2)},
        {"heads": (3, 2, 2)},
        {"pooling": "cls"},
        {"window": 0},
        {"depths": ()},
        {"depths": "2,x"},
        {"pretrained_window": (4, 4)},
    ],
)
def test_impossible_options_are_refused_in_words(bad: dict) -> None:
    with pytest.raises(UsageError, match="swinv2_tiny"):
        _small("swinv2_tiny", **bad)


def test_numbers_per_level_can_be_written_in_one_word() -> None:
    assert configure("swin_tiny", depths="2,2,1", heads="1,2,4").depths == (2, 2, 1)
    assert configure("swinv2_tiny", pretrained_window="8,8,8,8").pretrained_window == (8, 8, 8, 8)


@pytest.mark.parametrize(
    ("name", "size", "patch", "window"),
    [
        ("swin_tiny", 8, 1, 4), ("swin_tiny", 28, 2, 7), ("swin_tiny", 32, 2, 4), ("swin_tiny", 64, 4, 4),
        ("swin_tiny", 96, 4, 6), ("swin_tiny", 224, 4, 7), ("swin_tiny", 256, 4, 8), ("swin_tiny", 384, 4, 12),
        ("swinv2_tiny", 32, 2, 4), ("swinv2_tiny", 224, 4, 7), ("swinv2_tiny", 256, 4, 8),
        ("swinv2_tiny_window16_256", 256, 4, 16), ("swin_base_patch4_window12_384", 384, 4, 12),
    ],
)  # fmt: skip
def test_patch_and_window_fit_the_image(name: str, size: int, patch: int, window: int) -> None:
    row = variant(name)
    fit = row.fit(row.config, size)
    assert fit.options == {"patch_size": patch, "window": window}
    assert f"{size}/{patch}" in fit.why
    assert f"window {window}" in fit.why


@pytest.mark.parametrize("size", range(4, 300, 7))
def test_the_window_divides_every_grid_that_is_larger_if_any_does(size: int) -> None:
    row = variant("swin_tiny")
    fit = row.fit(row.config, size)
    config = configure("swin_tiny", image_size=size, **fit.options)
    grids = [-(-size // config.patch_size) + (1 << level) - 1 >> level for level in range(4)]
    divides = {w: all(g <= w or g % w == 0 for g in grids) for w in range(4, 17)}
    assert divides[config.window] == any(divides.values())
    assert ("none divides" in fit.why) != divides[config.window]


# ------------------------------------------------------------------------------------------ compile, export, bf16, meta


@pytest.mark.parametrize("name", BOTH)
def test_models_pass_through_compile_and_export(name: str) -> None:
    model = _moved(_small(name, image_size=37)).eval()
    images = torch.randn(2, 3, 37, 37)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
    training = torch.compile(_small(name, drop_path=0.5), fullgraph=True, backend="aot_eager")
    training(images[..., :32, :32]).sum().backward()
    features = torch.export.export(model.backbone, (images, True)).module()(images, True)
    assert isinstance(features, Features)
    torch.testing.assert_close(features.tokens, model.features(images).tokens)
    torch.compiler.reset()


@pytest.mark.parametrize("name", BOTH)
def test_bf16_runs_and_is_close(name: str) -> None:
    model = _small(name, image_size=37).eval()
    images = torch.randn(2, 3, 37, 37)
    expected = model(images)
    torch.testing.assert_close(model.bfloat16()(images.bfloat16()).float(), expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("name", BOTH)
def test_a_model_from_the_meta_device_has_its_masks_and_offsets(name: str) -> None:
    model = _moved(_small(name, image_size=37)).eval()
    with torch.device("meta"):
        empty = _small(name, image_size=37).eval()
        assert empty(torch.empty(1, 3, 37, 37)).shape == (1, 3)
        empty.backbone.set_image_size((41, 20))
        empty.backbone.set_image_size((37, 37))
    assert all(tensor.is_meta for tensor in [*empty.parameters(), *empty.buffers()])
    vitrail.assemble.fill(empty, model.state_dict(), "the other")
    images = torch.randn(2, 3, 37, 37)
    torch.testing.assert_close(empty(images), model(images))
