"""Small models of the three reference libraries, and their tensors under our names.

Each library has its own class and its own names; `PEERS` gives for both generations what builds the peer of one shape
and what renames a dict of its tensors, weights and gradients alike.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vitrail

sys.path.insert(0, str(Path(__file__).parent))

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """A small Swin: grids of 24, 12 and 6 with windows of 6, so that two levels shift and the last does not."""

    image_size: int | tuple[int, int] = 48
    patch: int = 2
    width: int = 24
    depths: tuple[int, ...] = (2, 2, 2)
    heads: tuple[int, ...] = (2, 2, 4)
    window: int = 6
    pretrained: tuple[int, ...] = ()
    outputs: int = 5

    def ours(self, generation: int, **options: object) -> nn.Module:
        """Our model of this shape."""
        if self.pretrained:
            options["pretrained_window"] = self.pretrained
        return vitrail.create_model(
            {1: "swin_tiny", 2: "swinv2_tiny"}[generation], outputs=self.outputs, image_size=self.image_size,
            patch_size=self.patch, width=self.width, depths=self.depths, heads=self.heads, window=self.window,
            **options,
        ).eval()  # fmt: skip


def from_timm(tensors: Mapping[str, Tensor]) -> Tensors:
    renames = (
        (r"^(?!head\.)", "backbone."), (r"\.layers\.", ".levels."), ("relative_position_bias_table", "bias_table"),
        (r"cpb_mlp\.0", "cpb.fc1"), (r"cpb_mlp\.2", "cpb.fc2"),
    )  # fmt: skip
    return _renamed(tensors, renames)


def from_torchvision(tensors: Mapping[str, Tensor]) -> Tensors:
    renames = (
        (r"^head\.", "head.fc."), (r"^(?!head\.)", "backbone."), ("relative_position_bias_table", "bias_table"),
        (r"features\.0\.0\.", "patch_embed.proj."), (r"features\.0\.2\.", "patch_embed.norm."),
        (r"mlp\.0\.(?=weight|bias)", "mlp.fc1."), (r"mlp\.3\.", "mlp.fc2."),
        (r"cpb_mlp\.fc1", "cpb.fc1"), (r"cpb_mlp\.0", "cpb.fc1"), (r"cpb_mlp\.2", "cpb.fc2"),
    )  # fmt: skip
    buffers = ("relative_position_index", "relative_coords_table")
    named = _renamed({k: v for k, v in tensors.items() if not k.endswith(buffers)}, renames)
    out: Tensors = {}
    for name, tensor in named.items():
        level = re.search(r"features\.(\d+)\.", name)
        if level:  # blocks at odd places, merging at even ones
            place, part = divmod(int(level[1]), 2)
            name = name.replace(level[0], f"levels.{place}.{'blocks.' if part else 'downsample.'}")
        if name.endswith("qkv.bias") and name.replace("qkv.bias", "cpb.fc1.weight") in _with_levels(named):
            out[name.replace("qkv.bias", "q_bias")], _, out[name.replace("qkv.bias", "v_bias")] = tensor.chunk(3)
        else:
            out[name] = tensor
    return out


def from_transformers(tensors: Mapping[str, Tensor]) -> Tensors:
    renames = (
        (r"^classifier", "head.fc"), (r"^swin(v2)?\.", "backbone."), (r"\.encoder\.layers\.", ".levels."),
        (r"embeddings\.patch_embeddings\.projection", "patch_embed.proj"), (r"embeddings\.norm", "patch_embed.norm"),
        (r"backbone\.layernorm", "backbone.norm"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
        (r"attention\.output\.dense", "attn.proj"), (r"attention\.o_proj", "attn.proj"),
        (r"intermediate\.dense", "mlp.fc1"), (r"output\.dense", "mlp.fc2"),
        (r"attention\.relative_position_bias\.relative_position_bias_table", "attn.bias_table"),
        (r"attention\.self\.logit_scale", "attn.logit_scale"),
        (r"attention\.self\.continuous_position_bias_mlp\.0", "attn.cpb.fc1"),
        (r"attention\.self\.continuous_position_bias_mlp\.2", "attn.cpb.fc2"),
        (r"attention\.self\.(query|key|value)", r"attn.\1"), (r"attention\.(q|k|v)_proj", r"attn.\1"),
        (r"attn\.query", "attn.q"), (r"attn\.key", "attn.k"), (r"attn\.value", "attn.v"),
    )  # fmt: skip
    out = _renamed(tensors, renames)
    for name in [name for name in out if name.endswith("attn.q.weight")]:
        stem = name.removesuffix("q.weight")
        out[stem + "qkv.weight"] = torch.cat([out.pop(f"{stem}{part}.weight") for part in "qkv"])
        if stem + "k.bias" in out:
            out[stem + "qkv.bias"] = torch.cat([out.pop(f"{stem}{part}.bias") for part in "qkv"])
        else:
            out[stem + "q_bias"], out[stem + "v_bias"] = out.pop(stem + "q.bias"), out.pop(stem + "v.bias")
    merging = {name: re.sub(r"levels\.(\d+)\.downsample", _next_level, name) for name in out}
    return {merging[name]: tensor for name, tensor in out.items()}


def timm_peer(generation: int, shape: Shape) -> nn.Module:
    pytest.importorskip("timm", reason="needs timm, a reference implementation")
    from timm.models import swin_transformer, swin_transformer_v2

    cls = swin_transformer.SwinTransformer if generation == 1 else swin_transformer_v2.SwinTransformerV2
    more = {"pretrained_window_sizes": shape.pretrained} if shape.pretrained else {}
    return cls(
        img_size=shape.image_size, patch_size=shape.patch, num_classes=shape.outputs, embed_dim=shape.width,
        depths=shape.depths, num_heads=shape.heads, window_size=shape.window, **more,
    )  # fmt: skip


def torchvision_peer(generation: int, shape: Shape) -> nn.Module:
    from torchvision.models import swin_transformer as tv

    parts = {1: {}, 2: {"block": tv.SwinTransformerBlockV2, "downsample_layer": tv.PatchMergingV2}}[generation]
    return tv.SwinTransformer(
        patch_size=[shape.patch] * 2, embed_dim=shape.width, depths=list(shape.depths), num_heads=list(shape.heads),
        window_size=[shape.window] * 2, num_classes=shape.outputs, **parts,
    )  # fmt: skip


def transformers_peer(generation: int, shape: Shape) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs transformers, a reference implementation")
    names = {1: ("SwinConfig", "SwinForImageClassification"), 2: ("Swinv2Config", "Swinv2ForImageClassification")}
    config, model = (getattr(transformers, name) for name in names[generation])
    more = {"pretrained_window_sizes": list(shape.pretrained)} if shape.pretrained else {}
    built = model(
        config(
            image_size=shape.image_size, patch_size=shape.patch, embed_dim=shape.width, depths=list(shape.depths),
            num_heads=list(shape.heads), window_size=shape.window, num_labels=shape.outputs, **more,
        )
    )  # fmt: skip
    built.register_forward_hook(lambda module, args, output: output.logits)
    return built


PEERS: Mapping[str, tuple[Callable[[int, Shape], nn.Module], Callable[[Mapping[str, Tensor]], Tensors]]] = {
    "timm": (timm_peer, from_timm),
    "torchvision": (torchvision_peer, from_torchvision),
    "transformers": (transformers_peer, from_transformers),
}
SMALL = Shape()
WIDE_TO_NARROW = replace(SMALL, window=12, pretrained=(6, 6, 3))


def _renamed(tensors: Mapping[str, Tensor], renames: tuple[tuple[str, str], ...]) -> Tensors:
    out: Tensors = {}
    for name, tensor in tensors.items():
        for pattern, by in renames:
            name = re.sub(pattern, by, name)
        out[name] = tensor
    return out


def _with_levels(named: Mapping[str, Tensor]) -> set[str]:
    """Names with torchvision's places read as levels of blocks."""
    return {re.sub(r"features\.(\d+)\.", lambda m: f"levels.{int(m[1]) // 2}.blocks.", name) for name in named}


def _next_level(found: re.Match[str]) -> str:
    """transformers merges at the end of a level, we at the start of the next."""
    return f"levels.{int(found[1]) + 1}.downsample"
