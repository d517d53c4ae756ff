"""Google's .npz: google-research/vision_transformer, and google-research/big_vision, whose names differ in a few parts.

Kernels stand as JAX keeps them: dense (in, out), convolutions (H, W, in, out), attention by head (D, A, d). big_vision
may keep all blocks stacked (scan), and adds positions before [CLS] is put in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.layout import Layout, Outgoing, Tensors
from vitrail.checkpoints.positions import POSITIONS
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import HWIO, TRANSPOSED, Table, Transform, Written, rows
from vitrail.checkpoints.tensorfile import write_npz

PREFIXES = ("opt/target/", "params/img/", "params/")
"""What names may begin with: an optimiser's state, a two-tower model, a plain one."""
ATTENTION = "MultiHeadDotProductAttention"
STACKED = "Transformer/encoderblock/"


def _in(parts: int) -> Transform:
    """`parts` kernels (D, A, d) <-> one weight (parts * D, D); or their biases (A, d) <-> (parts * D,)."""

    def read(theirs: Sequence[Tensor], config: Any) -> Sequence[Tensor]:
        flat = [t.flatten(1).T if t.ndim == 3 else t.flatten() for t in theirs]
        return [torch.cat(flat)]

    def write(ours: Sequence[Tensor], config: Any) -> Sequence[Tensor]:
        pieces = ours[0].chunk(parts)
        heads = int(config.heads)  # a pooling's are the encoder's
        return [p.T.reshape(len(p.T), heads, -1) if p.ndim == 2 else p.reshape(heads, -1) for p in pieces]

    return Transform(read, write, "heads joined")


JOINED = Transform(
    lambda theirs, _: [theirs[0].flatten(0, 1).T],
    lambda ours, config: [ours[0].T.reshape(config.heads, -1, len(ours[0]))],
    "heads joined",
)
"""A kernel (A, d, D) <-> a weight (D, D)."""


def _norm(ours: str, theirs: str) -> tuple[Written, ...]:
    return (f"{ours}.weight", f"{theirs}/scale"), (f"{ours}.bias", f"{theirs}/bias")


def _dense(ours: str, theirs: str) -> tuple[Written, ...]:
    return (f"{ours}.weight", f"{theirs}/kernel", TRANSPOSED), (f"{ours}.bias", f"{theirs}/bias")


def _attention(ours: str, theirs: str, pool: bool = False) -> tuple[Written, ...]:
    """Attention of ours, whose queries stand apart in a pooling."""
    made: list[Written] = []
    groups = {"q": ("query",), "kv": ("key", "value")} if pool else {"qkv": ("query", "key", "value")}
    for own, parts in groups.items():
        for last, leaf in (("weight", "kernel"), ("bias", "bias")):
            made.append((f"{ours}.{own}.{last}", tuple(f"{theirs}/{p}/{leaf}" for p in parts), _in(len(parts))))
    made.append((f"{ours}.proj.weight", f"{theirs}/out/kernel", JOINED))
    made.append((f"{ours}.proj.bias", f"{theirs}/out/bias"))
    return tuple(made)


def _table(attention: str, norm2: str, mlp: str, positions: str) -> tuple[Written, ...]:
    ours, theirs = "backbone.encoder.{i}", "Transformer/encoderblock_{i}"
    pool, map_head = "head.pool", "MAPHead_0"
    return (
        ("backbone.patch_embed.proj.weight", "embedding/kernel", HWIO),
        ("backbone.patch_embed.proj.bias", "embedding/bias"),
        ("backbone.cls_token", "cls"),
        ("backbone.pos_embed", positions, POSITIONS),
        *_norm(f"{ours}.norm1", f"{theirs}/LayerNorm_0"),
        *_attention(f"{ours}.attn", f"{theirs}/{attention}"),
        *_norm(f"{ours}.norm2", f"{theirs}/{norm2}"),
        *_dense(f"{ours}.mlp.fc1", f"{theirs}/{mlp}/Dense_0"),
        *_dense(f"{ours}.mlp.fc2", f"{theirs}/{mlp}/Dense_1"),
        *_norm("backbone.norm", "Transformer/encoder_norm"),
        (f"{pool}.probe", f"{map_head}/probe"),
        *_attention(pool, f"{map_head}/{ATTENTION}_0", pool=True),
        *_norm(f"{pool}.norm", f"{map_head}/LayerNorm_0"),
        *_dense(f"{pool}.mlp.fc1", f"{map_head}/MlpBlock_0/Dense_0"),
        *_dense(f"{pool}.mlp.fc2", f"{map_head}/MlpBlock_0/Dense_1"),
        *_dense("head.fc", "head"),
    )


IN_BLOCK = "Transformer/encoderblock_{i}/"
TABLES = (
    Table(
        "vit",
        rows(*_table(f"{ATTENTION}_1", "LayerNorm_2", "MlpBlock_3", "Transformer/posembed_input/pos_embedding")),
        needs=("embedding/kernel", f"{IN_BLOCK}{ATTENTION}_1/query/kernel"),
        head=("pre_logits/kernel", "pre_logits/bias"),
        keep=lambda config: config.cls and config.cls_position,
    ),
    Table(
        "vit",
        rows(*_table(f"{ATTENTION}_0", "LayerNorm_1", "MlpBlock_0", "pos_embedding")),
        needs=("embedding/kernel", f"{IN_BLOCK}{ATTENTION}_0/query/kernel"),
        keep=lambda config: not (config.cls and config.cls_position),
    ),
)  # fmt: skip


def prepare(bundle: Bundle) -> Tensors:
    """Names without a common prefix, and blocks that were stacked for a scan one by one."""
    tensors = dict(bundle.tensors)
    for prefix in PREFIXES:
        if any(name.startswith(f"{prefix}embedding/") for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(STACKED) and tensor.ndim:
            for i, layer in enumerate(tensor):
                whole[f"Transformer/encoderblock_{i}/{name.removeprefix(STACKED)}"] = layer
        else:
            whole[name] = tensor
    return whole


def refuses(family: str, config: Any) -> str:
    """A file of tensors alone cannot say what pools where there is a [CLS]."""
    return f"pooling={config.pooling} beside a [CLS] token" if config.cls and config.pooling != "cls" else ""


def write(out: Outgoing, dest: Path) -> Sequence[Path]:
    """One .npz: vision_transformer's names for a model with [CLS], big_vision's for one without."""
    write_npz(dest, {name: tensor.float().contiguous() for name, tensor in out.tensors.items()})
    return [dest]


LAYOUT = Layout(
    name="google",
    title="Google .npz",
    tables=TABLES,
    fixed={
        "vit": {
            "eps": 1e-6, "activation": "gelu_tanh", "registers": 0, "position": "learned", "layer_scale": 0.0,
            "qkv_bias": True, "qk_norm": False, "parallel": False, "norm": "layer",
        }
    },
    write=write,
    prepare=prepare,
    refuses=refuses,
    suffix=".npz",
    containers=("npz",),
)  # fmt: skip
"""Epsilon is Flax's default, and its `nn.gelu` the tanh approximation."""
