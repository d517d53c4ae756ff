"""Hugging Face transformers: model.safetensors, config.json, preprocessor_config.json.

Written with the names that `save_pretrained` writes (those of version 4); read with those of version 5's modules, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from vitrail.checkpoints import transformers_config as configs
from vitrail.checkpoints.layout import Claims, Layout, Outgoing, Tensors
from vitrail.checkpoints.layouts.timm import FLAT
from vitrail.checkpoints.positions import POSITIONS
from vitrail.checkpoints.preprocessing import from_transformers, side_of, to_transformers
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import Row, Table, Written, rows, split


def _encoder(prefix: str, block: str, parts: Mapping[str, str]) -> tuple[Written, ...]:
    """ViT and DeiT differ in a prefix, version 4 and 5 in the names within a block."""
    ours = "backbone.encoder.{i}"
    qkv = tuple(f"{block}.{parts[p]}.*" for p in "qkv")
    return (
        ("backbone.patch_embed.proj.*", f"{prefix}.embeddings.patch_embeddings.projection.*"),
        ("backbone.cls_token", f"{prefix}.embeddings.cls_token"),
        ("backbone.dist_token", f"{prefix}.embeddings.distillation_token"),
        ("backbone.pos_embed", f"{prefix}.embeddings.position_embeddings", POSITIONS),
        (f"{ours}.norm1.*", f"{block}.layernorm_before.*"),
        (f"{ours}.attn.qkv.*", qkv, split(3)),
        (f"{ours}.attn.proj.*", f"{block}.{parts['out']}.*"),
        (f"{ours}.norm2.*", f"{block}.layernorm_after.*"),
        (f"{ours}.mlp.fc1.*", f"{block}.{parts['fc1']}.*"),
        (f"{ours}.mlp.fc2.*", f"{block}.{parts['fc2']}.*"),
        ("backbone.norm.*", f"{prefix}.layernorm.*"),
    )


def _plain(config: Any) -> bool:
    return not getattr(config, "distilled", False)


V4 = {
    "q": "attention.attention.query", "k": "attention.attention.key", "v": "attention.attention.value",
    "out": "attention.output.dense", "fc1": "intermediate.dense", "fc2": "output.dense",
}  # fmt: skip
V5 = {
    "q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "out": "attention.o_proj",
    "fc1": "mlp.fc1", "fc2": "mlp.fc2",
}  # fmt: skip
PLAIN_HEAD: tuple[Written, ...] = (("head.fc.*", "classifier.*"),)
TWO_HEADS: tuple[Written, ...] = (("head.fc.*", "cls_classifier.*"), ("head.fc_dist.*", "distillation_classifier.*"))


def _swin(name: str, parts: Mapping[str, str]) -> tuple[Row, ...]:
    ours, theirs = "backbone.levels.{s}.blocks.{b}", f"{name}.encoder.layers.{{s}}.blocks.{{b}}"
    q, k, v = (f"{theirs}.{parts[p]}" for p in "qkv")
    return rows(
        ("backbone.patch_embed.proj.*", f"{name}.embeddings.patch_embeddings.projection.*"),
        ("backbone.patch_embed.norm.*", f"{name}.embeddings.norm.*"),
        ("backbone.levels.{s}.downsample.**", f"{name}.encoder.layers.{{s-1}}.downsample.**"),
        (f"{ours}.norm1.*", f"{theirs}.layernorm_before.*"),
        (f"{ours}.attn.q_bias", f"{q}.bias"),
        (f"{ours}.attn.v_bias", f"{v}.bias"),
        (f"{ours}.attn.qkv.*", (f"{q}.*", f"{k}.*", f"{v}.*"), split(3)),
        (f"{ours}.attn.proj.*", f"{theirs}.{parts['out']}.*"),
        (f"{ours}.attn.bias_table", f"{theirs}.{parts['table']}"),
        (f"{ours}.attn.logit_scale", f"{theirs}.{parts['scale']}"),
        (f"{ours}.attn.cpb.fc1.*", f"{theirs}.{parts['cpb']}.{parts['cpb1']}.*"),
        (f"{ours}.attn.cpb.fc2.*", f"{theirs}.{parts['cpb']}.{parts['cpb2']}.*"),
        (f"{ours}.norm2.*", f"{theirs}.layernorm_after.*"),
        (f"{ours}.mlp.fc1.*", f"{theirs}.{parts['fc1']}.*"),
        (f"{ours}.mlp.fc2.*", f"{theirs}.{parts['fc2']}.*"),
        ("backbone.norm.*", f"{name}.layernorm.*"),
        *PLAIN_HEAD,
    )


def _without_biases_apart(table: tuple[Row, ...]) -> tuple[Row, ...]:
    """v1 has one bias for q, k, v; in v2 those of q and v stand apart and k has none."""
    return tuple(row for row in table if not row.ours[0].endswith(("q_bias", "v_bias")))


SWIN_V4 = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "out": "attention.output.dense", "table": "attention.self.relative_position_bias_table",
    "scale": "attention.self.logit_scale", "cpb": "attention.self.continuous_position_bias_mlp", "cpb1": "0",
    "cpb2": "2", "fc1": "intermediate.dense", "fc2": "output.dense",
}  # fmt: skip
SWIN_V5 = {
    "q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "out": "attention.o_proj",
    "table": "attention.relative_position_bias.relative_position_bias_table", "scale": "attention.logit_scale",
    "cpb": "attention.continuous_position_bias_mlp", "cpb1": "0", "cpb2": "2", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
}  # fmt: skip


def _pvt() -> tuple[Row, ...]:
    ours, theirs = "backbone.levels.{s}.blocks.{b}", "pvt.encoder.block.{s}.{b}"
    inner = f"{theirs}.attention.self"
    return rows(
        ("backbone.levels.{s}.patch_embed.proj.*", "pvt.encoder.patch_embeddings.{s}.projection.*"),
        ("backbone.levels.{s}.patch_embed.norm.*", "pvt.encoder.patch_embeddings.{s}.layer_norm.*"),
        ("backbone.levels.{s}.pos_embed", "pvt.encoder.patch_embeddings.{s}.position_embeddings"),
        ("backbone.cls_token", "pvt.encoder.patch_embeddings.3.cls_token"),
        (f"{ours}.norm1.*", f"{theirs}.layer_norm_1.*"),
        (f"{ours}.attn.q.*", f"{inner}.query.*"),
        (f"{ours}.attn.kv.*", (f"{inner}.key.*", f"{inner}.value.*"), split(2)),
        (f"{ours}.attn.sr.*", f"{inner}.sequence_reduction.*"),
        (f"{ours}.attn.norm.*", f"{inner}.layer_norm.*"),
        (f"{ours}.attn.proj.*", f"{theirs}.attention.output.dense.*"),
        (f"{ours}.norm2.*", f"{theirs}.layer_norm_2.*"),
        (f"{ours}.mlp.fc1.*", f"{theirs}.mlp.dense1.*"),
        (f"{ours}.mlp.fc2.*", f"{theirs}.mlp.dense2.*"),
        ("backbone.norm.*", "pvt.encoder.layer_norm.*"),
        *PLAIN_HEAD,
    )


def _pvt_v2() -> tuple[Row, ...]:
    ours, theirs = "backbone.levels.{s}.blocks.{b}", "pvt_v2.encoder.layers.{s}.blocks.{b}"
    level = "pvt_v2.encoder.layers.{s}"
    return rows(
        ("backbone.levels.{s}.patch_embed.proj.*", f"{level}.patch_embedding.proj.*"),
        ("backbone.levels.{s}.patch_embed.norm.*", f"{level}.patch_embedding.layer_norm.*"),
        (f"{ours}.norm1.*", f"{theirs}.layer_norm_1.*"),
        (f"{ours}.attn.q.*", f"{theirs}.attention.query.*"),
        (f"{ours}.attn.kv.*", (f"{theirs}.attention.key.*", f"{theirs}.attention.value.*"), split(2)),
        (f"{ours}.attn.sr.*", f"{theirs}.attention.spatial_reduction.*"),
        (f"{ours}.attn.norm.*", f"{theirs}.attention.layer_norm.*"),
        (f"{ours}.attn.proj.*", f"{theirs}.attention.proj.*"),
        (f"{ours}.norm2.*", f"{theirs}.layer_norm_2.*"),
        (f"{ours}.mlp.fc1.*", f"{theirs}.mlp.dense1.*"),
        (f"{ours}.mlp.dwconv.*", f"{theirs}.mlp.dwconv.dwconv.*"),
        (f"{ours}.mlp.fc2.*", f"{theirs}.mlp.dense2.*"),
        ("backbone.levels.{s}.norm.*", f"{level}.layer_norm.*"),
        *PLAIN_HEAD,
    )


def _resnet() -> tuple[Row, ...]:
    """A block's convolutions are numbered from 0, each with its norm; ours from 1, side by side."""
    ours, theirs = "backbone.body.layer{s+1}.{b}", "resnet.encoder.stages.{s}.layers.{b}"
    stem = "resnet.embedder.embedder"
    return rows(
        ("backbone.body.conv1.*", f"{stem}.convolution.*"),
        ("backbone.body.bn1.*", f"{stem}.normalization.*"),
        (f"{ours}.conv{{n+1}}.*", f"{theirs}.layer.{{n}}.convolution.*"),
        (f"{ours}.bn{{n+1}}.*", f"{theirs}.layer.{{n}}.normalization.*"),
        (f"{ours}.downsample.0.*", f"{theirs}.shortcut.convolution.*"),
        (f"{ours}.downsample.1.*", f"{theirs}.shortcut.normalization.*"),
        ("head.fc.*", "classifier.1.*"),
    )


def _convnext() -> tuple[Row, ...]:
    ours, theirs = "backbone.body.features.{2s+1}.{b}", "convnext.encoder.stages.{s}.layers.{b}"
    return rows(
        ("backbone.body.features.0.0.*", "convnext.embeddings.patch_embeddings.*"),
        ("backbone.body.features.0.1.*", "convnext.embeddings.layernorm.*"),
        ("backbone.body.features.{2s}.**", "convnext.encoder.stages.{s}.downsampling_layer.**"),
        (f"{ours}.block.0.*", f"{theirs}.dwconv.*"),
        (f"{ours}.block.2.*", f"{theirs}.layernorm.*"),
        (f"{ours}.block.3.*", f"{theirs}.pwconv1.*"),
        (f"{ours}.block.5.*", f"{theirs}.pwconv2.*"),
        (f"{ours}.layer_scale", f"{theirs}.layer_scale_parameter", FLAT),
        ("backbone.norm.*", "convnext.layernorm.*"),
        *PLAIN_HEAD,
    )


VIT_V4 = rows(*_encoder("vit", "vit.encoder.layer.{i}", V4), *PLAIN_HEAD)
VIT_V5 = rows(*_encoder("vit", "vit.layers.{i}", V5), *PLAIN_HEAD)
DEIT_V4 = rows(*_encoder("deit", "deit.encoder.layer.{i}", V4), *TWO_HEADS)
DEIT_V5 = rows(*_encoder("deit", "deit.layers.{i}", V5), *TWO_HEADS)
IN_V4, IN_V5 = "encoder.layer.{i}.attention.attention.query.weight", "layers.{i}.attention.q_proj.weight"
POOLED, ONE_OF_TWO = "pooler.dense.*", "classifier.*"
IN_SWIN = "encoder.layers.{s}.blocks.{b}"
INDEX, COORDINATES = "attention.self.relative_position_index", "attention.self.relative_coords_table"
TABLES = (
    Table("vit", VIT_V4, (f"vit.{IN_V4}",), head=(f"vit.{POOLED}",)),
    Table("vit", VIT_V5, (f"vit.{IN_V5}",), head=(f"vit.{POOLED}",)),
    Table("deit", VIT_V4, (f"vit.{IN_V4}",), head=(f"vit.{POOLED}",), keep=_plain),
    Table("deit", VIT_V5, (f"vit.{IN_V5}",), head=(f"vit.{POOLED}",), keep=_plain),
    Table("deit", DEIT_V4, (f"deit.{IN_V4}",), head=(f"deit.{POOLED}", ONE_OF_TWO)),
    Table("deit", DEIT_V5, (f"deit.{IN_V5}",), head=(f"deit.{POOLED}", ONE_OF_TWO)),
    *(
        Table("swin", _without_biases_apart(_swin("swin", parts)), (f"swin.{IN_SWIN}.{parts['table']}",),
              derived=(f"swin.{IN_SWIN}.{INDEX}",))
        for parts in (SWIN_V4, SWIN_V5)
    ),
    Table("swin_v2", _swin("swinv2", SWIN_V4), (f"swinv2.{IN_SWIN}.{SWIN_V4['scale']}",),
          derived=(f"swinv2.{IN_SWIN}.{INDEX}", f"swinv2.{IN_SWIN}.{COORDINATES}")),
    Table("pvt", _pvt(), ("pvt.encoder.block.{s}.{b}.attention.self.query.weight",)),
    Table("pvt_v2", _pvt_v2(), ("pvt_v2.encoder.layers.{s}.blocks.{b}.attention.query.weight",)),
    Table("resnet", _resnet(), ("resnet.embedder.embedder.convolution.weight",)),
    Table("convnext", _convnext(), ("convnext.encoder.stages.{s}.layers.{b}.dwconv.weight",)),
)  # fmt: skip
"""Of several tables for a family the first is the one that is written."""

INSIDE = (
    "embeddings.", "encoder.", "layers.", "layernorm.", "layer_norm.", "pooler.", "embedder.",
)  # fmt: skip
"""How names begin in a file of a model without a head, which lacks the model's own name in front."""


def prepare(bundle: Bundle) -> Tensors:
    """The model's name before every tensor of its body, as a file with a head has it."""
    prefix = str(bundle.config.get("model_type", "")).replace("-", "_")
    tensors = bundle.tensors
    if not prefix or any(name.startswith(f"{prefix}.") for name in tensors):
        return tensors
    return {f"{prefix}.{n}" if n.startswith(INSIDE) else n: tensor for n, tensor in tensors.items()}


def claims(bundle: Bundle) -> Claims:
    """What config.json and preprocessor_config.json say, all of it or an IntegrityError."""
    if not bundle.config:
        return Claims()
    families, fields = configs.read(bundle.config)
    prepared, notes = from_transformers(bundle.processor) if bundle.processor else ({}, ())
    if "image_size" not in fields and side_of(bundle.processor):
        fields["image_size"] = side_of(bundle.processor)
    return Claims(None, families, fields, True, configs.labels(bundle.config), prepared, notes)


def refuses(family: str, config: Any) -> str:
    """What no config.json of transformers can say."""
    return configs.refuses(family, config)


def write(out: Outgoing, dest: Path) -> Sequence[Path]:
    """A folder that `AutoModelForImageClassification.from_pretrained(DEST)` reads."""
    config = configs.write(out.family, out.config, out.labels)
    processor = to_transformers(out.preprocessor)
    save_file(dict(out.tensors), dest / "model.safetensors", metadata={"format": "pt"})
    written = {"config.json": config, "preprocessor_config.json": processor}
    for name, value in written.items():
        (dest / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [dest / name for name in ("model.safetensors", *written)]


LAYOUT = Layout(
    name="huggingface",
    title="Hugging Face transformers",
    tables=TABLES,
    fixed=configs.FIXED,
    write=write,
    read=claims,
    prepare=prepare,
    refuses=refuses,
    unsaid=frozenset(table.family for table in TABLES),
    containers=("safetensors", "pickle"),
)
