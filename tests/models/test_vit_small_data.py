"""What helps a ViT on small sets: stems, locality attention and sequence pooling, against their papers' equations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vitrail
from vitrail.cost.count import gmacs, parameters
from vitrail.errors import UsageError
from vitrail.explain.attention import attend
from vitrail.explain.methods.raw_attention import raw_attention
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.recorder import record
from vitrail.explain.target import Target
from vitrail.layers.attention import SelfAttention
from vitrail.layers.initialise import initialise
from vitrail.layers.tokenizers import ConvStem, ShiftedPatchEmbed
from vitrail.training.optimizer import groups

SMALL: dict[str, Any] = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 2, "heads": 3, "hidden": 96}
HELP: list[dict[str, Any]] = [
    {"stem": "conv"},
    {"stem": "shifted"},
    {"locality": True},
    {"pooling": "seq"},
    {"stem": "shifted", "locality": True, "pooling": "seq", "registers": 2},
    {"stem": "conv", "locality": True, "qk_norm": True, "parallel": True},
]


def small(**options: Any) -> Any:
    return vitrail.create_model("vit_tiny", outputs=5, **{**SMALL, **options}).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------- against the equations


def test_shifted_patches_are_those_of_the_paper() -> None:
    """Equations 2 to 4 of arXiv 2112.13492, pixel by pixel."""
    patch, stem = 4, ShiftedPatchEmbed(4, 3, 10)
    initialise(stem, 0)
    with torch.no_grad():
        stem.norm.weight.add_(noise(len(stem.norm.weight)))
        stem.norm.bias.add_(noise(len(stem.norm.bias), seed=1))
    images = noise(2, 3, 12, 8)
    b, rows, columns = 1, 3, 2
    for row in range(rows):
        for column in range(columns):
            seen = []
            for down, right in ((0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)):
                for channel in range(3):
                    for y in range(row * patch, (row + 1) * patch):
                        for x in range(column * patch, (column + 1) * patch):
                            inside = 0 <= y + down < 12 and 0 <= x + right < 8
                            seen.append(float(images[b, channel, y + down, x + right]) if inside else 0.0)
            values = torch.tensor(seen, dtype=torch.float64)
            normed = (values - values.mean()) / (values.var(unbiased=False) + 1e-6).sqrt()
            wanted = stem.linear(stem.norm.weight * normed.float() + stem.norm.bias)
            torch.testing.assert_close(stem(images)[b, row * columns + column], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("patch", "strides"), [(1, [1]), (2, [2]), (8, [2, 2, 2]), (12, [2, 2, 3])])
def test_a_convolutional_stem_goes_down_to_the_patch(patch: int, strides: list[int]) -> None:
    """Convolution, BatchNorm and ReLU at each stride, then a 1 x 1 convolution; channels double up to the width."""
    stem = ConvStem(patch, 3, 16).eval()
    initialise(stem, 0)
    images = noise(2, 3, 24, 48)
    x = images
    state = dict(stem.named_parameters())
    for i, stride in enumerate(strides):
        kernel = state[f"convolutions.{i}.0.weight"]
        assert kernel.shape[0] == 16 >> (len(strides) - 1 - i)
        x = F.conv2d(x, kernel, stride=stride, padding=0 if stride == 3 else 1) / math.sqrt(
            1 + 1e-5
        )  # fresh running statistics are 0 and 1
        x = x.clamp(min=0)
    x = torch.einsum("bchw,dc->bhwd", x, state["last.weight"][:, :, 0, 0]) + state["last.bias"]
    assert x.shape[1:3] == stem.grid((24, 48)) == (24 // patch, 48 // patch)
    torch.testing.assert_close(stem(images), x.flatten(1, 2), atol=1e-5, rtol=1e-5)


def test_every_pixel_reaches_a_token_of_every_stem() -> None:
    for stem in (ConvStem(6, 1, 64).eval(), ShiftedPatchEmbed(6, 1, 8)):
        initialise(stem, 0)
        images = noise(1, 1, 12, 12).requires_grad_()
        stem(images).square().sum().backward()
        assert bool((images.grad != 0).all())


@pytest.mark.parametrize("qk_norm", [False, True])
def test_locality_attention_is_that_of_the_paper(qk_norm: bool) -> None:
    """Equations 5 and 6 of arXiv 2112.13492: a temperature of one's own, and minus infinity on the diagonal."""
    attention = SelfAttention(12, 3, 1, qk_norm=qk_norm, locality=True)
    initialise(attention, 0)
    temperature = torch.tensor([0.5, 2.0, 7.0])
    assert torch.equal(attention.locality.scale, torch.full((3,), 0.5))  # 1 / sqrt(4)
    with torch.no_grad():
        attention.locality.scale.copy_(1 / temperature)
    x = noise(2, 5, 12)
    q, k, v = attention.qkv(x).reshape(2, 5, 3, 3, 4).unbind(2)
    if qk_norm:
        q, k = F.layer_norm(q, (4,), eps=1e-6), F.layer_norm(k, (4,), eps=1e-6)
    wanted = torch.zeros(2, 5, 3, 4)
    for head in range(3):
        for i in range(5):
            scores = torch.stack([(q[:, i, head] * k[:, j, head]).sum(-1) / temperature[head] for j in range(5)], dim=1)
            scores[:, i] = -math.inf
            weights = scores.softmax(dim=1)
            assert bool((weights[:, i] == 0).all())
            wanted[:, i, head] = (weights[..., None] * v[:, :, head]).sum(1)
    torch.testing.assert_close(attention(x), attention.proj(wanted.flatten(2)), atol=1e-5, rtol=1e-5)


def test_sequence_pooling_is_that_of_the_paper() -> None:
    """Equations 3 to 5 of arXiv 2104.05704, whose bias the softmax does not notice; registers have no part in it."""
    model = small(pooling="seq", registers=3)
    features = model.features(noise(2, 3, 32, 32))
    scores = features.tokens @ model.head.pool.score.weight[0] + 0.7  # (B, N)
    weights = scores.exp() / scores.exp().sum(1, keepdim=True)
    pooled = torch.einsum("bn,bnd->bd", weights, features.tokens)
    torch.testing.assert_close(model.head.pool(features), pooled, atol=1e-5, rtol=1e-5)
    with record(model) as seen:
        model(noise(2, 3, 32, 32))
    torch.testing.assert_close(seen.calls[-1].weights[:, 0, 0], weights, atol=1e-5, rtol=1e-5)


# ----------------------------------------------------------------------------------------------------- as any other


@pytest.mark.parametrize("options", HELP, ids=str)
def test_it_trains_whole(options: dict[str, Any]) -> None:
    model = small(**options).train()
    model(noise(4, 3, 32, 32)).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert silent == []


@pytest.mark.parametrize("options", HELP, ids=str)
def test_another_image_size_is_met_as_by_a_model_built_for_it(options: dict[str, Any]) -> None:
    model, other = small(**options, position="sincos"), small(**options, position="sincos", image_size=48)
    other.load_state_dict(model.state_dict())
    model.backbone.set_image_size((48, 48))
    torch.testing.assert_close(model(noise(1, 3, 48, 48)), other(noise(1, 3, 48, 48)), atol=1e-6, rtol=1e-5)
    features = model.features(noise(1, 3, 48, 48))
    assert features.grid == (6, 6)
    assert features.tokens.shape == (1, 36, 48)


@pytest.mark.parametrize("options", HELP, ids=str)
def test_first_values_depend_on_seed_and_name_alone(options: dict[str, Any]) -> None:
    plain, helped = small(registers=2).state_dict(), small(**{"registers": 2, **options}).state_dict()
    shared = [name for name in plain.keys() & helped.keys() if plain[name].shape == helped[name].shape]
    assert len(shared) > 10
    assert all(torch.equal(plain[name], helped[name]) for name in shared)


@pytest.mark.parametrize("options", HELP, ids=str)
def test_scales_and_norms_are_not_decayed_and_matrices_are(options: dict[str, Any]) -> None:
    model = small(**options)
    spared = {id(p) for group in groups(model, 0.1) if not group["weight_decay"] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in spared}
    assert {n for n, _ in model.named_parameters() if n.endswith((".scale", ".bias"))} <= names
    assert not any(name.endswith(("linear.weight", "score.weight", "last.weight", "proj.weight")) for name in names)


@pytest.mark.parametrize("options", HELP, ids=str)
def test_it_is_explained(options: dict[str, Any]) -> None:
    model, images = small(**options), noise(2, 3, 32, 32)
    for method in (rollout, raw_attention):
        heat = method(model, images, Target(torch.tensor([0, 1])))
        assert heat.shape == (2, 32, 32)
        assert bool(heat.isfinite().all())
        assert float(heat.std()) > 0
    attention = attend(model, images)
    for weights in (layer.matrix() for layer in attention.layers):
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
        itself = weights.diagonal(dim1=-2, dim2=-1)
        assert bool((itself == 0).all()) == bool(options.get("locality", False))
    assert (attention.pool is not None) == (options.get("pooling") == "seq")


def test_parameters_and_multiplications_are_those_counted_by_hand() -> None:
    base, n, d, patch = small(), 16, 48, 8
    stem = 3 * patch**2 * d
    shifted = small(stem="shifted")
    seen = 5 * 3 * patch**2
    assert parameters(shifted) - parameters(base) == (seen * d + 2 * seen) - stem
    assert _macs(shifted) - _macs(base) == n * (seen * d - stem)
    conv = small(stem="conv")
    channels, sides = (3, 12, 24, 48), (16, 8, 4)
    kernels = [9 * channels[i] * channels[i + 1] for i in range(3)]
    assert parameters(conv) - parameters(base) == sum(kernels) + 2 * (12 + 24 + 48) + d * d - stem
    assert _macs(conv) - _macs(base) == sum(k * s**2 for k, s in zip(kernels, sides, strict=True)) + n * (d * d - stem)
    assert parameters(small(locality=True)) - parameters(base) == 2 * 3
    assert _macs(small(locality=True)) == _macs(base)
    assert parameters(small(pooling="seq")) - parameters(base) == d
    assert _macs(small(pooling="seq")) - _macs(base) == 2 * n * d


def _macs(model: Any) -> int:
    return round(gmacs(model, (32, 32)) * 1e9)


def test_a_distilled_deit_has_them_too() -> None:
    model = vitrail.create_model("deit_tiny_distilled", outputs=4, **SMALL, stem="shifted", locality=True).eval()
    assert model(noise(2, 3, 32, 32)).shape == (2, 4)
    assert type(model.backbone.stem()).__name__ == "ShiftedPatchEmbed"


@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny", "pvt_tiny", "pvt_v2_b0", "resnet18", "convnext_tiny"])
def test_every_family_can_pool_by_sequence(name: str) -> None:
    short = {"pvt_tiny": "pvt_tiny", "swinv2_tiny": "swinv2_tiny_window8_256"}.get(name, name)
    model = vitrail.create_model(short, outputs=3, image_size=64, pooling="seq").eval()
    features = model.features(noise(1, 3, 64, 64))
    weights = (features.tokens @ model.head.pool.score.weight[0]).softmax(1)
    torch.testing.assert_close(model.head.pool(features), (weights[..., None] * features.tokens).sum(1))


# ------------------------------------------------------------------------------------------------ files and refusals


@pytest.mark.parametrize("options", HELP[:4], ids=str)
def test_only_our_own_layout_has_a_place_for_it(options: dict[str, Any], tmp_path: Path) -> None:
    model = small(**options)
    (named,) = options.items()
    for layout, file in (("timm", "timm"), ("torchvision", "a.pth"), ("google", "a.npz")):
        with pytest.raises(UsageError, match=f"cannot express {named[0]}={named[1]}"):
            vitrail.save_weights(model, tmp_path / file, layout=layout)
    own = tmp_path / "own.safetensors"
    vitrail.save_weights(model, own, layout="vitrail")
    fresh = small(**options, seed=1)
    vitrail.load_weights(fresh, own)
    assert torch.equal(model(noise(2, 3, 32, 32)), fresh(noise(2, 3, 32, 32)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stem": "conv", "patch_size": 7, "image_size": 28}, "strides of 2 and 3, which 7 is not made of"),
        ({"stem": "cones"}, "stem"),
        ({"locality": True, "image_size": 8, "cls": False, "pooling": "mean"}, "no token looks at itself"),
        ({"stem": "shifted", "image_size": 33}, "not divisible by the patch size 8"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        small(**options)
