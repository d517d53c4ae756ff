"""timm (Ross Wightman, pytorch-image-models): model.safetensors and a config.json with the architecture's name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from vitrail.checkpoints.layout import Claims, Layout, Outgoing
from vitrail.checkpoints.positions import POSITIONS, POSITIONS_AND_REGISTERS, grids_that_windows_divide
from vitrail.checkpoints.preprocessing import from_timm, to_timm
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import Table, rows
from vitrail.errors import IntegrityError
from vitrail.models import list_models, variant

BLOCK = ("norm1.*", "attn.qkv.*", "attn.q_norm.*", "attn.k_norm.*", "attn.proj.*", "norm2.*", "mlp.fc1.*", "mlp.fc2.*")
MAP = ("q.*", "kv.*", "proj.*", "norm.*", "mlp.fc1.*", "mlp.fc2.*")
VIT = rows(
    ("backbone.patch_embed.proj.*", "patch_embed.proj.*"),
    ("backbone.cls_token", "cls_token"),
    ("backbone.dist_token", "dist_token"),
    (("backbone.pos_embed", "backbone.registers"), ("pos_embed", "reg_token"), POSITIONS_AND_REGISTERS),
    ("backbone.pos_embed", "pos_embed", POSITIONS),
    ("backbone.registers", "reg_token"),
    *((f"backbone.encoder.{{i}}.{part}", f"blocks.{{i}}.{part}") for part in BLOCK),
    ("backbone.encoder.{i}.scale1.gamma", "blocks.{i}.ls1.gamma"),
    ("backbone.encoder.{i}.scale2.gamma", "blocks.{i}.ls2.gamma"),
    ("backbone.norm.*", "norm.*"),
    ("head.pool.probe", "attn_pool.latent"),
    *((f"head.pool.{part}", f"attn_pool.{part}") for part in MAP),
    ("head.fc.*", "head.*"),
    ("head.fc_dist.*", "head_dist.*"),
)
SWIN_BLOCK = ("norm1.*", "attn.qkv.*", "attn.proj.*", "norm2.*", "mlp.fc1.*", "mlp.fc2.*")
SWIN = rows(
    ("backbone.patch_embed.**", "patch_embed.**"),
    ("backbone.levels.{s}.downsample.**", "layers.{s}.downsample.**"),
    *((f"backbone.levels.{{s}}.blocks.{{b}}.{part}", f"layers.{{s}}.blocks.{{b}}.{part}") for part in SWIN_BLOCK),
    ("backbone.levels.{s}.blocks.{b}.attn.bias_table", "layers.{s}.blocks.{b}.attn.relative_position_bias_table"),
    ("backbone.levels.{s}.blocks.{b}.attn.q_bias", "layers.{s}.blocks.{b}.attn.q_bias"),
    ("backbone.levels.{s}.blocks.{b}.attn.v_bias", "layers.{s}.blocks.{b}.attn.v_bias"),
    ("backbone.levels.{s}.blocks.{b}.attn.logit_scale", "layers.{s}.blocks.{b}.attn.logit_scale"),
    ("backbone.levels.{s}.blocks.{b}.attn.cpb.fc1.*", "layers.{s}.blocks.{b}.attn.cpb_mlp.0.*"),
    ("backbone.levels.{s}.blocks.{b}.attn.cpb.fc2.*", "layers.{s}.blocks.{b}.attn.cpb_mlp.2.*"),
    ("backbone.norm.*", "norm.*"),
    ("head.fc.*", "head.fc.*"),
)
PVT_V2 = rows(
    ("backbone.levels.0.patch_embed.**", "patch_embed.**"),
    ("backbone.levels.{s}.patch_embed.**", "stages.{s}.downsample.**"),
    ("backbone.levels.{s}.blocks.{b}.**", "stages.{s}.blocks.{b}.**"),
    ("backbone.levels.{s}.norm.*", "stages.{s}.norm.*"),
    ("head.fc.*", "head.*"),
)
COMPUTED = (
    "layers.{s}.blocks.{b}.attn.relative_position_index",
    "layers.{s}.blocks.{b}.attn.relative_coords_table",
    "layers.{s}.blocks.{b}.attn_mask",
)
IN_BLOCKS = "layers.{s}.blocks.{b}.attn."
PLAIN = ("blocks.{i}.attn.qkv.weight", "patch_embed.proj.weight")
FIRST, SECOND = "layers.0.downsample.**", "layers.1.downsample.**"
TABLES = (
    Table("vit", VIT, needs=PLAIN, lacks=("dist_token",)),
    Table("deit", VIT, needs=PLAIN, lacks=("reg_token", "attn_pool.**")),
    Table("swin", SWIN, (f"{IN_BLOCKS}relative_position_bias_table", SECOND), (FIRST,), COMPUTED),
    Table("swin_v2", SWIN, (f"{IN_BLOCKS}logit_scale", SECOND), (FIRST,), COMPUTED),
    Table("pvt_v2", PVT_V2, needs=("stages.{s}.blocks.{b}.attn.kv.weight",)),
)
FIXED: Mapping[str, Mapping[str, Any]] = {
    "vit": {"eps": 1e-6},
    "deit": {"eps": 1e-6, "activation": "gelu"},
    "swin": {"eps": 1e-5, "activation": "gelu"},
    "swin_v2": {"eps": 1e-5, "activation": "gelu"},
    "pvt_v2": {"eps": 1e-6, "reduction_eps": 1e-5, "activation": "gelu"},
}

ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "vit": {
        "img_size": "image_size", "patch_size": "patch_size", "in_chans": "in_channels", "embed_dim": "width",
        "depth": "depth", "num_heads": "heads", "qkv_bias": "qkv_bias", "class_token": "cls", "reg_tokens": "registers",
        "init_values": "layer_scale",
    },
    "swin": {
        "img_size": "image_size", "patch_size": "patch_size", "in_chans": "in_channels", "embed_dim": "width",
        "depths": "depths", "num_heads": "heads", "window_size": "window", "mlp_ratio": "mlp_ratio",
    },
    "pvt_v2": {
        "in_chans": "in_channels", "embed_dims": "widths", "depths": "depths", "num_heads": "heads",
        "mlp_ratios": "mlp_ratios", "sr_ratios": "sr_ratios", "linear": "linear",
    },
}  # fmt: skip
"""Family -> an argument of timm's class -> our field of the same meaning."""
ARGUMENTS_OF = {
    **ARGUMENTS,
    "deit": ARGUMENTS["vit"],
    "swin_v2": {**ARGUMENTS["swin"], "pretrained_window_sizes": "pretrained_window"},
}
HARMLESS = (
    "num_classes", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "fix_init",
    "drop_path_rate", "weight_init", "fc_norm", "no_embed_class", "mlp_ratio", "global_pool", "act_layer",
    "strict_img_size", "always_partition",
)  # fmt: skip
"""Arguments that change nothing that is computed, that the tensors show, or that are read by name below."""
POOLINGS = {"token": "cls", "avg": "mean", "map": "map"}
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh"}


def claims(bundle: Bundle) -> Claims:
    """The architecture's name, the arguments it was given, labels and preprocessing."""
    config = bundle.config
    if not config:
        return Claims()
    name = str(config.get("architecture", "")).partition(".")[0]
    pretrained = config.get("pretrained_cfg")
    pretrained = pretrained if isinstance(pretrained, Mapping) else config
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise IntegrityError(f"{bundle.path.parent / 'config.json'}: model_args is no object of named values")
    known = name in list_models()
    family = variant(name).family if known else ""
    fields = _fields(family, arguments) if known else {}
    size = pretrained.get("input_size")
    if "image_size" not in fields and isinstance(size, Sequence) and len(size) == 3:
        fields["image_size"] = size[1] if size[1] == size[2] else (size[1], size[2])
    labels = config.get("label_names") or pretrained.get("label_names") or ()
    names = tuple(str(label) for label in labels) if isinstance(labels, list) else ()
    return Claims(
        name if known else None,
        frozenset({family}) if known else frozenset(),
        fields if known else {},
        complete=known,
        labels=names,
        preprocess=from_timm(pretrained),
    )


def _fields(family: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    known = ARGUMENTS_OF.get(family, {})
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in known:
            fields[known[name]] = _value(known[name], value)
        elif name not in HARMLESS and value not in (None, False):
            raise IntegrityError(f"its config's model_args.{name}={str(value)[:40]} makes it a model that is not ours")
    if family in ("vit", "deit"):
        if "global_pool" in arguments:
            pool = str(arguments["global_pool"])
            if pool not in POOLINGS:
                raise IntegrityError(f"its config's global_pool={pool[:40]} is a pooling that is not ours")
            fields["pooling"] = POOLINGS[pool]
        act = arguments.get("act_layer", "gelu") or "gelu"
        if act not in ACTIVATIONS:
            raise IntegrityError(f"its config's act_layer={str(act)[:40]} is an activation that is not ours")
        fields["activation"] = ACTIVATIONS[act]
    return fields


def _value(field: str, value: Any) -> Any:
    if field == "image_size" and isinstance(value, Sequence) and len(value) == 2 and value[0] == value[1]:
        return value[0]
    if field == "window" and isinstance(value, Sequence):
        return value[0]
    if field == "layer_scale":
        return value or 0.0
    if field == "pretrained_window" and isinstance(value, Sequence) and not any(value):
        return None
    return tuple(value) if isinstance(value, list) else value


def refuses(family: str, config: Any) -> str:
    """What timm's classes cannot be told."""
    if family in ("swin", "swin_v2"):
        return grids_that_windows_divide(config) or ("pooling=map" if config.pooling == "map" else "")
    if family == "pvt_v2":
        return (
            "pooling=map"
            if config.pooling == "map"
            else f"patch_size={config.patch_size}"
            if config.patch_size != 4
            else ""
        )
    if config.position != "learned":
        return f"position={config.position}"
    if config.pooling == "map":
        if config.width != 64 * config.heads:
            return "pooling=map with other heads than the encoder's"
        if config.hidden != 4 * config.width:
            return "pooling=map with another hidden width than the encoder's"
    return ""


def write(out: Outgoing, dest: Path) -> Sequence[Path]:
    """model.safetensors and config.json, as timm.create_model("local-dir:DEST") reads them."""
    config = out.config
    arguments: dict[str, Any] = {"num_classes": len(out.labels)}
    for argument, field in ARGUMENTS_OF[out.family].items():
        value = getattr(config, field)
        if field == "layer_scale":
            value = value or None
        if field == "pretrained_window":
            value = list(value) if value else [0] * len(config.depths)
        arguments[argument] = list(value) if isinstance(value, tuple) else value
    if out.family in ("vit", "deit"):
        pool = next(theirs for theirs, ours in POOLINGS.items() if ours == config.pooling)
        arguments |= {"mlp_ratio": config.hidden / config.width, "global_pool": pool, "fc_norm": False}
        if not getattr(config, "cls_position", True):
            arguments["no_embed_class"] = True
        if config.activation != "gelu":
            arguments["act_layer"] = config.activation
    whole = {
        "architecture": out.name,
        "num_classes": len(out.labels),
        "label_names": list(out.labels),
        "model_args": arguments,
        "pretrained_cfg": {"num_classes": len(out.labels), **to_timm(out.preprocessor)},
    }
    save_file(dict(out.tensors), dest / "model.safetensors", metadata={"format": "pt"})
    (dest / "config.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return [dest / "model.safetensors", dest / "config.json"]


LAYOUT = Layout("timm", "timm", TABLES, FIXED, write, claims, refuses=refuses)
