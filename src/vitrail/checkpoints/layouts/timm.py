"""timm (Ross Wightman, pytorch-image-models): model.safetensors and a config.json with the architecture's name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from vitrail.checkpoints.layout import Claims, Layout, Outgoing, same
from vitrail.checkpoints.layouts import torchvision
from vitrail.checkpoints.positions import POSITIONS, POSITIONS_AND_REGISTERS, grids_that_windows_divide
from vitrail.checkpoints.preprocessing import from_timm, to_timm
from vitrail.checkpoints.sources import Bundle
from vitrail.checkpoints.table import Table, Transform, rows
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
STAGE, THEIRS = "backbone.body.features.{2s+1}.{b}", "stages.{s}.blocks.{b}"
FLAT = Transform(lambda theirs, _: [theirs[0][:, None, None]], lambda ours, _: [ours[0].flatten()], "(C) to (C, 1, 1)")
CONVNEXT = rows(
    ("backbone.body.features.0.**", "stem.**"),
    ("backbone.body.features.{2s}.**", "stages.{s}.downsample.**"),
    (f"{STAGE}.block.0.*", f"{THEIRS}.conv_dw.*"),
    (f"{STAGE}.block.2.*", f"{THEIRS}.norm.*"),
    (f"{STAGE}.block.3.*", f"{THEIRS}.mlp.fc1.*"),
    (f"{STAGE}.block.5.*", f"{THEIRS}.mlp.fc2.*"),
    (f"{STAGE}.layer_scale", f"{THEIRS}.gamma", FLAT),
    ("backbone.norm.*", "head.norm.*"),
    ("head.fc.*", "head.fc.*"),
)
RESNET = torchvision.RESNET  # timm kept torchvision's names
COMPUTED = (
    "layers.{s}.blocks.{b}.attn.relative_position_index",
    "layers.{s}.blocks.{b}.attn.relative_coords_table",
    "layers.{s}.blocks.{b}.attn_mask",
)
IN_BLOCKS = "layers.{s}.blocks.{b}.attn."
PLAIN = ("blocks.{i}.attn.qkv.weight", "patch_embed.proj.weight")
OFFICIAL = "blocks.{i}.gamma_1"
"""LayerScale as DeiT III's own files name it."""
FIRST, SECOND = "layers.0.downsample.**", "layers.1.downsample.**"
TABLES = (
    Table("vit", VIT, needs=PLAIN, lacks=("dist_token", OFFICIAL)),
    Table("deit", VIT, needs=PLAIN, lacks=("reg_token", "attn_pool.**", OFFICIAL)),
    Table("swin", SWIN, (f"{IN_BLOCKS}relative_position_bias_table", SECOND), (FIRST,), COMPUTED),
    Table("swin_v2", SWIN, (f"{IN_BLOCKS}logit_scale", SECOND), (FIRST,), COMPUTED),
    Table("pvt_v2", PVT_V2, needs=("stages.{s}.blocks.{b}.attn.kv.weight",)),
    Table("resnet", RESNET, needs=("conv1.weight", "layer1.{b}.conv1.weight")),
    Table("convnext", CONVNEXT, needs=("stem.0.weight", "stages.{s}.blocks.{b}.conv_dw.weight")),
)
FIXED: Mapping[str, Mapping[str, Any]] = {
    "vit": {"eps": 1e-6, "parallel": False, "norm": "layer"},
    "deit": {"eps": 1e-6, "parallel": False, "norm": "layer"},
    "swin": {"eps": 1e-5, "activation": "gelu"},
    "swin_v2": {"eps": 1e-5, "activation": "gelu"},
    "pvt_v2": {"eps": 1e-6, "reduction_eps": 1e-5, "activation": "gelu"},
    "resnet": torchvision.RESNET_FIXED,
    "convnext": {"eps": 1e-6, "final_eps": None, "activation": "gelu"},
}

ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "vit": {
        "img_size": "image_size", "patch_size": "patch_size", "in_chans": "in_channels", "embed_dim": "width",
        "depth": "depth", "num_heads": "heads", "qkv_bias": "qkv_bias", "class_token": "cls", "reg_tokens": "registers",
        "init_values": "layer_scale", "qk_norm": "qk_norm",
    },
    "swin": {
        "img_size": "image_size", "patch_size": "patch_size", "in_chans": "in_channels", "embed_dim": "width",
        "depths": "depths", "num_heads": "heads", "window_size": "window", "mlp_ratio": "mlp_ratio",
    },
    "pvt_v2": {
        "in_chans": "in_channels", "embed_dims": "widths", "depths": "depths", "num_heads": "heads",
        "mlp_ratios": "mlp_ratios", "sr_ratios": "sr_ratios", "linear": "linear",
    },
    "resnet": {"in_chans": "in_channels", "layers": "depths"},
    "convnext": {"in_chans": "in_channels", "depths": "depths", "patch_size": "patch_size"},
}  # fmt: skip
"""Family -> an argument of timm's class -> our field of the same meaning."""
ARGUMENTS_OF = {
    **ARGUMENTS,
    "deit": ARGUMENTS["vit"],
    "swin_v2": {**ARGUMENTS["swin"], "pretrained_window_sizes": "pretrained_window"},
}
STAND_INS: Mapping[str, str] = {
    **dict.fromkeys(
        ("vit_tiny_patch8_224", "vit_tiny_patch14_224", "vit_tiny_patch32_224", "vit_tiny_patch32_384",
         "vit_small_patch14_224", "vit_base_patch14_224", "vit_large_patch8_224", "vit_giant_patch14_map_224",
         "vit_gigantic_patch14_map_224", "vit_e_patch14_224", "vit_e_patch14_map_224", "vit_22b_patch14_224"),
        "vit_base_patch16_224",
    ),
    **dict.fromkeys(
        ("deit3_tiny_patch16_224", "deit3_huge_52_patch14_224", "deit3_giant_40_patch14_224",
         "deit3_gigantic_48_patch14_224"),
        "deit3_base_patch16_224",
    ),
    **dict.fromkeys(
        ("swin_tiny_patch4_window12_384", "swin_small_patch4_window12_384"), "swin_base_patch4_window12_384"
    ),
}  # fmt: skip
"""Our names that timm has no model for -> one of the same class, of which arguments make the model."""
DEITS = {
    (True, False): "deit3_base_patch16_224",
    (False, True): "deit_base_distilled_patch16_224",
    (False, False): "deit_base_patch16_224",
}
"""(with LayerScale, distilled) -> a name of that class."""
HARMLESS = (
    "num_classes", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "fix_init",
    "drop_path_rate", "weight_init", "fc_norm", "no_embed_class", "mlp_ratio", "global_pool", "act_layer",
    "strict_img_size", "always_partition", "ls_init_value",
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
    labels = config.get("label_names") or pretrained.get("label_names") or ()
    names = tuple(str(label) for label in labels) if isinstance(labels, list) else ()
    if name not in list_models():
        told = (f"its config says {name[:60]}, which the catalogue has not: what of it no tensor shows is lost",)
        return Claims(
            labels=names, preprocess=from_timm(pretrained), notes=told if name else (), unknown=name[:60]
        )  # fmt: skip
    row = variant(name)
    fields = {
        **row.config.model_dump(exclude={"drop_path", "image_size", "cls_position"}),
        **_fields(row.family, arguments),
    }
    size = pretrained.get("input_size")
    if "image_size" not in fields and isinstance(size, Sequence) and len(size) == 3:
        fields["image_size"] = _value("image_size", list(size[1:]))
    # a name that only lent its class, with arguments that make another model of it, is not the model's name
    lent = any(not same(field, getattr(row.config, field, None), fields.get(field)) for field in ("width", "widths"))
    return Claims(
        None if lent else name, frozenset({row.family}), fields, True, names, from_timm(pretrained)
    )  # fmt: skip


def _fields(family: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    known = ARGUMENTS_OF.get(family, {})
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in known:
            fields[known[name]] = _value(known[name], value)
        elif name == "dims" and family == "convnext" and isinstance(value, Sequence):
            fields["width"] = value[0]
        elif name not in HARMLESS and value not in (None, False):
            raise IntegrityError(f"its config's model_args.{name}={str(value)[:40]} makes it a model that is not ours")
    if family in ("vit", "deit"):
        if "no_embed_class" in arguments:
            fields["cls_position"] = not arguments["no_embed_class"]
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


def _architecture(out: Outgoing) -> str:
    """A name that timm knows and whose class is the model's: arguments say the rest."""
    config, name = out.config, STAND_INS.get(out.name, out.name)
    if out.family == "resnet" and variant(name).config.block != config.block:
        return "resnet50" if config.block == "bottleneck" else "resnet18"
    if out.family == "deit":
        third = not config.distilled and bool(config.layer_scale)  # timm's deit3 cannot be told to have no LayerScale
        if (name.startswith("deit3"), "distilled" in name) != (third, config.distilled):
            return DEITS[(third, config.distilled)]
    return name


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
    if family not in ("vit", "deit"):
        if config.pooling == "map":
            return "pooling=map of this family"
        if family == "pvt_v2" and config.patch_size != 4:
            return f"patch_size={config.patch_size} of this family"
        return grids_that_windows_divide(config, clamped=family == "swin_v2") if family in ("swin", "swin_v2") else ""
    if config.position != "learned":
        return f"position={config.position}"
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
    if out.family == "convnext":
        arguments["dims"] = list(config.widths)
    if out.family in ("vit", "deit"):
        pool = next(theirs for theirs, ours in POOLINGS.items() if ours == config.pooling)
        arguments |= {"mlp_ratio": (config.hidden + 0.5) / config.width, "global_pool": pool, "fc_norm": False}
        arguments["no_embed_class"] = not config.cls_position
        if config.activation != "gelu":
            arguments["act_layer"] = config.activation
    whole = {
        "architecture": _architecture(out),
        "num_classes": len(out.labels),
        "label_names": list(out.labels),
        "model_args": arguments,
        "pretrained_cfg": {"num_classes": len(out.labels), **to_timm(out.preprocessor)},
    }
    save_file(dict(out.tensors), dest / "model.safetensors", metadata={"format": "pt"})
    (dest / "config.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return [dest / "model.safetensors", dest / "config.json"]


LAYOUT = Layout("timm", "timm", TABLES, FIXED, write, claims, refuses=refuses)
