"""torchvision: a state dict in a .pth file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.layout import Claims, Layout, Outgoing
from vitrail.checkpoints.positions import POSITIONS, grids_that_windows_divide
from vitrail.checkpoints.preprocessing import checked
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import Table, Transform, rows

LAYER = "encoder.layers.encoder_layer_{i}"
VIT = rows(
    ("backbone.patch_embed.proj.*", "conv_proj.*"),
    ("backbone.cls_token", "class_token"),
    ("backbone.pos_embed", "encoder.pos_embedding", POSITIONS),
    ("backbone.encoder.{i}.norm1.*", f"{LAYER}.ln_1.*"),
    ("backbone.encoder.{i}.attn.qkv.weight", f"{LAYER}.self_attention.in_proj_weight"),
    ("backbone.encoder.{i}.attn.qkv.bias", f"{LAYER}.self_attention.in_proj_bias"),
    ("backbone.encoder.{i}.attn.proj.*", f"{LAYER}.self_attention.out_proj.*"),
    ("backbone.encoder.{i}.norm2.*", f"{LAYER}.ln_2.*"),
    ("backbone.encoder.{i}.mlp.fc1.*", f"{LAYER}.mlp.0.*"),
    ("backbone.encoder.{i}.mlp.fc2.*", f"{LAYER}.mlp.3.*"),
    ("backbone.norm.*", "encoder.ln.*"),
    ("head.fc.*", "heads.head.*"),
)


def _without_key_bias(theirs: Sequence[Tensor], config: Any) -> Sequence[Tensor]:
    """The middle third is the keys' bias, which torchvision's forward sets to zero."""
    q, _, v = theirs[0].chunk(3)
    return [q, v]


QUERY_AND_VALUE = Transform(
    _without_key_bias,
    lambda ours, _: [torch.cat([ours[0], torch.zeros_like(ours[0]), ours[1]])],
    "bias of the keys is zero",
)

BLOCK, THEIRS = "backbone.levels.{s}.blocks.{b}", "features.{2s+1}.{b}"
SWIN = rows(
    ("backbone.patch_embed.proj.*", "features.0.0.*"),
    ("backbone.patch_embed.norm.*", "features.0.2.*"),
    ("backbone.levels.{s}.downsample.**", "features.{2s}.**"),
    (f"{BLOCK}.norm1.*", f"{THEIRS}.norm1.*"),
    ((f"{BLOCK}.attn.q_bias", f"{BLOCK}.attn.v_bias"), f"{THEIRS}.attn.qkv.bias", QUERY_AND_VALUE),
    (f"{BLOCK}.attn.qkv.*", f"{THEIRS}.attn.qkv.*"),
    (f"{BLOCK}.attn.proj.*", f"{THEIRS}.attn.proj.*"),
    (f"{BLOCK}.attn.bias_table", f"{THEIRS}.attn.relative_position_bias_table"),
    (f"{BLOCK}.attn.logit_scale", f"{THEIRS}.attn.logit_scale"),
    (f"{BLOCK}.attn.cpb.fc1.*", f"{THEIRS}.attn.cpb_mlp.0.*"),
    (f"{BLOCK}.attn.cpb.fc2.*", f"{THEIRS}.attn.cpb_mlp.2.*"),
    (f"{BLOCK}.norm2.*", f"{THEIRS}.norm2.*"),
    (f"{BLOCK}.mlp.fc1.*", f"{THEIRS}.mlp.0.*"),
    (f"{BLOCK}.mlp.fc2.*", f"{THEIRS}.mlp.3.*"),
    ("backbone.norm.*", "norm.*"),
    ("head.fc.*", "head.*"),
)
SWIN_V1 = tuple(row for row in SWIN if row.how is not QUERY_AND_VALUE)
RESNET = rows(
    ("backbone.body.conv1.*", "conv1.*"),
    ("backbone.body.bn1.*", "bn1.*"),
    ("backbone.body.layer{n}.**", "layer{n}.**"),
    ("head.fc.*", "fc.*"),
)
CONVNEXT = rows(
    ("backbone.body.features.**", "features.**"),
    ("backbone.norm.*", "classifier.0.*"),
    ("head.fc.*", "classifier.2.*"),
)
COMPUTED = (f"{THEIRS}.attn.relative_position_index", f"{THEIRS}.attn.relative_coords_table")
TABLES = (
    Table("vit", VIT, needs=(f"{LAYER}.self_attention.in_proj_weight",)),
    Table("swin", SWIN_V1, (f"{THEIRS}.attn.relative_position_bias_table",), (), COMPUTED),
    Table("swin_v2", SWIN, (f"{THEIRS}.attn.logit_scale",), (), COMPUTED),
    Table("resnet", RESNET, needs=("conv1.weight", "layer1.{b}.conv1.weight")),
    Table("convnext", CONVNEXT, needs=("features.{s}.{b}.layer_scale",)),
)


def written_buffers(family: str, config: Any) -> dict[str, Tensor]:
    """What torchvision keeps in its state dict though it is computed: the index of each pair's offset, flattened."""
    made: dict[str, Tensor] = {}
    if family not in ("swin", "swin_v2"):
        return made
    window = config.window
    across = torch.arange(window)
    rows_, columns = (axis.flatten() for axis in torch.meshgrid(across, across, indexing="ij"))
    down = rows_[:, None] - rows_[None, :] + window - 1  # (T, T)
    right = columns[:, None] - columns[None, :] + window - 1
    index = (down * (2 * window - 1) + right).flatten()  # (T * T,)
    for level, depth in enumerate(config.depths):
        for block in range(depth):
            name = f"features.{2 * level + 1}.{block}.attn"
            made[f"{name}.relative_position_index"] = index.clone()
            if family == "swin_v2":
                made[f"{name}.relative_coords_table"] = _coordinates(window)
    return made


def _coordinates(window: int) -> Tensor:
    """Offsets on a logarithmic scale, (1, 2w - 1, 2w - 1, 2): Swin V2, equation 4, scaled as the official code does."""
    offsets = torch.arange(-(window - 1), window, dtype=torch.float32)
    table = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1)[None]
    table = table / (window - 1) * 8
    return torch.sign(table) * torch.log2(table.abs() + 1.0) / 3.0


def refuses(family: str, config: Any) -> str:
    """A state dict alone says neither pooling nor what is done at sizes that windows do not divide."""
    usual = "cls" if family == "vit" else "mean"
    if config.pooling != usual:
        return f"pooling={config.pooling}"
    if family == "swin_v2" and config.pretrained_window:
        return f"pretrained_window={config.pretrained_window}"
    return grids_that_windows_divide(config) if family in ("swin", "swin_v2") else ""


def write(out: Outgoing, dest: Path) -> Sequence[Path]:
    """A state dict, for `model.load_state_dict(torch.load(DEST, weights_only=True))`."""
    torch.save({**out.tensors, **written_buffers(out.family, out.config)}, dest)
    return [dest]


def claims(bundle: Bundle) -> Claims:
    """What torchvision's metadata says of weights that were asked for by name; a file alone says nothing."""
    known = bundle.config.get("torchvision")
    if not known:
        return Claims()
    prepared = checked(dict(known["preprocess"]), "torchvision's metadata")
    return Claims(labels=tuple(known["labels"]), preprocess=prepared)


RESNET_FIXED: Mapping[str, Any] = {"eps": 1e-5, "width": 64, "patch_size": 4}
"""The stem for ImageNet: a 7 x 7 convolution and pooling."""

LAYOUT = Layout(
    name="torchvision",
    title="torchvision",
    tables=TABLES,
    fixed={
        "vit": {
            "eps": 1e-6, "activation": "gelu", "cls": True, "registers": 0, "position": "learned", "layer_scale": 0.0,
            "qkv_bias": True, "cls_position": True, "qk_norm": False, "parallel": False, "norm": "layer",
        },
        "swin": {"eps": 1e-5, "activation": "gelu", "mlp_ratio": 4.0},
        "swin_v2": {"eps": 1e-5, "activation": "gelu", "mlp_ratio": 4.0},
        "resnet": RESNET_FIXED,
        "convnext": {"eps": 1e-6, "final_eps": None, "activation": "gelu", "patch_size": 4},
    },
    write=write,
    read=claims,
    refuses=refuses,
    suffix=".pth",
    containers=("pickle",),
)  # fmt: skip
