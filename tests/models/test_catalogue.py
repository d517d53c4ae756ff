"""The whole catalogue: sizes and costs pinned to published tables, names, options, compile and export."""

from __future__ import annotations

import pytest
import torch

import vitrail
from vitrail.contracts import Backbone, Features
from vitrail.cost.catalogue import catalogue
from vitrail.cost.count import gmacs, parameters
from vitrail.errors import UsageError
from vitrail.models import create_backbone, list_models, variant

# reference tables 1.1: parameters exact, GMACs to 0.1 % (both computed with timm on the meta device)
PINNED = {
    "vit_tiny_patch16_224": (5_717_416, 1.2537),
    "vit_tiny_patch16_384": (5_790_376, 4.6822),
    "vit_small_patch16_224": (22_050_664, 4.5989),
    "vit_small_patch16_384": (22_196_584, 15.4904),
    "vit_small_patch32_224": (22_878_952, 1.1429),
    "vit_base_patch16_224": (86_567_656, 17.5638),
    "vit_base_patch16_384": (86_859_496, 55.4844),
    "vit_base_patch32_224": (88_224_232, 4.4092),
    "vit_base_patch32_384": (88_297_192, 13.0436),
    "vit_large_patch16_224": (304_326_632, 61.5547),
    "vit_large_patch16_384": (304_715_752, 191.0663),
    "vit_large_patch32_224": (306_535_400, 15.3775),
    "vit_large_patch32_384": (306_632_680, 45.2760),
}


def _closed_form(config) -> tuple[int, float]:
    """Parameters and GMACs from the paper's shapes alone."""
    d, m, p, depth, classes = config.width, config.hidden, config.patch_size, config.depth, 1000
    n = (config.image_size // p) ** 2
    block = 4 * d * d + 4 * d + 2 * d * m + m + d + 4 * d
    count = depth * block + (3 * p * p * d + d) + (n + 1) * d + d + 2 * d + d * classes + classes
    t = n + 1
    macs = n * 3 * p * p * d + depth * (4 * t * d * d + 2 * t * t * d + 2 * t * d * m) + d * classes
    return count, macs / 1e9


@pytest.mark.parametrize("row", catalogue(), ids=lambda row: row.name)
def test_every_model_has_the_published_size_and_cost(row) -> None:
    count, cost = PINNED.get(row.name) or _closed_form(variant(row.name).config)
    assert row.parameters == count
    assert row.gmacs == pytest.approx(cost, rel=1e-3)
    assert row.source


def test_the_closed_form_agrees_with_the_pinned_tables() -> None:
    for name, (count, cost) in PINNED.items():
        assert _closed_form(variant(name).config) == (count, pytest.approx(cost, rel=1e-3))


def test_counting_leaves_the_model_as_it_was() -> None:
    model = vitrail.create_model("vit_tiny", outputs=3, image_size=32, patch_size=8, depth=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert model.training
    assert gmacs(model, (32, 32)) > 0
    assert parameters(model) == sum(v.numel() for v in before.values())
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_names_are_those_of_timm() -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose names ours are")
    known = set(timm.list_models("vit_*"))
    ours_alone = {n for n in list_models() if "patch14_224" in n or n.endswith("patch8_224") or "tiny_patch32" in n}
    assert set(list_models()) - ours_alone <= known


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


def test_published_figures_are_fractions_with_a_source_at_the_size_of_the_name() -> None:
    published = [(name, figure) for name in list_models() for figure in variant(name).published]
    assert len(published) == 16
    for name, figure in published:
        assert 0.7 < figure.accuracy < 0.9
        assert name.endswith(str(figure.image_size))
        assert figure.source


@pytest.mark.parametrize(
    "bad", [{"heads": 5}, {"width": 0}, {"drop_path": 1.0}, {"cls": False}, {"depth": "many"}, {"depth": 10**9}]
)
def test_impossible_options_are_refused_in_words(bad: dict) -> None:
    with pytest.raises(UsageError, match="vit_tiny"):
        vitrail.create_model("vit_tiny", **bad)


def _small(**options):
    return vitrail.create_model("vit_tiny", outputs=3, image_size=16, patch_size=8, depth=2, **options)


def test_a_backbone_keeps_the_contract() -> None:
    assert isinstance(create_backbone("vit_tiny", image_size=16, depth=1), Backbone)


def test_features_pass_through_compile_and_export() -> None:
    model = _small().eval()
    images = torch.randn(2, 3, 16, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
    training = torch.compile(_small(drop_path=0.5, registers=1), fullgraph=True, backend="aot_eager")
    training(images).sum().backward()
    features = torch.export.export(model.backbone, (images, True)).module()(images, True)
    assert isinstance(features, Features)
    assert features.grid == (2, 2)
    torch.testing.assert_close(features.tokens, model.features(images).tokens)
    assert [level.shape[2] for level in features.pyramid or ()] == [8, 4, 2, 1]
    logits = torch.export.export(model, (images,)).module()(images)
    torch.testing.assert_close(logits, model(images))
    torch.compiler.reset()


def test_bf16_runs_and_is_close() -> None:
    model = _small().eval()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model.bfloat16()(images.bfloat16()).float(), _small().eval()(images), atol=0.1, rtol=0.1)


def test_first_values_depend_on_seed_and_name_alone() -> None:
    model, again, other, deeper = _small(seed=1), _small(seed=1), _small(seed=2), _small(seed=1)
    torch.manual_seed(99)  # a global generator has no say
    shallow = vitrail.create_model("vit_tiny", outputs=5, image_size=16, patch_size=8, depth=1, seed=1)
    backbone = create_backbone("vit_tiny", seed=1, image_size=16, patch_size=8, depth=2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, deeper.state_dict()[name])
    assert torch.equal(
        shallow.state_dict()["backbone.encoder.0.attn.qkv.weight"], model.backbone.encoder[0].attn.qkv.weight
    )
    assert torch.equal(backbone.encoder[1].mlp.fc1.weight, model.backbone.encoder[1].mlp.fc1.weight)
    assert not torch.equal(other.head.fc.weight, model.head.fc.weight)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    _small()
    assert torch.equal(state, torch.get_rng_state())


def test_first_values_have_the_family_distribution() -> None:
    model = vitrail.create_model("vit_small", outputs=100)
    qkv = model.backbone.encoder[0].attn.qkv
    assert float(qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert float(qkv.bias.detach().abs().max()) == 0
    assert float(model.head.fc.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    bound = (3 * 16 * 16) ** -0.5
    kernel = model.backbone.patch_embed.proj.weight.detach()
    assert float(kernel.abs().max()) <= bound
    assert float(kernel.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_a_meta_model_has_shapes_and_no_memory() -> None:
    with torch.device("meta"):
        model = vitrail.create_model("vit_large_patch16_224", outputs=1000)
    assert all(p.is_meta for p in model.parameters())
    assert model(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)
