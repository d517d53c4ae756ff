"""What a vision transformer is, as statements that can fail."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vitrail
from vitrail.errors import UsageError
from vitrail.layers.attention import ScaledDotProduct, SelfAttention, attention_weights
from vitrail.layers.initialise import initialise
from vitrail.layers.patch import PatchEmbed
from vitrail.models import create_backbone


def _tiny(**options):
    return create_backbone(
        "vit_tiny", **{"image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 48, "depth": 2, **options}
    )


def _images(seed: int = 0, size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("patch", [2, 4, 8])
def test_the_patch_convolution_is_unfold_and_a_linear_layer(patch: int) -> None:
    embed = PatchEmbed(patch, 3, 16).double()
    images = _images(size=16).double()
    patches = F.unfold(images, kernel_size=patch, stride=patch).transpose(1, 2)  # (B, N, C P P)
    linear = F.linear(patches, embed.proj.weight.flatten(1), embed.proj.bias)
    torch.testing.assert_close(embed(images), linear)
    assert patches.shape[1] == 16 * 16 // patch**2  # N = HW / P^2


def test_attention_is_softmax_of_qk_over_root_d_times_v_written_out() -> None:
    q, k, v = torch.randn(3, 2, 4, 7, 5, dtype=torch.float64).unbind(0)
    written = torch.zeros_like(q)
    for b in range(2):
        for head in range(4):
            for i in range(7):
                scores = torch.stack([q[b, head, i] @ k[b, head, j] / 5**0.5 for j in range(7)])
                shares = scores.exp() / scores.exp().sum()
                written[b, head, i] = sum(shares[j] * v[b, head, j] for j in range(7))
    torch.testing.assert_close(ScaledDotProduct()(q, k, v), written)
    torch.testing.assert_close(attention_weights(q, k) @ v, written)


def test_self_attention_equals_torch_multihead_attention() -> None:
    ours = SelfAttention(24, 3).double()
    theirs = nn.MultiheadAttention(24, 3, batch_first=True).double()
    initialise(ours, 0)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x = torch.randn(2, 7, 24, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def _permuted(images: torch.Tensor, patch: int) -> torch.Tensor:
    patches = F.unfold(images, patch, stride=patch)
    order = torch.randperm(patches.shape[2], generator=torch.Generator().manual_seed(3))
    return F.fold(patches[:, :, order], images.shape[2:], patch, stride=patch)


def test_without_positions_the_order_of_patches_does_not_matter_to_cls() -> None:
    model = _tiny(position="none").double()
    images = _images().double()
    torch.testing.assert_close(model(images).prefix, model(_permuted(images, 8)).prefix)


@pytest.mark.parametrize("position", ["learned", "sincos"])
def test_with_positions_it_does(position: str) -> None:
    model = _tiny(position=position).double()
    images = _images().double()
    assert (model(images).prefix - model(_permuted(images, 8)).prefix).abs().max() > 1e-6


def _pixels_seen(outputs: torch.Tensor, images: torch.Tensor) -> float:
    gradient = torch.autograd.grad(outputs.sum(), images)[0]
    return float((gradient.abs().sum(dim=(0, 1)) > 0).double().mean())


def test_one_layer_sees_the_whole_image_and_a_convolution_does_not() -> None:
    images = _images().requires_grad_()
    one_layer = _tiny(depth=1)
    corner = one_layer(images).tokens[:, 0]
    assert _pixels_seen(corner.square(), images) == 1.0
    convolution = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    assert _pixels_seen(convolution(images)[:, :, 0, 0].square(), images) < 0.01


def test_features_have_the_shapes_of_the_legend() -> None:
    model = _tiny(registers=3)
    features = model(_images(), pyramid=True)
    assert features.tokens.shape == (2, 16, 24)
    assert features.grid == (4, 4)
    assert features.prefix.shape == (2, 4, 24)
    assert model.prefix_names == ("cls", "register", "register", "register")
    assert [m.shape for m in features.pyramid or ()] == [(2, 24, 32 // s, 32 // s) for s in (2, 4, 8, 16)]
    torch.testing.assert_close(features.pyramid[2][:, :, 1, 2], features.tokens[:, 1 * 4 + 2])


def test_sincos_positions_are_the_published_formula() -> None:
    from vitrail.layers.position import sincos_2d

    table = sincos_2d((3, 5), 16)
    omega = [10_000 ** -(i / 3) for i in range(4)]
    y, x = 2, 4
    written = [f(p * w) for p in (x, y) for f in (torch.sin, torch.cos) for w in map(torch.tensor, omega)]
    torch.testing.assert_close(table[y * 5 + x], torch.stack(written), atol=1e-6, rtol=1e-5)
    assert "pos_embed" not in _tiny(position="sincos").state_dict()


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (24, 48)])
@pytest.mark.parametrize("position", ["learned", "sincos", "none"])
def test_positions_follow_the_image_size(size: tuple[int, int], position: str) -> None:
    model = _tiny(position=position, registers=1)
    model.set_image_size(size)
    features = model(torch.randn(1, 3, *size))
    assert features.grid == (size[0] // 8, size[1] // 8)
    assert features.tokens.shape[1] == features.grid[0] * features.grid[1]


def test_resizing_there_changes_little_and_keeps_cls() -> None:
    model = _tiny()
    smooth = torch.linspace(0, 1, 16).reshape(1, 16, 1).expand(1, 16, 24)
    with torch.no_grad():
        model.pos_embed[:, 1:] = smooth
    cls = model.pos_embed[:, 0].clone()
    model.set_image_size((64, 64))
    model.set_image_size((32, 32))
    torch.testing.assert_close(model.pos_embed[:, 0], cls)
    torch.testing.assert_close(model.pos_embed[:, 1:], smooth, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("size", "patch", "fitting"),
    [
        (65, 16, "64 or 80"),
        ((32, 100), 16, "32 x 96 or 32 x 112"),
        (8, 16, "16"),
        ((16, 8), 16, "16"),
        (32, 5, "30 or 35"),
    ],
)
def test_a_size_that_the_patch_does_not_divide_is_refused_with_sizes_that_fit(size, patch: int, fitting: str) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    with pytest.raises(UsageError) as error:
        _tiny(image_size=size, patch_size=patch)
    expected = f"image size {height} x {width} is not divisible by the patch size {patch}; use {fitting}, or"
    assert str(error.value).startswith(expected)


def test_an_image_of_another_size_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="set_image_size"):
        _tiny()(_images(size=64))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_any_number_of_channels(channels: int) -> None:
    assert _tiny(in_channels=channels)(_images(channels=channels)).tokens.shape == (2, 16, 24)


@pytest.mark.parametrize("pooling", ["cls", "mean", "map"])
def test_every_head_reaches_every_parameter(pooling: str) -> None:
    model = vitrail.create_model(
        "vit_tiny", outputs=3, image_size=32, patch_size=8, depth=2, pooling=pooling, layer_scale=0.1, registers=1
    )
    # one step away from the start, where zero biases and near-zero tokens would hide a gradient
    (model(_images()) * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_stochastic_depth_grows_linearly_and_is_off_in_evaluation() -> None:
    model = _tiny(depth=5, drop_path=0.4)
    assert [block.drop_path.rate for block in model.blocks()] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    model.eval()
    torch.testing.assert_close(model(_images()).tokens, model(_images()).tokens)
    model.train()
    assert not torch.equal(model(_images()).tokens, model(_images()).tokens)


def test_stochastic_depth_keeps_the_expectation() -> None:
    from vitrail.layers.block import DropPath

    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(20_000, 1, 1))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)


def test_undecayed_are_tokens_and_positions() -> None:
    model = _tiny(registers=2)
    assert {id(p) for p in model.undecayed()} == {id(model.cls_token), id(model.registers), id(model.pos_embed)}
    assert len(model.blocks()) == 2
    assert model.stem() is model.patch_embed


def test_the_parallel_block_is_its_equation() -> None:
    """x + MLP(LN(x)) + Attn(LN(x)), queries and keys normalised head by head, no centring: ViT-22B, section 2."""
    block = (
        create_backbone("vit_22b", image_size=16, patch_size=8, width=24, heads=3, hidden=48, depth=1)
        .double()
        .blocks()[0]
    )
    x = torch.randn(2, 5, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def normalised(t: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        return t / (t.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * norm.weight

    with torch.no_grad():
        for norm in (block.norm1, block.attn.q_norm, block.attn.k_norm):
            norm.weight.uniform_(0.5, 2)
        block.attn.proj.bias.uniform_(-1, 1)
        y = normalised(x, block.norm1)
        q, k, v = (part.reshape(2, 5, 3, 8) for part in (y @ block.attn.qkv.weight.T).chunk(3, dim=-1))
        q, k = normalised(q, block.attn.q_norm), normalised(k, block.attn.k_norm)
        shares = (torch.einsum("bqad,bkad->baqk", q, k) / 8**0.5).softmax(dim=-1)
        mixed = torch.einsum("baqk,bkad->bqad", shares, v).flatten(2)
        written = x + mixed @ block.attn.proj.weight.T + block.attn.proj.bias + block.mlp(y)
        torch.testing.assert_close(block(x), written)


def test_normalised_queries_and_keys_bound_the_scores() -> None:
    """However large the projection, no score exceeds sqrt(d): what keeps attention from collapsing in ViT-22B."""
    attention = SelfAttention(24, 3, qk_norm=True)
    initialise(attention, 0)
    seen = []
    attention.core.register_forward_hook(lambda _, given, __: seen.append(given[0] @ given[1].transpose(-2, -1)))
    with torch.no_grad():
        attention.qkv.weight.mul_(1e4)
        attention(torch.randn(2, 7, 24))
    assert float(seen[0].abs().max()) / 8**0.5 <= 8**0.5 * (1 + 1e-5)


def test_stochastic_depth_can_be_the_same_at_every_block() -> None:
    model = _tiny(depth=3, drop_path=0.4, drop_path_rule="constant")
    assert [block.drop_path.rate for block in model.blocks()] == pytest.approx([0.4] * 3)


def test_a_parallel_block_drops_both_branches_or_neither() -> None:
    block = _tiny(depth=1, drop_path=0.5, drop_path_rule="constant", parallel=True).train().blocks()[0]
    x = torch.randn(64, 2, 24)
    torch.manual_seed(0)
    kept = x + 2 * (block.attn(block.norm1(x)) + block.mlp(block.norm1(x)))
    out = block(x)
    untouched = [torch.equal(a, b) for a, b in zip(out, x, strict=True)]
    whole = [torch.allclose(a, b, atol=1e-5) for a, b in zip(out, kept, strict=True)]
    assert all(a != b for a, b in zip(untouched, whole, strict=True))
    assert 0 < sum(whole) < 64
