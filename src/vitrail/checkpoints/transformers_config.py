"""config.json of transformers <-> the config of a family: every key that changes what is computed, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.checkpoints.positions import grids_that_windows_divide
from vitrail.errors import IntegrityError

ACTIVATIONS: Mapping[str, str] = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}
"""Their `hidden_act` -> ours. The last two are one formula."""

PLAIN = {
    "hidden_size": "width", "num_hidden_layers": "depth", "num_attention_heads": "heads", "intermediate_size": "hidden",
    "patch_size": "patch_size", "image_size": "image_size", "num_channels": "in_channels", "layer_norm_eps": "eps",
    "qkv_bias": "qkv_bias", "hidden_act": "activation",
}  # fmt: skip
SWIN = {
    "embed_dim": "width", "depths": "depths", "num_heads": "heads", "mlp_ratio": "mlp_ratio", "window_size": "window",
    "patch_size": "patch_size", "image_size": "image_size", "num_channels": "in_channels", "layer_norm_eps": "eps",
    "hidden_act": "activation",
}  # fmt: skip
PVT = {
    "hidden_sizes": "widths", "depths": "depths", "num_attention_heads": "heads", "mlp_ratios": "mlp_ratios",
    "image_size": "image_size", "num_channels": "in_channels", "layer_norm_eps": "eps", "hidden_act": "activation",
}  # fmt: skip
KEYS: Mapping[str, Mapping[str, str]] = {
    "vit": PLAIN,
    "deit": PLAIN,
    "swin": SWIN,
    "swinv2": {**SWIN, "pretrained_window_sizes": "pretrained_window"},
    "pvt": {**PVT, "sequence_reduction_ratios": "sr_ratios"},
    "pvt_v2": {**PVT, "sr_ratios": "sr_ratios", "linear_attention": "linear"},
    "resnet": {
        "embedding_size": "width", "hidden_sizes": "hidden_sizes", "depths": "depths", "layer_type": "block",
        "num_channels": "in_channels", "image_size": "image_size",
    },
    "convnext": {
        "hidden_sizes": "hidden_sizes", "depths": "depths", "num_channels": "in_channels", "patch_size": "patch_size",
        "layer_norm_eps": "final_eps", "hidden_act": "activation", "image_size": "image_size",
    },
}  # fmt: skip
"""`model_type` -> their key -> our field."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "vit": ("vit", "deit"),
    "deit": ("deit",),
    "swin": ("swin",),
    "swinv2": ("swin_v2",),
    "pvt": ("pvt",),
    "pvt_v2": ("pvt_v2",),
    "resnet": ("resnet",),
    "convnext": ("convnext",),
}
"""`model_type` -> families it may be: DeiT without a distillation token is published as a ViT."""

MEANT: Mapping[str, Mapping[str, Any]] = {
    "swin": {"use_absolute_embeddings": False, "qkv_bias": True, "layer_norm_eps": 1e-5},
    "swinv2": {"use_absolute_embeddings": False, "qkv_bias": True, "layer_norm_eps": 1e-5},
    "pvt": {"qkv_bias": True, "num_encoder_blocks": 4, "strides": [4, 2, 2, 2], "patch_sizes": [4, 2, 2, 2]},
    "pvt_v2": {"qkv_bias": True, "num_encoder_blocks": 4, "strides": [4, 2, 2, 2], "patch_sizes": [7, 3, 3, 3]},
    "resnet": {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False},
    "convnext": {"num_stages": 4},
}
"""Keys that can be said in only one way here. Swin's epsilon: their norms outside of the blocks are fixed at 1e-5."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "vit": {"num_attention_heads": 12, "layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    "deit": {"num_attention_heads": 12, "layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    "swin": {"hidden_act": "gelu"},
    "swinv2": {"window_size": 7, "pretrained_window_sizes": [0, 0, 0, 0], "hidden_act": "gelu"},
    "pvt": {"num_attention_heads": [1, 2, 5, 8], "layer_norm_eps": 1e-6, "hidden_act": "gelu"},
    "pvt_v2": {"num_attention_heads": [1, 2, 5, 8], "layer_norm_eps": 1e-6, "hidden_act": "gelu"},
    "convnext": {"layer_norm_eps": 1e-12, "hidden_act": "gelu"},
}
"""What transformers takes for a key that a config leaves out and no tensor shows."""

ENCODER: Mapping[str, Any] = {
    "cls": True, "cls_position": True, "registers": 0, "position": "learned", "pooling": "cls", "layer_scale": 0.0,
    "qk_norm": False, "parallel": False, "norm": "layer",
}  # fmt: skip
FIXED: Mapping[str, Mapping[str, Any]] = {
    "vit": ENCODER,
    "deit": ENCODER,
    "swin": {"pooling": "mean", "eps": 1e-5},
    "swin_v2": {"pooling": "mean", "eps": 1e-5},
    "pvt": {"pooling": "cls", "patch_size": 4},
    "pvt_v2": {"pooling": "mean", "patch_size": 4},
    "resnet": {"pooling": "mean", "patch_size": 4, "eps": 1e-5},
    "convnext": {"pooling": "mean", "eps": 1e-6},
}

CLASSES = {
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassificationWithTeacher",
    "swin": "SwinForImageClassification",
    "swinv2": "Swinv2ForImageClassification",
    "pvt": "PvtForImageClassification",
    "pvt_v2": "PvtV2ForImageClassification",
    "resnet": "ResNetForImageClassification",
    "convnext": "ConvNextForImageClassification",
}


def read(config: Mapping[str, Any]) -> tuple[frozenset[str], dict[str, Any]]:
    """The families it may be, and fields of their config; IntegrityError for a model that is none of ours."""
    kind = str(config.get("model_type", ""))[:40]
    if kind not in KEYS:
        raise IntegrityError(f"its config.json says model_type={kind or 'nothing'}; known are {', '.join(KEYS)}")
    for key, meant in MEANT.get(kind, {}).items():
        if config.get(key, meant) != meant:
            raise IntegrityError(
                f"its config.json says {key}={str(config[key])[:40]}, and a {kind} of ours has {meant}"
            )
    config = {**DEFAULTS.get(kind, {}), **config}
    fields: dict[str, Any] = {}
    for theirs, ours in KEYS[kind].items():
        value = config.get(theirs)
        if ours == "hidden_sizes":
            fields |= _widths(kind, config)
        elif value is not None:
            fields[ours] = _ours(ours, value)
    if kind in ("pvt", "pvt_v2") and "eps" in fields:
        fields["reduction_eps"] = fields["eps"]  # one epsilon for all their norms
    return frozenset(FAMILIES[kind]), fields


def _widths(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Widths that double from stage to stage, as ours do, or a refusal."""
    sizes = config.get("hidden_sizes")
    if not isinstance(sizes, list) or not all(isinstance(size, int) for size in sizes) or len(sizes) != 4:
        raise IntegrityError("its config.json's hidden_sizes is no list of four widths")
    if [size << stage for stage, size in enumerate([sizes[0]] * 4)] != sizes:
        raise IntegrityError(f"its config.json says hidden_sizes={sizes}, and those of ours double from stage to stage")
    return {"width": sizes[0]} if kind == "convnext" else {}


def _ours(field: str, value: Any) -> Any:
    if field == "activation":
        if value not in ACTIVATIONS:
            raise IntegrityError(f"its config.json says hidden_act={str(value)[:40]}, an activation that is not ours")
        return ACTIVATIONS[value]
    if field == "pretrained_window":
        return tuple(value) if isinstance(value, list) and any(value) else None
    if field == "final_eps":
        return None if value == FIXED["convnext"]["eps"] else value
    if isinstance(value, list):
        value = tuple(value)
    if field == "image_size" and isinstance(value, tuple) and len(set(value)) == 1:
        return value[0]
    if not isinstance(value, (bool, int, float, str, tuple)):
        raise IntegrityError(f"its config.json's {field} cannot be {str(value)[:40]}")
    return value


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names in the order of the outputs; () where the config has none or only numbered ones."""
    named = config.get("id2label")
    if not isinstance(named, Mapping) or not named:
        return ()
    try:
        pairs = sorted((int(index), str(label)) for index, label in named.items())
    except (TypeError, ValueError):
        raise IntegrityError("its config.json's id2label is no mapping from numbers to names") from None
    if [index for index, _ in pairs] != list(range(len(pairs))):
        raise IntegrityError("its config.json's id2label leaves out a number")
    return tuple(label for _, label in pairs)


def refuses(family: str, config: Any) -> str:
    """What no config.json of transformers says."""
    if family in ("pvt", "pvt_v2") and config.eps != config.reduction_eps:
        return f"eps={config.eps} beside reduction_eps={config.reduction_eps}: in it all norms have one epsilon"
    if family in ("swin", "swin_v2"):
        return grids_that_windows_divide(config, clamped=family == "swin_v2")
    return ""


def write(family: str, config: Any, names: Sequence[str]) -> dict[str, Any]:
    """A config.json."""
    kind = next(kind for kind, families in FAMILIES.items() if families[-1 if kind != "vit" else 0] == family)
    if family == "deit" and not config.distilled:
        kind = "vit"
    made: dict[str, Any] = {"architectures": [CLASSES[kind]], "model_type": kind, "dtype": "float32"}
    made |= dict(MEANT.get(kind, {}))
    for theirs, ours in KEYS[kind].items():
        made[theirs] = _theirs(ours, config)
    made["id2label"] = {str(index): name for index, name in enumerate(names)}
    if kind == "pvt":
        made["num_labels"] = len(names)  # its config has a field of that name, which id2label does not set
    made["label2id"] = {name: index for index, name in enumerate(names)}
    return made


def _theirs(field: str, config: Any) -> Any:
    if field == "hidden_sizes":
        expansion = 4 if getattr(config, "block", "") == "bottleneck" else 1
        return [expansion * width for width in config.widths]
    value = getattr(config, field)
    if field == "activation":
        return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == value)
    if field == "pretrained_window":
        return list(value) if value else [0] * len(config.depths)
    if field == "final_eps":
        return value or config.eps
    return list(value) if isinstance(value, tuple) else value
