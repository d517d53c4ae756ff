"""One vector for the whole image: from [CLS], from the mean of the patches, weighted, or by asking for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from vitrail.contracts import Backbone, Features
from vitrail.errors import UsageError, unknown
from vitrail.layers.attention import AttentionLayout, ScaledDotProduct
from vitrail.layers.block import Activation, BlockShape, Mlp, OfBlocks
from vitrail.layers.initialise import Draw, truncated_normal
from vitrail.layers.norm import Norm, normalise

POOLINGS = ("cls", "mean", "map", "seq")
HEAD_WIDTH = 64
"""d of attention pooling where the backbone's blocks say nothing of it, as in ViT's encoders up to L."""


class ClsPooling(nn.Module):
    """The [CLS] token: Features -> (B, D)."""

    def forward(self, features: Features) -> Tensor:
        return features.prefix[:, 0]


class MeanPooling(nn.Module):
    """The mean of the patch tokens: Features -> (B, D)."""

    def forward(self, features: Features) -> Tensor:
        return features.tokens.mean(dim=1)


class MapPooling(nn.Module):
    """Multi-head attention pooling (MAP): a learned probe asks all patches, then an MLP with a residual.

    Features -> (B, D). Set Transformer (arXiv 1810.00825), as used by Zhai et al. 2022 (arXiv 2106.04560); heads,
    hidden width, norm and activation are those of the encoder's blocks, as in big_vision.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, eps: float = 1e-6, activation: Activation = "gelu",
        norm: Norm = "layer",
    ) -> None:  # fmt: skip
        super().__init__()
        assert width % heads == 0, "heads are chosen to divide the width"
        self.heads = heads
        self.probe = nn.Parameter(torch.empty(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.core = ScaledDotProduct()
        self.proj = nn.Linear(width, width)
        self.norm = normalise(norm, width, eps)
        self.mlp = Mlp(width, hidden, activation)

    def forward(self, features: Features) -> Tensor:
        x = features.tokens  # (B, N, D)
        q = self.q(self.probe.expand(len(x), -1, -1)).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, A, 1, d)
        k, v = self.kv(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, A, N, d)
        y = self.proj(self.core(q, k, v, None).transpose(1, 2).flatten(2))  # (B, 1, D)
        pooled: Tensor = (y + self.mlp(self.norm(y)))[:, 0]  # (B, D)
        return pooled

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """One query that stands nowhere, one key a cell."""
        return AttentionLayout(grid, prefix_queries=1, prefix_keys=0)

    def initialisers(self) -> Mapping[str, Draw]:
        return {"probe": truncated_normal(0.02)}

    def undecayed(self) -> Iterator[nn.Parameter]:
        """The probe is a token."""
        yield self.probe


class SequencePooling(nn.Module):
    """The mean of the patch tokens, weighted by what each says of its own weight: Features -> (B, D).

    One linear layer gives a token its score, a softmax over the N patches its weight (SeqPool of CCT, arXiv 2104.05704,
    equations 3 to 5). It is attention with the layer's weights for a query and the tokens for keys and values, and is
    computed as that: whoever looks at attention sees it. The layer has no bias, which the softmax would not notice.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        self.core = ScaledDotProduct()

    def forward(self, features: Features) -> Tensor:
        x = features.tokens[:, None]  # (B, 1, N, D)
        query = (self.score.weight * x.shape[-1] ** 0.5).to(x.dtype)  # the core divides by sqrt(D)
        pooled: Tensor = self.core(query.expand(len(x), 1, 1, -1), x, x, None)[:, 0, 0]  # (B, D)
        return pooled

    def layout(self, grid: tuple[int, int]) -> AttentionLayout:
        """One query that stands nowhere, one key a cell."""
        return AttentionLayout(grid, prefix_queries=1, prefix_keys=0)


def pooling(kind: str, backbone: Backbone) -> nn.Module:
    """The pooling of that name, of POOLINGS; UsageError for another name, or for "cls" where there is no [CLS]."""
    if kind not in POOLINGS:
        raise unknown("pooling", kind, POOLINGS)
    if kind == "cls":
        if "cls" not in backbone.prefix_names:
            raise UsageError("pooling=cls needs a [CLS] token, which this model has not: use mean, seq or map")
        return ClsPooling()
    if kind == "map":
        shape = backbone.block_shape() if isinstance(backbone, OfBlocks) else _as_in_vit(backbone.width)
        return MapPooling(shape.width, shape.heads, shape.hidden, shape.eps, shape.activation, shape.norm)
    return SequencePooling(backbone.width) if kind == "seq" else MeanPooling()


def _as_in_vit(width: int) -> BlockShape:
    """A block of a ViT of that width, for tokens that come from blocks of another kind."""
    return BlockShape(width, width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1, 4 * width)
