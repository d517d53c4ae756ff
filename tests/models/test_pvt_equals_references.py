"""Our PVT and PVT v2 compute what timm's, transformers' and the paper's equations do, forwards and backwards."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from pvt_reference import pvt
from reference import close32, close64, outputs_and_gradients, randomise

import vitrail

BOTH = pytest.mark.parametrize(("dtype", "close"), [(torch.float64, close64), (torch.float32, close32)])
SMALL = {"widths": (16, 32, 40, 64), "depths": (1, 2, 1, 2)}
HALF = {"widths": (32, 64, 160, 256), "depths": (1, 1, 2, 1)}

FROM_TIMM = (
    (r"^patch_embed\.", "backbone.levels.0.patch_embed."),
    (r"^stages\.(\d)\.downsample\.", r"backbone.levels.\1.patch_embed."),
    (r"^stages\.(\d)\.", r"backbone.levels.\1."),
    (r"^head\.", "head.fc."),
)
FROM_HF = (
    (r"^pvt\.encoder\.patch_embeddings\.3\.cls_token$", "backbone.cls_token"),
    (r"^pvt\.encoder\.patch_embeddings\.(\d)\.position_embeddings$", r"backbone.levels.\1.pos_embed"),
    (r"^pvt\.encoder\.patch_embeddings\.(\d)\.", r"backbone.levels.\1.patch_embed."),
    (r"^pvt\.encoder\.block\.(\d)\.", r"backbone.levels.\1.blocks."),
    (r"^pvt\.encoder\.layer_norm\.", "backbone.norm."),
    (r"^pvt_v2\.encoder\.layers\.(\d)\.", r"backbone.levels.\1."),
    (r"\.patch_embedding\.", ".patch_embed."),
    (r"\.(projection|proj)\.", ".proj."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.(self\.)?", ".attn."),
    (r"\.(sequence_reduction|spatial_reduction)\.", ".sr."),
    (r"\.query\.", ".q."),
    (r"\.layer_norm_(\d)\.", r".norm\1."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    (r"\.dwconv\.dwconv\.", ".dwconv."),
    (r"^classifier\.", "head.fc."),
)


def renamed(tensors: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """A reference's tensors (or gradients) under our names; keys and values become one."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[name] = tensor
    for name in [name for name in out if ".attn.key." in name]:
        key, value = out.pop(name), out.pop(name.replace(".key.", ".value."))
        out[name.replace(".key.", ".kv.")] = torch.cat([key, value])
    return out


class Logits(nn.Module):
    """A transformers model that answers with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def images_of(size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).to(dtype)


def agree(ours: nn.Module, logits: Tensor, gradients: Mapping[str, Tensor], images: Tensor, close) -> bool:
    own, own_gradients = outputs_and_gradients(ours, images)
    assert own_gradients.keys() == gradients.keys()
    return close(own, logits) and all(close(own_gradients[name], gradient) for name, gradient in gradients.items())


def equals(name: str, theirs: nn.Module, rules, size: tuple[int, int], dtype: torch.dtype, close, **options) -> bool:
    """Whether our `name` with `options` computes what `theirs` does from the same random weights."""
    theirs = theirs.eval()
    randomise(theirs)
    ours = vitrail.create_model(name, outputs=10, image_size=size, **options).eval()
    ours.load_state_dict(renamed({k.removeprefix("model."): v for k, v in theirs.state_dict().items()}, rules))
    ours, theirs, images = ours.to(dtype), theirs.to(dtype), images_of(size, dtype)
    logits, gradients = outputs_and_gradients(theirs, images)
    bare = {k.removeprefix("model."): v for k, v in gradients.items()}
    return agree(ours, logits, renamed(bare, rules), images, close)


# ----------------------------------------------------------------------------------------------------------------- timm


def timm_equals(name: str, size: tuple[int, int], dtype: torch.dtype, close, depths=None, **options) -> bool:
    timm = pytest.importorskip("timm", reason="needs timm, the reference implementation")
    reduced = {"depths": depths} if depths else {}
    theirs = timm.create_model(name, num_classes=10, **reduced)
    return equals(name, theirs, FROM_TIMM, size, dtype, close, **reduced, **options)


@pytest.mark.parametrize("size", [(64, 64), (72, 60)], ids=["divisible", "remainders"])
@pytest.mark.parametrize("name", ["pvt_v2_b0", "pvt_v2_b2_li"])
@BOTH
def test_v2_equals_timm(name: str, size: tuple[int, int], dtype: torch.dtype, close) -> None:
    assert timm_equals(name, size, dtype, close, depths=(1, 2, 1, 1))


@pytest.mark.slow
@BOTH
def test_v2_at_its_full_size_equals_timm(dtype: torch.dtype, close) -> None:
    assert timm_equals("pvt_v2_b0", (224, 224), dtype, close)


@pytest.mark.slow
def test_linear_v2_at_its_full_size_equals_timm() -> None:
    """In float64 only: among 20 million hidden values some round to the other side of the ReLU in float32, here as in
    timm, and a gradient has no such thing as nearly there."""
    assert timm_equals("pvt_v2_b2_li", (224, 224), torch.float64, close64)


@pytest.mark.parametrize("wrong", [{"eps": 1e-5}, {"reduction_eps": 1e-6}], ids=str)
@pytest.mark.parametrize("name", ["pvt_v2_b0", "pvt_v2_b2_li"])
@BOTH
def test_a_wrong_epsilon_of_v2_is_noticed(name: str, wrong: dict, dtype: torch.dtype, close) -> None:
    assert not timm_equals(name, (64, 64), dtype, close, depths=(1, 2, 1, 1), **wrong)


# --------------------------------------------------------------------------------------------------------- transformers


def hf_equals(name: str, dtype: torch.dtype, close, their_eps: float = 1e-6, **options) -> bool:
    """transformers has one epsilon for all norms: ours has both set to it, unless `options` say otherwise."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, the reference implementation")
    sizes = {"hidden_sizes": list(SMALL["widths"]), "depths": list(SMALL["depths"]), "num_labels": 10}
    if name == "pvt_tiny":
        config = transformers.PvtConfig(image_size=64, layer_norm_eps=their_eps, **sizes)
        theirs = transformers.PvtForImageClassification(config)
    else:
        linear = name.endswith("_li")
        config = transformers.PvtV2Config(image_size=64, layer_norm_eps=their_eps, linear_attention=linear, **sizes)
        theirs = transformers.PvtV2ForImageClassification(config)
    options = {**SMALL, "eps": their_eps, "reduction_eps": their_eps, **options}
    return equals(name, Logits(theirs), FROM_HF, (64, 64), dtype, close, **options)


@pytest.mark.parametrize("eps", [1e-6, 1e-3])
@pytest.mark.parametrize("name", ["pvt_tiny", "pvt_v2_b2", "pvt_v2_b2_li"])
@BOTH
def test_equals_transformers(name: str, eps: float, dtype: torch.dtype, close) -> None:
    assert hf_equals(name, dtype, close, eps)


@pytest.mark.parametrize("wrong", [{"eps": 1e-5}, {"reduction_eps": 1e-5}], ids=str)
@pytest.mark.parametrize("name", ["pvt_tiny", "pvt_v2_b2", "pvt_v2_b2_li"])
def test_the_authors_epsilons_are_not_those_of_transformers(name: str, wrong: dict) -> None:
    assert not hf_equals(name, torch.float64, close64, **wrong)


# ----------------------------------------------------------------------------------------------------- the v1 equations


def v1_equals(size: int, dtype: torch.dtype, close, sizes: Mapping = HALF, **options) -> bool:
    ours = vitrail.create_model("pvt_tiny", outputs=10, image_size=size, **sizes, **options).eval()
    randomise(ours)
    ours, images = ours.to(dtype), images_of((size, size), dtype)
    c = ours.backbone.config
    weights = {name: tensor.detach().clone().requires_grad_() for name, tensor in ours.state_dict().items()}
    logits = pvt(
        weights, images, depths=c.depths, heads=c.heads, ratios=c.sr_ratios, patch=c.patch_size,
        eps=1e-6, reduction_eps=1e-5,
    )  # fmt: skip
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=dtype).reshape(logits.shape)).sum().backward()
    gradients = {name: tensor.grad for name, tensor in weights.items() if tensor.grad is not None}
    return agree(ours, logits.detach(), gradients, images, close)


@BOTH
def test_v1_equals_the_equations(dtype: torch.dtype, close) -> None:
    assert v1_equals(64, dtype, close)


def test_v1_on_patches_of_one_pixel_equals_the_equations() -> None:
    assert v1_equals(16, torch.float64, close64, patch_size=1, sr_ratios=(2, 2, 4, 1))


@pytest.mark.slow
@BOTH
def test_v1_at_its_full_size_equals_the_equations(dtype: torch.dtype, close) -> None:
    assert v1_equals(224, dtype, close, sizes={})


@pytest.mark.parametrize("wrong", [{"eps": 1e-5}, {"reduction_eps": 1e-6}], ids=str)
@BOTH
def test_a_wrong_epsilon_of_v1_is_noticed(wrong: dict, dtype: torch.dtype, close) -> None:
    assert not v1_equals(64, dtype, close, **wrong)
