"""The .pth files of the papers' own repositories: facebookresearch/deit, microsoft/Swin-Transformer, whai362/PVT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vitrail.checkpoints.identify import row_of
from vitrail.checkpoints.layout import Layout, Outgoing
from vitrail.checkpoints.layouts import timm
from vitrail.checkpoints.positions import grids_that_windows_divide
from vitrail.checkpoints.table import Row, Table, rows

DEIT = (
    *rows(
        ("backbone.encoder.{i}.scale1.gamma", "blocks.{i}.gamma_1"),
        ("backbone.encoder.{i}.scale2.gamma", "blocks.{i}.gamma_2"),
    ),
    *(row for row in timm.VIT if "gamma" not in row.ours[0]),  # timm's names are DeiT's
)


def _swin() -> tuple[Row, ...]:
    """timm moved the merging of patches to the stage after it, and the head into a module."""
    moved = rows(("backbone.levels.{s}.downsample.**", "layers.{s-1}.downsample.**"), ("head.fc.*", "head.*"))
    kept = (row for row in timm.SWIN if "downsample" not in row.ours[0] and "head" not in row.ours[0])
    return (*moved, *kept)


PVT = rows(
    ("backbone.levels.{s}.patch_embed.**", "patch_embed{s+1}.**"),
    ("backbone.levels.{s}.pos_embed", "pos_embed{s+1}"),
    ("backbone.cls_token", "cls_token"),
    ("backbone.levels.{s}.blocks.{b}.**", "block{s+1}.{b}.**"),
    ("backbone.norm.*", "norm.*"),
    ("head.fc.*", "head.*"),
)
PVT_V2 = rows(
    ("backbone.levels.{s}.patch_embed.**", "patch_embed{s+1}.**"),
    ("backbone.levels.{s}.blocks.{b}.mlp.dwconv.*", "block{s+1}.{b}.mlp.dwconv.dwconv.*"),
    ("backbone.levels.{s}.blocks.{b}.**", "block{s+1}.{b}.**"),
    ("backbone.levels.{s}.norm.*", "norm{s+1}.*"),
    ("head.fc.*", "head.*"),
)
IN_BLOCKS = timm.IN_BLOCKS
TABLES = (
    Table("deit", DEIT, needs=("blocks.{i}.attn.qkv.weight", "patch_embed.proj.weight"),
          lacks=("reg_token", "attn_pool.**", "blocks.{i}.ls1.gamma")),
    Table("swin", _swin(), (f"{IN_BLOCKS}relative_position_bias_table", "layers.0.downsample.**"), (), timm.COMPUTED),
    Table("swin_v2", _swin(), (f"{IN_BLOCKS}logit_scale", "layers.0.downsample.**"), (), timm.COMPUTED),
    Table("pvt", PVT, needs=("block1.{b}.attn.kv.weight", "pos_embed1")),
    Table("pvt_v2", PVT_V2, needs=("block1.{b}.attn.kv.weight", "block1.{b}.mlp.dwconv.dwconv.weight")),
)  # fmt: skip


def refuses(family: str, config: Any) -> str:
    """A file of tensors alone says neither pooling nor what is done at sizes that windows do not divide."""
    usual = "cls" if family in ("deit", "pvt") else "mean"
    if config.pooling != usual:
        return f"pooling={config.pooling}"
    if family == "swin_v2" and "pretrained_window" in row_of(family, config)[1]:
        return f"pretrained_window={config.pretrained_window}, which its scripts read from a config of their own"
    return grids_that_windows_divide(config, clamped=family == "swin_v2") if family in ("swin", "swin_v2") else ""


def write(out: Outgoing, dest: Path) -> Sequence[Path]:
    """A .pth with the tensors under "model", as the repositories' own scripts save and load it."""
    torch.save({"model": dict(out.tensors)}, dest)
    return [dest]


LAYOUT = Layout(
    name="official",
    title="the papers' own .pth",
    tables=TABLES,
    fixed={
        "deit": {
            "eps": 1e-6,
            "activation": "gelu",
            "qkv_bias": True,
            "cls": True,
            "registers": 0,
            "position": "learned",
            "qk_norm": False,
            "parallel": False,
            "norm": "layer",
        },
        "swin": timm.FIXED["swin"],
        "swin_v2": timm.FIXED["swin_v2"],
        "pvt": {"eps": 1e-6, "reduction_eps": 1e-5, "activation": "gelu"},
        "pvt_v2": timm.FIXED["pvt_v2"],
    },
    write=write,
    refuses=refuses,
    suffix=".pth",
    containers=("pickle",),
)
