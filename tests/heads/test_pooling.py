"""From tokens to one vector."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import vitrail
from vitrail.contracts import Features
from vitrail.errors import UsageError
from vitrail.heads.pooling import ClsPooling, MapPooling, MeanPooling, pooling
from vitrail.layers.initialise import initialise
from vitrail.models import create_backbone


def _features() -> Features:
    torch.manual_seed(0)
    return Features(torch.randn(2, 6, 8), (2, 3), torch.randn(2, 2, 8))


def test_cls_is_the_first_prefix_token_and_mean_the_patches_alone() -> None:
    features = _features()
    assert torch.equal(ClsPooling()(features), features.prefix[:, 0])
    torch.testing.assert_close(MeanPooling()(features), features.tokens.sum(1) / 6)


def test_attention_pooling_is_the_paper_written_out() -> None:
    pool = MapPooling(8, 2, 16)
    initialise(pool, 0)
    x = _features().tokens
    q, (k, v) = pool.q(pool.probe)[0, 0], pool.kv(x).chunk(2, dim=-1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        shares = (k[..., head] @ q[head] / 2).softmax(dim=1)  # sqrt(d) = 2
        heads.append((shares[..., None] * v[..., head]).sum(dim=1))
    y = pool.proj(torch.cat(heads, dim=-1))
    expected = y + pool.mlp.fc2(F.gelu(pool.mlp.fc1(pool.norm(y))))
    torch.testing.assert_close(pool(_features()), expected)


def test_attention_pooling_equals_timm() -> None:
    timm_layers = pytest.importorskip("timm.layers", reason="needs timm, the reference implementation")
    theirs = timm_layers.AttentionPoolLatent(8, num_heads=2, mlp_ratio=2, norm_layer=torch.nn.LayerNorm)
    pool = MapPooling(8, 2, 16, eps=theirs.norm.eps)
    initialise(pool, 0)
    theirs.load_state_dict({k.replace("probe", "latent"): v for k, v in pool.state_dict().items()})
    torch.testing.assert_close(pool(_features()), theirs(_features().tokens))


def test_cls_pooling_without_a_cls_token_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="CLS"):
        vitrail.create_model("vit_tiny", outputs=2, cls=False)


def test_an_unknown_pooling_is_offered_the_nearest() -> None:
    with pytest.raises(UsageError, match="'mean'"):
        pooling("meen", create_backbone("vit_tiny", image_size=16, depth=1))


def test_attention_pooling_is_made_as_the_encoders_blocks_are() -> None:
    encoder = create_backbone(
        "vit_tiny", image_size=16, depth=1, width=24, heads=3, hidden=40, eps=1e-3, activation="gelu_tanh", norm="rms"
    )
    pool = pooling("map", encoder)
    assert pool.heads == 3
    assert pool.mlp.fc1.out_features == 40
    assert pool.mlp.activation == "gelu_tanh"
    assert isinstance(pool.norm, torch.nn.RMSNorm)
    assert pool.norm.eps == 1e-3


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (768, 12), (24, 1)])
def test_attention_pooling_has_heads_of_64_where_no_block_says_more(width: int, heads: int) -> None:
    pool = pooling("map", SimpleNamespace(width=width, prefix_names=()))
    assert pool.heads == heads
    assert pool.mlp.fc1.out_features == 4 * width


def test_a_model_without_cls_pools_its_patches() -> None:
    model = vitrail.create_model("vit_tiny", outputs=2, cls=False, pooling="mean", image_size=16, patch_size=8, depth=1)
    assert model(torch.randn(1, 3, 16, 16)).shape == (1, 2)
