"""The whole catalogue: sizes and costs pinned to published tables, names, published figures, refusals."""

from __future__ import annotations

import fnmatch
from functools import cache

import pytest
import torch
from published import SCALING, SMALL_RESNET, TABLES, THROUGH_TIMM, closed_form

import vitrail
from vitrail.cost.catalogue import figures
from vitrail.cost.count import gmacs, parameters
from vitrail.errors import UsageError
from vitrail.models import configure, create_backbone, families, list_models, short_names, variant

counted = cache(figures)

OURS_ALONE = {
    "vit_*_patch8_224": "sizes that timm has for some widths only",
    "vit_*_patch14_224": "sizes that timm has for some widths only",
    "vit_tiny_patch32_*": "sizes that timm has for wider models only",
    "vit_22b_*": "published without weights",
    "vit_e_*": "published without weights",
    "vit_*_map_*": "the papers' form, which timm has not",
    "deit3_tiny_*": "published without weights",
    "deit3_*_[45]?_*": "published without weights",
    "swin_tiny_patch4_window12_384": "published without weights",
    "swin_small_patch4_window12_384": "published without weights",
    "pvt_[!v]*": "timm has no PVT v1",
}
"""Names that timm does not have, and why."""


def _count(row, image_size: int | None = None) -> tuple[int, float]:
    """Parameters and GMACs of a row of a table, with its options."""
    if not row.options and row.classes == 1000 and image_size is None:
        return counted(row.name)
    size = {"image_size": image_size} if image_size else {}
    with torch.device("meta"):
        if not row.classes:
            model = vitrail.create_model(row.name, outputs=2, **size, **row.options)
            headless = parameters(model) - sum(p.numel() for p in model.head.fc.parameters())
            return headless, gmacs(model, model.backbone.image_size)
        model = vitrail.create_model(row.name, outputs=row.classes, **size, **row.options)
    return parameters(model), gmacs(model, model.backbone.image_size)


# --------------------------------------------------------------------------------------------------- sizes and costs


@pytest.mark.parametrize("row", TABLES, ids=str)
def test_a_row_of_the_tables_has_its_size_and_its_cost(row) -> None:
    count, cost = _count(row)
    assert variant(row.name).config.size == (row.image_size, row.image_size)
    assert row.parameters in (None, count)
    assert row.gmacs is None or cost == pytest.approx(row.gmacs, rel=1e-3)


@pytest.mark.parametrize("name", list_models())
def test_no_model_is_left_out_of_the_tables(name: str) -> None:
    """What the tables have not is a plain ViT, which has a closed form, or differs from a row in image size alone."""
    pinned = [row for row in TABLES if row.name == name and not row.options and row.classes == 1000]
    row = variant(name)
    if row.family == "vit" and not row.config.parallel:
        count, cost = closed_form(row.config)
        assert counted(name) == (count, pytest.approx(cost, rel=1e-3))
    elif not pinned:
        alike = [
            entry for entry in TABLES if not entry.options and entry.parameters and _same_weights(entry.name, name)
        ]
        assert alike, f"{name} stands in no table"
        assert counted(name)[0] in [entry.parameters for entry in alike]


def _same_weights(one: str, other: str) -> bool:
    """Whether two rows differ in image size and window only."""
    free = {"image_size": 0, "window": 0, "pretrained_window": 0}
    configs = [{**variant(name).config.model_dump(), **free} for name in (one, other)]
    return variant(one).family == variant(other).family and configs[0] == configs[1]


def test_the_closed_form_agrees_with_the_tables() -> None:
    plain = [
        row for row in TABLES if row.name.startswith("vit_") and row.classes and not row.name.startswith("vit_22b")
    ]
    assert len(plain) > 15
    for row in plain:
        count, cost = closed_form(configure(row.name, **row.options), row.classes)
        assert count == row.parameters
        assert row.gmacs is None or cost == pytest.approx(row.gmacs, rel=1e-3)


@pytest.mark.parametrize("row", SCALING, ids=lambda row: row.name)
@pytest.mark.parametrize("size", [224, 384])
def test_scaling_vision_transformers_table_2(row, size: int) -> None:
    """To 1 % and what printing rounds off. 384 px are cut to what the patch divides: 378 at 14, 364 at 28."""
    side = size // row.patch * row.patch
    shape = {"width": row.width, "depth": row.depth, "hidden": row.hidden, "heads": row.heads, "patch_size": row.patch}
    with torch.device("meta"):
        model = vitrail.create_model("vit_tiny", outputs=1000, image_size=side, cls=False, pooling="map", **shape)
    if size == 224:
        body = parameters(model.backbone) / 1e6
        assert body == pytest.approx(row.millions, abs=0.05 if row.millions < 10 else 0.5)
    printed = row.gflops[size == 384]
    assert 2 * gmacs(model, (side, side)) == pytest.approx(printed, abs=0.01 * printed + 0.05)


def test_a_resnet_for_small_images_has_a_stem_of_its_own() -> None:
    row = variant("resnet18")
    model = vitrail.create_model("resnet18", outputs=10, image_size=32, **row.fit(row.config, 32).options)
    count, cost = SMALL_RESNET
    assert parameters(model) == count
    assert gmacs(model, (32, 32)) == pytest.approx(cost, rel=1e-3)


@pytest.mark.parametrize("row", THROUGH_TIMM, ids=str)
def test_models_of_timm_have_the_size_of_the_tables(row) -> None:
    pytest.importorskip("timm", reason="needs timm, whose models these are")
    with torch.device("meta"):
        model = vitrail.create_model(row.name, outputs=1000, image_size=row.image_size)
    assert parameters(model) == row.parameters
    assert gmacs(model, (224, 224)) == pytest.approx(row.gmacs, rel=1e-3)


# ------------------------------------------------------------------------------------------------------------- names


def test_names_are_those_of_timm() -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose names ours are")
    strangers = set(list_models()) - set(timm.list_models())
    explained = {name for name in strangers if any(fnmatch.fnmatchcase(name, pattern) for pattern in OURS_ALONE)}
    assert strangers == explained
    idle = [pattern for pattern in OURS_ALONE if not fnmatch.filter(strangers, pattern)]
    assert idle == []


def test_names_are_unique_and_say_the_image_size() -> None:
    rows = [row.name for family in families().values() for row in family.VARIANTS]
    assert rows == list(dict.fromkeys(rows))
    names, short = list_models(), short_names()
    assert names == rows
    assert all(short[name] == name for name in {*short} & {*names})
    assert {*short.values()} <= {*names}
    for name in names:
        numbers = [int(part) for part in name.replace("to", "_").split("_") if part.isdigit()]
        if numbers:
            assert numbers[-1] == max(variant(name).config.size)


def test_patterns_select() -> None:
    assert list_models("vit_base_*_384") == ["vit_base_patch16_384", "vit_base_patch32_384"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("short", ["vit_tiny", "vit_small", "vit_base", "vit_large"])
def test_short_names_mean_patch_16_at_224(short: str) -> None:
    assert variant(short).name == f"{short}_patch16_224"


@pytest.mark.parametrize(
    ("wrong", "right"), [("vit_tinny", "vit_tiny"), ("vit_base_patch16_244", "vit_base_patch16_224")]
)
def test_a_misspelt_model_is_offered_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=right):
        vitrail.create_model(wrong)


def test_a_misspelt_option_is_offered_the_nearest() -> None:
    with pytest.raises(UsageError, match="depth"):
        vitrail.create_model("vit_tiny", dept=3)


@pytest.mark.parametrize(
    "bad", [{"heads": 5}, {"width": 0}, {"drop_path": 1.0}, {"cls": False}, {"depth": "many"}, {"depth": 10**9}]
)
def test_impossible_options_are_refused_in_words(bad: dict) -> None:
    with pytest.raises(UsageError, match="vit_tiny"):
        vitrail.create_model("vit_tiny", **bad)


# ------------------------------------------------------------------------------------------------- what is published


@pytest.mark.parametrize("name", list_models())
def test_published_figures_are_fractions_with_their_source_and_their_training_data(name: str) -> None:
    row = variant(name)
    assert row.source
    assert 0 < row.crop_fraction <= 1
    for figure in row.published:
        assert 0.6 < figure.accuracy < 0.95
        assert 128 <= figure.image_size <= 1024
        assert len(figure.source.split()) > 1
        assert figure.data == "1k" or figure.data.endswith(" -> 1k")


def test_every_family_has_published_figures() -> None:
    assert {variant(name).family for name in list_models()} == {
        variant(name).family for name in list_models() if variant(name).published
    }


# ------------------------------------------------------------------------------------------------- how a ViT begins


def test_first_values_have_the_family_distribution() -> None:
    backbone = create_backbone("vit_small", depth=1)
    qkv = backbone.encoder[0].attn.qkv
    assert float(qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(qkv.bias.detach().abs().max()) == 0
    bound = (3 * 16 * 16) ** -0.5
    kernel = backbone.patch_embed.proj.weight.detach()
    assert float(kernel.abs().max()) <= bound
    assert float(kernel.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_a_size_that_is_none_is_said_in_words() -> None:
    with pytest.raises(UsageError, match=r"^vit_tiny_patch16_224: image_size: Input should be greater"):
        configure("vit_tiny", image_size=0)
    with pytest.raises(UsageError, match=r"^pvt_tiny: heads\.3: "):
        configure("pvt_tiny", heads=(1, 2, 5, 0))
