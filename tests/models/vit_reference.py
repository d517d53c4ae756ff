"""Small ViTs and DeiTs of the three reference libraries, and their tensors under our names.

A peer is built by its library's own class; `rename` takes a dict of its tensors, weights and gradients alike.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrail

sys.path.insert(0, str(Path(__file__).parent))

Tensors = dict[str, Tensor]

OUTPUTS = 5
OURS = {"image_size": 32, "patch_size": 8, "width": 48, "heads": 3, "hidden": 96, "depth": 2}
TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "num_heads": 3, "mlp_ratio": 2.0, "depth": 2}
TORCHVISION = {"image_size": 32, "patch_size": 8, "hidden_dim": 48, "num_heads": 3, "mlp_dim": 96, "num_layers": 2}
TRANSFORMERS = {
    "image_size": 32, "patch_size": 8, "hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 96,
    "num_hidden_layers": 2, "layer_norm_eps": 1e-6, "num_labels": OUTPUTS,
}  # fmt: skip


def from_timm(tensors: Mapping[str, Tensor]) -> Tensors:
    renames = (
        (r"^head_dist\.", "head.fc_dist."), (r"^head\.(?=weight|bias)", "head.fc."),
        (r"^attn_pool\.latent", "head.pool.probe"), (r"^attn_pool\.", "head.pool."), (r"^reg_token", "registers"),
        (r"^blocks\.", "encoder."), (r"\.ls(\d)\.", r".scale\1."), (r"^(?!head\.)", "backbone."),
    )  # fmt: skip
    return _renamed(tensors, renames)


def from_timm_parallel(tensors: Mapping[str, Tensor]) -> Tensors:
    """timm's block for ViT-22B computes the first layer of the MLP and q, k, v in one product."""
    out: Tensors = {}
    renames = (
        ("in_norm", "norm1"), ("mlp_bias", "mlp.fc1.bias"), ("attn_out_proj", "attn.proj"), ("mlp_out_proj", "mlp.fc2"),
        (r"\.([qk]_norm)", r".attn.\1"),
    )  # fmt: skip
    for name, tensor in from_timm(_renamed(tensors, renames)).items():
        if ".in_proj." in name:
            hidden = len(tensor) - 3 * tensor.shape[1]
            parts = tensor.split([hidden, len(tensor) - hidden])
            out |= {
                name.replace("in_proj", whose): part for whose, part in zip(("mlp.fc1", "attn.qkv"), parts, strict=True)
            }
        else:
            out[name] = tensor
    return out


def from_torchvision(tensors: Mapping[str, Tensor]) -> Tensors:
    renames = (
        (r"^heads\.head\.", "head.fc."), (r"^class_token", "cls_token"), (r"^encoder\.pos_embedding", "pos_embed"),
        (r"^conv_proj\.", "patch_embed.proj."), (r"^encoder\.ln\.", "norm."),
        (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"encoder.\1."), (r"\.ln_(\d)\.", r".norm\1."),
        (r"self_attention\.in_proj_", "attn.qkv."), (r"self_attention\.out_proj", "attn.proj"),
        (r"mlp\.0\.", "mlp.fc1."), (r"mlp\.3\.", "mlp.fc2."), (r"^(?!head\.)", "backbone."),
    )  # fmt: skip
    return _renamed(tensors, renames)


def from_transformers(tensors: Mapping[str, Tensor]) -> Tensors:
    renames = (
        (r"^model\.(vit|deit)\.", ""), (r"^model\.(cls_)?classifier\.", "head.fc."),
        (r"^model\.distillation_classifier\.", "head.fc_dist."), (r"^embeddings\.cls_token", "cls_token"),
        (r"^embeddings\.distillation_token", "dist_token"), (r"^embeddings\.position_embeddings", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."), (r"^layers\.", "encoder."),
        (r"^layernorm\.", "norm."), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
        (r"attention\.o_proj", "attn.proj"), (r"attention\.([qkv])_proj", r"attn.\1"), (r"^(?!head\.)", "backbone."),
    )  # fmt: skip
    named = _renamed(tensors, renames)
    for name in [name for name in named if ".attn.q." in name]:
        parts = [named.pop(name.replace(".attn.q.", f".attn.{part}.")) for part in "qkv"]
        named[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
    return named


def _renamed(tensors: Mapping[str, Tensor], renames: tuple[tuple[str, str], ...]) -> Tensors:
    out = {}
    for name, tensor in tensors.items():
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        out[name] = tensor
    return out


@dataclass(frozen=True)
class Peer:
    """A small model of a library, and the row and the options that make ours the same function."""

    label: str
    name: str
    build: Callable[[], nn.Module]
    rename: Callable[[Mapping[str, Tensor]], Tensors] = from_timm
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.label

    def ours(self, **more: Any) -> nn.Module:
        """Our model of its shape, in evaluation mode."""
        return vitrail.create_model(self.name, outputs=OUTPUTS, **{**OURS, **self.options, **more}).eval()


class Logits(nn.Module):
    """A model of transformers, answering with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images).logits
        return logits


def _timm(name: str, **arguments: Any) -> nn.Module:
    timm = pytest.importorskip("timm", reason="needs timm, a reference implementation")
    return timm.create_model(name, num_classes=OUTPUTS, **{**TIMM, **arguments})


def _parallel() -> nn.Module:
    vit = pytest.importorskip("timm.models.vision_transformer", reason="needs timm, a reference implementation")
    return vit.VisionTransformer(
        **TIMM, num_classes=OUTPUTS, block_fn=vit.ParallelScalingBlock, qk_norm=True, qkv_bias=False,
        norm_layer=partial(nn.RMSNorm, eps=1e-6), class_token=False, global_pool="map",
    )  # fmt: skip


def _torchvision() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    return VisionTransformer(**TORCHVISION, num_classes=OUTPUTS)


def _transformers(kind: str, **arguments: Any) -> nn.Module:
    library = pytest.importorskip("transformers", reason="needs transformers, a reference implementation")
    made = {
        "vit": ("ViTConfig", "ViTForImageClassification"),
        "deit": ("DeiTConfig", "DeiTForImageClassificationWithTeacher"),
    }
    config, model = (getattr(library, name) for name in made[kind])
    return Logits(model(config(**TRANSFORMERS, **arguments)))


NARROW = {"embed_dim": 96, "num_heads": 4, "mlp_ratio": 3.7362}
SO400M = {"width": 96, "heads": 4, "hidden": 358}
"""As in So400m, heads are not 64 wide and the MLP is not four times the width."""

PEERS = (
    Peer("timm vit", "vit_tiny", partial(_timm, "vit_tiny_patch16_224")),
    Peer("timm vit, tanh GELU", "vit_tiny", partial(_timm, "vit_tiny_patch16_224", act_layer="gelu_tanh"),
         options={"activation": "gelu_tanh"}),
    Peer("timm vit, mean", "vit_tiny", partial(_timm, "vit_tiny_patch16_224", global_pool="avg", fc_norm=False),
         options={"pooling": "mean"}),
    Peer("timm vit, LayerScale", "vit_tiny", partial(_timm, "vit_tiny_patch16_224", init_values=0.1),
         options={"layer_scale": 0.1}),
    Peer("timm vit, QK-norm, no qkv bias", "vit_tiny",
         partial(_timm, "vit_tiny_patch16_224", qk_norm=True, qkv_bias=False),
         options={"qk_norm": True, "qkv_bias": False}),
    Peer("timm vit, registers, positions on patches alone", "vit_tiny",
         partial(_timm, "vit_tiny_patch16_224", reg_tokens=2, no_embed_class=True),
         options={"registers": 2, "cls_position": False}),
    Peer("timm so400m, MAP", "vit_so400m", partial(_timm, "vit_so400m_patch14_siglip_224", **NARROW), options=SO400M),
    Peer("timm so400m, MAP, tanh GELU", "vit_so400m",
         partial(_timm, "vit_so400m_patch14_siglip_224", **NARROW, act_layer="gelu_tanh"),
         options={**SO400M, "activation": "gelu_tanh"}),
    Peer("timm so400m, GAP", "vit_so400m_patch14_siglip_gap_224",
         partial(_timm, "vit_so400m_patch14_siglip_gap_224", **NARROW), options=SO400M),
    Peer("timm 22b", "vit_22b", _parallel, from_timm_parallel),
    Peer("timm deit", "deit_tiny", partial(_timm, "deit_tiny_patch16_224")),
    Peer("timm deit, distilled", "deit_tiny_distilled", partial(_timm, "deit_tiny_distilled_patch16_224")),
    Peer("timm deit3", "deit3_small", partial(_timm, "deit3_small_patch16_224")),
    Peer("torchvision vit", "vit_base", _torchvision, from_torchvision),
    Peer("transformers vit", "vit_base", partial(_transformers, "vit"), from_transformers),
    Peer("transformers vit, tanh GELU", "vit_base", partial(_transformers, "vit", hidden_act="gelu_pytorch_tanh"),
         from_transformers, {"activation": "gelu_tanh"}),
    Peer("transformers deit, distilled", "deit_base_distilled", partial(_transformers, "deit"), from_transformers),
)  # fmt: skip
