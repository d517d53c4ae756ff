"""Models of timm behind our contract: timm's numbers, our heads; made, trained, saved and brought back by name."""

from __future__ import annotations

import copy
import itertools
import sys

import pytest
import torch
from torch import Tensor, nn

import vitrail
from vitrail import artifact
from vitrail.assemble import build_model
from vitrail.contracts import Backbone
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.layers.recompute import recompute
from vitrail.models import create_backbone, families, list_models, timm, variant
from vitrail.seeding import derive_seed
from vitrail.settings import build
from vitrail.tasks import create_task

timm_library = pytest.importorskip("timm", reason="needs timm, whose models these are")

PLAIN = {"depth": 2, "embed_dim": 16, "num_heads": 2}
CASES = {
    "timm:resnet10t": {"image_size": 32, "channels": (8, 16, 16, 16)},
    "timm:vit_tiny_patch16_224": {"image_size": 32, "patch_size": 8, **PLAIN},
    "timm:deit_tiny_distilled_patch16_224": {"image_size": 32, "patch_size": 16, **PLAIN},
    "timm:convnext_atto": {"image_size": 64, "depths": (1, 1, 1, 1), "dims": (8, 16, 16, 24)},
    "timm:swin_tiny_patch4_window7_224": {
        "image_size": 64, "depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 1, 2, 2), "window_size": 4,
    },
    "timm:pvt_v2_b0": {"image_size": 64, "depths": (1, 1, 1, 1), "embed_dims": (8, 16, 20, 32)},
}  # fmt: skip
every_case = pytest.mark.parametrize("name", CASES)


def _model(name: str, **more) -> nn.Module:
    return vitrail.create_model(name, outputs=3, **{**CASES[name], **more})


def _images(model: nn.Module, batch: int = 2) -> Tensor:
    backbone = model.backbone if hasattr(model, "backbone") else model
    shape = (batch, backbone.in_channels, *backbone.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@every_case
def test_tokens_are_what_timm_computes(name: str) -> None:
    model = _model(name).eval()
    backbone, images = model.backbone, _images(model)
    with torch.no_grad():
        features, theirs = backbone(images, pyramid=True), backbone.body.forward_features(images)
    if theirs.ndim == 4 and theirs.shape[-1] == backbone.width:
        theirs = theirs.flatten(1, 2)
    elif theirs.ndim == 4:
        theirs = theirs.flatten(2).transpose(1, 2)
    ours = torch.cat([features.prefix, features.tokens], dim=1)
    if name == "timm:convnext_atto":
        pooled = backbone.body.head.norm(theirs.mean(1)[:, :, None, None])[:, :, 0, 0]
        torch.testing.assert_close(features.tokens.mean(1), pooled)
    else:
        assert torch.equal(ours, theirs)
    assert features.grid[0] * features.grid[1] == features.tokens.shape[1]


@every_case
def test_the_contract_is_kept(name: str) -> None:
    model = _model(name)
    backbone = model.backbone
    assert isinstance(backbone, Backbone)
    plain, rich = backbone.eval()(_images(model)), backbone(_images(model), pyramid=True)
    assert torch.equal(plain.tokens, rich.tokens)
    assert plain.pyramid is None
    assert plain.prefix.shape == (2, len(backbone.prefix_names), backbone.width)
    height, width = backbone.image_size
    for level, stride, channels in zip(rich.pyramid, backbone.strides, backbone.channels, strict=True):
        assert level.shape == (2, channels, -(-height // stride), -(-width // stride))
    stages, blocks = backbone.stages(), backbone.blocks()
    assert [id(b) for stage in stages for b in stage.blocks] == [id(b) for b in blocks]
    assert stages[-1].grid == plain.grid
    assert len(stages) == (4 if len(set(backbone.channels)) > 1 else 1)
    assert all(after.entry.grid == before.grid for before, after in itertools.pairwise(stages))
    assert any(True for _ in backbone.stem().parameters())


@every_case
def test_the_gradient_reaches_every_parameter_and_nothing_idle_is_kept(name: str) -> None:
    model = _model(name).train()
    model(_images(model, 4)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(p.requires_grad for p in model.parameters())


@every_case
def test_first_values_are_a_function_of_seed_and_model(name: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model, again, other = _model(name, seed=1), _model(name, seed=1, pooling="mean"), _model(name, seed=2)
    alone = create_backbone(name, seed=1, **CASES[name])
    assert torch.equal(before, torch.get_rng_state())
    tensors = model.backbone.state_dict()
    assert tensors.keys() == alone.state_dict().keys()
    for tensor, value in tensors.items():
        assert torch.equal(value, again.backbone.state_dict()[tensor])
        assert torch.equal(value, alone.state_dict()[tensor])
    drawn = [k for k, v in tensors.items() if v.ndim > 1 and float(v.std()) > 0]
    assert len(drawn) > 4
    assert not [k for k in drawn if torch.equal(tensors[k], other.backbone.state_dict()[k])]
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(1, "init", name.removeprefix("timm:")))
        theirs = timm_library.create_model(model.backbone.config.name, num_classes=0, **model.backbone.config.given())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in model.backbone.body.state_dict().items())


@every_case
def test_a_model_folder_brings_the_same_model_back(name: str, tmp_path) -> None:
    options = dict(CASES[name])
    size, patch = options.pop("image_size"), options.pop("patch_size", variant(name).config.patch_size)
    own = {"name": name, "image_size": size, "patch_size": patch, "pooling": variant(name).config.pooling}
    flat = {f"model.options.{key}": value for key, value in options.items()}
    config = build({"data.source": "photos", **{f"model.{k}": v for k, v in own.items()}, **flat})
    model = build_model(config, create_task("classify", ["cat", "dog", "owl"])).eval()
    artifact.save(tmp_path / "best", model, config, model.task, Preprocessor.from_config(config), {"run": "photos"})
    again = artifact.load(tmp_path / "best").model
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    with torch.no_grad():  # where the file put the weights in memory decides how convolutions round
        torch.testing.assert_close(model(_images(model)), again(_images(model)), rtol=1e-5, atol=1e-7)
    assert all(not tensor.is_meta for tensor in [*again.parameters(), *again.buffers()])
    twin = copy.deepcopy(again)
    with torch.no_grad():
        torch.testing.assert_close(twin(_images(model)), again(_images(model)), rtol=1e-5, atol=1e-7)


@every_case
def test_meta_models_have_shapes_and_no_memory(name: str) -> None:
    with torch.device("meta"):
        model = _model(name)
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert model.eval()(torch.zeros(2, 3, *model.backbone.image_size, device="meta")).shape == (2, 3)


@pytest.mark.parametrize("name", [name for name in CASES if "deit" not in name])
def test_other_image_sizes(name: str) -> None:
    backbone = _model(name).backbone.eval()
    before = backbone(_images(backbone))
    backbone.set_image_size((128, 64))
    features = backbone(_images(backbone), pyramid=True)
    assert features.grid[0] == 2 * features.grid[1]
    assert backbone.stages()[-1].grid == features.grid
    assert [level.shape[2] for level in features.pyramid] == [128 // stride for stride in backbone.strides]
    backbone.set_image_size(tuple(CASES[name]["image_size"] for _ in range(2)))
    assert backbone(_images(backbone)).grid == before.grid
    with pytest.raises(UsageError, match=r"\(C, H, W\)"):
        backbone(torch.zeros(1, 3, 40, 32))
    for wrong in ((0, 64), (64, -64)):
        with pytest.raises(UsageError, match="size"):
            backbone.set_image_size(wrong)


def test_a_size_that_a_model_does_not_take_is_refused_and_leaves_it_as_it_was() -> None:
    backbone = _model("timm:vit_tiny_patch16_224").backbone.eval()
    images = _images(backbone)
    with torch.no_grad():
        before = backbone(images).tokens
        with pytest.raises(UsageError, match="timm:vit_tiny_patch16_224"):
            backbone.set_image_size((36, 36))
        assert torch.equal(backbone(images).tokens, before)
    with pytest.raises(UsageError, match="timm:vit_tiny"):
        _model("timm:vit_tiny_patch16_224", image_size=36)


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:swin_tiny_patch4_window7_224"])
def test_recomputed_blocks_give_the_same_bits(name: str) -> None:
    results = []
    for lean in (False, True):
        model = _model(name, drop_path=0.5).train()
        if lean:
            recompute(model.backbone.blocks())
        torch.manual_seed(3)
        loss = model(_images(model, 4)).square().sum()
        loss.backward()
        results.append((loss.detach(), [p.grad for p in model.parameters()], list(model.buffers())))
    (loss, gradients, buffers), (other, others, again) = results
    assert torch.equal(loss, other)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, again, strict=True))


def test_channels_and_stochastic_depth_reach_timm() -> None:
    model = _model("timm:resnet10t", in_channels=1, drop_path=0.5)
    assert model(_images(model)).shape == (2, 3)
    assert [round(m.drop_prob, 3) for m in model.modules() if type(m).__name__ == "DropPath"][-1] == 0.5


@pytest.mark.parametrize("name", ["timm:convnext_atto", "timm:beit_base_patch16_224"])
def test_a_norm_that_timm_applies_after_pooling_is_kept(name: str) -> None:
    """timm's own vector before the classifier is the mean of our tokens."""
    options = CASES.get(name) or CASES["timm:vit_tiny_patch16_224"]
    backbone = vitrail.create_model(name, outputs=3, pooling="mean", **options).backbone.eval()
    with torch.random.fork_rng():
        theirs = timm_library.create_model(backbone.config.name, num_classes=0, **backbone.config.given()).eval()
    for norm in (m for m in backbone.modules() if isinstance(m, nn.LayerNorm)):
        norm.weight.data.copy_(torch.linspace(0.5, 2, norm.weight.numel()))
    theirs.load_state_dict(backbone.body.state_dict())
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(_images(backbone)), pre_logits=True)
        torch.testing.assert_close(backbone(_images(backbone)).tokens.mean(1), expected)


# -------------------------------------------------------------------------------------------------- names and options


def test_the_catalogue_is_ours_alone() -> None:
    assert families()["timm"].VARIANTS == ()
    assert not [name for name in list_models() if name.startswith("timm:")]
    row = variant("timm:resnet26")
    assert (row.name, row.family, row.normalisation) == ("timm:resnet26", "timm", "imagenet")
    assert variant("timm:vit_base_patch16_224").normalisation == "half"
    assert row.crop_fraction == timm_library.get_pretrained_cfg("resnet26").crop_pct
    assert timm_library.__version__ in row.source


def test_an_unknown_name_is_offered_the_nearest_of_timm() -> None:
    with pytest.raises(UsageError, match="did you mean 'timm:resnet26'"):
        variant("timm:resnet_26")


@pytest.mark.parametrize("name", ["timm:hf-hub:timm/resnet18", "timm:local-dir:x", "timm:"])
def test_nothing_is_fetched_by_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        variant(name)


def test_a_name_may_carry_the_tag_of_published_weights() -> None:
    assert variant("timm:resnet18.a1_in1k").config.name == "resnet18.a1_in1k"
    with pytest.raises(UsageError, match="nonesuch"):
        variant("timm:resnet18.nonesuch")


@pytest.mark.parametrize(
    "option", ["pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir", "drop_rate", "num_classes", "depht"]
)
def test_options_that_would_fetch_or_do_nothing_are_unknown(option: str) -> None:
    with pytest.raises(UsageError, match="unknown timm option"):
        vitrail.create_model("timm:vit_tiny_patch16_224", **{option: 1})


def test_what_timm_refuses_is_said_in_words() -> None:
    with pytest.raises(UsageError, match="stride of 4 px, which is fixed"):
        vitrail.create_model("timm:resnet10t", patch_size=2)
    with pytest.raises(UsageError, match="no stochastic depth"):
        vitrail.create_model("timm:vgg11", drop_path=0.1)
    with pytest.raises(UsageError, match="timm:vit_tiny"):
        vitrail.create_model("timm:vit_tiny_patch16_224", num_heads=5)
    with pytest.raises(UsageError, match="no map and no tokens"):
        vitrail.create_model("timm:crossvit_9_240", image_size=240)


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    timm.find.cache_clear()
    timm.library.library.cache_clear()
    try:
        with pytest.raises(UsageError, match="pip install timm"):
            vitrail.create_model("timm:resnet10t")
    finally:
        monkeypatch.undo()
        timm.library.library.cache_clear()
