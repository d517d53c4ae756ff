"""Every figure of reference table 1.1, and Zhai et al.'s Table 2, on the meta device: no memory is taken.

The table counts with [CLS] and 1000 classes; papers count what suits them, which is said at each figure.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import vitrail
from vitrail.cost.count import gmacs, parameters
from vitrail.models import variant


def _meta(name: str, outputs: int = 1000, **options) -> nn.Module:
    with torch.device("meta"):
        return vitrail.create_model(name, outputs=outputs, **options)


def _cost(model: nn.Module) -> float:
    return gmacs(model, model.backbone.image_size)


# ---------------------------------------------------------------------------- parameters and GMACs, [CLS], 1000 classes

AT_224 = {
    "vit_tiny_patch16_224": (5_717_416, 1.2537),
    "vit_small_patch16_224": (22_050_664, 4.5989),
    "vit_small_patch32_224": (22_878_952, 1.1429),
    "vit_base_patch16_224": (86_567_656, 17.5638),
    "vit_base_patch32_224": (88_224_232, 4.4092),
    "vit_large_patch16_224": (304_326_632, 61.5547),
    "vit_large_patch32_224": (306_535_400, 15.3775),
    "vit_so400m_patch14_siglip_gap_224": (413_595_352, 109.49),
    "vit_huge_patch14_224": (632_045_800, 167.2951),
    "vit_giant_patch14_224": (1_012_611_432, 267.0315),
    "vit_gigantic_patch14_224": (1_844_440_680, 483.7476),
    "vit_e_patch14_224": (3_807_214_312, 990.68),
}
AT_384 = {
    "vit_tiny_patch16_384": (5_790_376, 4.6822),
    "vit_small_patch16_384": (22_196_584, 15.4904),
    "vit_base_patch16_384": (86_859_496, 55.4844),
    "vit_base_patch32_384": (88_297_192, 13.0436),
    "vit_large_patch16_384": (304_715_752, 191.0663),
    "vit_large_patch32_384": (306_632_680, 45.2760),
}


@pytest.mark.parametrize("name", [*AT_224, *AT_384])
def test_parameters_and_cost(name: str) -> None:
    model = _meta(name)
    count, cost = {**AT_224, **AT_384}[name]
    assert parameters(model) == count
    assert _cost(model) == pytest.approx(cost, rel=1e-4)  # as many digits as are printed


@pytest.mark.parametrize("name", ["vit_tiny", "vit_small", "vit_base", "vit_large"])
def test_a_model_that_grew_is_the_model_that_is_larger(name: str) -> None:
    grown = _meta(f"{name}_patch16_224")
    grown.backbone.set_image_size((384, 384))
    assert parameters(grown) == AT_384[f"{name}_patch16_384"][0]
    assert _cost(grown) == pytest.approx(AT_384[f"{name}_patch16_384"][1], rel=1e-4)


# ------------------------------------------------------------------------------------------------- as the papers count


def test_so400m_with_attention_pooling_and_without_classifier() -> None:
    model = _meta("vit_so400m_patch14_siglip_224")
    assert parameters(model) - parameters(model.head.fc) == 427_680_704  # SoViT: 428M


@pytest.mark.parametrize(
    ("name", "body"), [("vit_giant_patch14_map_224", 1_011_199_616), ("vit_gigantic_patch14_map_224", 1_842_772_352)]
)
def test_g_without_cls_and_head(name: str, body: int) -> None:
    assert parameters(_meta(name).backbone) == body  # Zhai et al., Table 2: 1011M and 1843M


def test_large_g_with_attention_pooling_at_518() -> None:
    model = _meta("vit_gigantic_patch14_map_224", image_size=518)
    assert (parameters(model) - parameters(model.head.fc)) // 10**6 == 1882  # SoViT, Table 1, which cuts 1882.98 off


def test_e_with_attention_pooling_and_the_29593_classes_of_jft() -> None:
    assert parameters(_meta("vit_e_patch14_map_224", outputs=29_593)) == 3_926_402_969  # PaLI and ViT-22B: 3926M


def test_22b() -> None:
    model = _meta("vit_22b_patch14_224")
    matrices = [
        parameter for name, parameter in model.backbone.encoder.named_parameters() if name.endswith("weight")
        and parameter.ndim == 2
    ]  # fmt: skip
    assert sum(matrix.numel() for matrix in matrices) == 21_743_271_936  # ViT-22B, Table 1: 21743M
    assert parameters(model.backbone) == 21_750_546_432
    assert _cost(_meta("vit_22b_patch14_224", cls=True, pooling="cls")) == pytest.approx(5627.9, rel=1e-4)


def test_22b_has_biases_where_the_paper_has() -> None:
    names = {name.partition("encoder.0.")[2] for name, _ in _meta("vit_22b_patch14_224").named_parameters()}
    block = {
        "norm1.weight", "attn.qkv.weight", "attn.q_norm.weight", "attn.k_norm.weight", "attn.proj.weight",
        "attn.proj.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
    }  # fmt: skip
    assert names - {""} == block


# ----------------------------------------------------------------------------- Zhai et al. 2022, Table 2: no [CLS], MAP

# width, depth, hidden, heads, patch; as printed: millions of parameters without head, GFLOPs (2 x GMACs) at 224 and 384
ZHAI = {
    "s/28": ((256, 6, 1024, 8, 28), 5.4, (0.7, 2.0)),
    "s/16": ((256, 6, 1024, 8, 16), 5.0, (2.2, 7.8)),
    "S/32": ((384, 12, 1536, 6, 32), 22, (2.3, 6.9)),
    "Ti/16": ((192, 12, 768, 3, 16), 5.5, (2.5, 9.5)),
    "B/32": ((768, 12, 3072, 12, 32), 87, (8.7, 26.0)),
    "S/16": ((384, 12, 1536, 6, 16), 22, (9.2, 31.2)),
    "B/28": ((768, 12, 3072, 12, 28), 87, (11.3, 30.5)),
    "B/16": ((768, 12, 3072, 12, 16), 86, (35.1, 111.3)),
    "L/16": ((1024, 24, 4096, 16, 16), 303, (122.9, 382.8)),
    "g/14": ((1408, 40, 6144, 16, 14), 1011, (533.1, 1596.4)),
    "G/14": ((1664, 48, 8192, 16, 14), 1843, (965.3, 2859.9)),
}
# the same GFLOPs as computed for reference table 1.1
COMPUTED = {
    "S/32": (2.3, None), "Ti/16": (2.5, None), "B/32": (8.8, None), "S/16": (9.3, 31.3), "B/16": (35.4, 112.1),
    "L/16": (123.3, 383.9), "g/14": (534.0, 1598.3), "G/14": (966.6, 2862.4),
}  # fmt: skip


@pytest.mark.parametrize("name", ZHAI)
def test_zhai_table_2(name: str) -> None:
    """Parameters to half a unit of the last digit, GFLOPs to 1 % and what printing rounds off."""
    (width, depth, hidden, heads, patch), millions, printed = ZHAI[name]
    shape = {"width": width, "depth": depth, "hidden": hidden, "heads": heads, "patch_size": patch}
    for size, gflops, computed in zip((224, 384), printed, COMPUTED.get(name, (None, None)), strict=True):
        side = size // patch * patch  # 378 at patch 14, 364 at patch 28: the rest of the image is cut off
        model = _meta("vit_giant_patch14_map_224", image_size=side, **shape)
        if size == 224:
            body = parameters(model.backbone) / 1e6
            assert body == pytest.approx(millions, abs=0.05 if isinstance(millions, float) else 0.5)
        cost = 2 * _cost(model)
        assert cost == pytest.approx(gflops, abs=0.01 * gflops + 0.05)
        assert computed is None or cost == pytest.approx(computed, abs=0.051)


def test_the_rows_have_the_shapes_of_zhai_table_2() -> None:
    rows = {"S/32": "vit_small_patch32_224", "Ti/16": "vit_tiny_patch16_224", "B/32": "vit_base_patch32_224",
            "S/16": "vit_small_patch16_224", "B/16": "vit_base_patch16_224", "L/16": "vit_large_patch16_224",
            "g/14": "vit_giant_patch14_map_224", "G/14": "vit_gigantic_patch14_map_224"}  # fmt: skip
    for name, row in rows.items():
        config = variant(row).config
        assert (config.width, config.depth, config.hidden, config.heads, config.patch_size) == ZHAI[name][0]
