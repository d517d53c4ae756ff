"""Any model of timm, as `timm:NAME` (https://github.com/huggingface/pytorch-image-models), where timm is installed.

timm's `forward_features` is the backbone; pooling and classifier are ours. A LayerNorm that timm applies after pooling
is kept (see `normalise_pooled`), what else its classifier had is taken out. Attention inside is timm's own and cannot
be recorded.

The one exception to the rule that a parameter's first value depends on (seed, its full name) alone: here timm draws
them, in its own order, from a generator forked for it and seeded by (seed, "init", model name).
"""

from __future__ import annotations

from collections.abc import Mapping

from vitrail.contracts import Variant
from vitrail.models.timm.backbone import TimmBackbone
from vitrail.models.timm.library import PREFIX
from vitrail.models.timm.rows import find

__all__ = ["PREFIX", "SHORT", "VARIANTS", "build", "find"]

VARIANTS: tuple[Variant, ...] = ()
SHORT: Mapping[str, str] = {}
build = TimmBackbone
