"""PVT v1 written out from the paper's equations, on plain tensors: an oracle for the split of epsilons.

No public library holds PVT v1 with the authors' two epsilons, so this is the peer. It shares no code with the package:
patches and reductions are cut by `unfold`, attention and LayerNorm are written out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * scale + shift


def patches(maps: Tensor, side: int, kernel: Tensor, bias: Tensor) -> Tensor:
    """Cut (B, C, H, W) into squares and map each linearly: (B, HW / side^2, D)."""
    return F.unfold(maps, side, stride=side).transpose(1, 2) @ kernel.flatten(1).T + bias


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def pvt(
    weights: Mapping[str, Tensor], images: Tensor, *, depths: Sequence[int], heads: Sequence[int],
    ratios: Sequence[int], patch: int, eps: float, reduction_eps: float,
) -> Tensor:  # fmt: skip
    """Logits (B, Y) of the [CLS] token; every side must be divisible by all strides and ratios."""

    def norm(x: Tensor, name: str, epsilon: float) -> Tensor:
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def reduce(x: Tensor, name: str, ratio: int, side: tuple[int, int]) -> Tensor:
        """Equation 3: Norm(Reshape(x, R) W)."""
        if ratio == 1:
            return x
        maps = x.transpose(1, 2).reshape(len(x), -1, *side)
        cut = patches(maps, ratio, weights[f"{name}.sr.weight"], weights[f"{name}.sr.bias"])
        return norm(cut, f"{name}.norm", reduction_eps)

    def attention(x: Tensor, name: str, count: int, ratio: int, side: tuple[int, int]) -> Tensor:
        """Equations 1, 2 and 4, head by head."""
        width = x.shape[-1] // count
        keys_values = linear(reduce(x, name, ratio, side), f"{name}.kv")
        q, k, v = linear(x, f"{name}.q"), *keys_values.chunk(2, dim=-1)
        out = []
        for head in range(count):
            own = slice(head * width, (head + 1) * width)
            scores = (q[..., own] @ k[..., own].transpose(1, 2)) / math.sqrt(width)
            shares = scores.exp() / scores.exp().sum(-1, keepdim=True)
            out.append(shares @ v[..., own])
        return linear(torch.cat(out, dim=-1), f"{name}.proj")

    maps = images
    for stage in range(4):
        stride = patch if stage == 0 else 2
        here = f"backbone.levels.{stage}"
        side = (maps.shape[2] // stride, maps.shape[3] // stride)
        x = patches(maps, stride, weights[f"{here}.patch_embed.proj.weight"], weights[f"{here}.patch_embed.proj.bias"])
        x = norm(x, f"{here}.patch_embed.norm", reduction_eps)
        if stage == 3:
            x = torch.cat([weights["backbone.cls_token"].repeat(len(x), 1, 1), x], dim=1)
        x = x + weights[f"{here}.pos_embed"]
        for block in range(depths[stage]):
            name = f"{here}.blocks.{block}"
            y = norm(x, f"{name}.norm1", eps)
            x = x + attention(y, f"{name}.attn", heads[stage], ratios[stage], side)
            x = x + linear(gelu(linear(norm(x, f"{name}.norm2", eps), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        if stage < 3:
            maps = x.transpose(1, 2).reshape(len(x), -1, *side)
    return linear(norm(x, "backbone.norm", eps)[:, 0], "head.fc")
