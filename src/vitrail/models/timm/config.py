"""What makes one model of timm differ from another: what all of them have, and the arguments of its class."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import nn

from vitrail.layers.foreign import Grid
from vitrail.models.timm.library import library, refusals
from vitrail.settings import Positive, Strict

Option = bool | Annotated[int, Field(le=65_536)] | float | str | tuple[Annotated[int, Field(le=65_536)], ...] | None
"""An argument of a timm model that a config can hold; None is timm's own."""


class TimmConfig(Strict):
    """What every model of timm has; each model's own class adds the arguments that it takes."""

    name: str
    """As timm has it, without the prefix."""
    patch_size: Positive
    """Stride of the stem in pixels; only plain vision transformers have another than their own."""
    image_size: Positive | tuple[Positive, Positive] = 224
    """Pixels, one number for a square."""
    in_channels: Positive = 3
    pooling: Literal["cls", "mean", "map", "seq"] = "mean"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """timm's drop_path_rate."""

    stride: ClassVar[int] = 0
    """The stem's own stride."""
    coarsest: ClassVar[int] = 0
    """The stride of its last map."""
    arguments: ClassVar[frozenset[str]] = frozenset()
    """All that the model's class takes."""
    plain: ClassVar[bool] = False
    """Whether it is a transformer on one grid, whose patch can be chosen."""

    @model_validator(mode="after")
    def _possible(self) -> TimmConfig:
        if self.patch_size != self.stride and not self.plain:
            raise ValueError(f"its stem has a stride of {self.stride} px, which is fixed: leave patch_size out")
        if self.drop_path and "drop_path_rate" not in self.arguments:
            raise ValueError("it has no stochastic depth: set train.drop_path=0")
        return self

    @property
    def size(self) -> Grid:
        """(H, W), pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    def given(self) -> dict[str, Any]:
        """Arguments for timm beyond its own."""
        own = {"in_chans": self.in_channels}
        if "img_size" in self.arguments:
            own["img_size"] = self.size  # type: ignore[assignment]
        if self.plain:
            own["patch_size"] = self.patch_size
        if self.drop_path:
            own["drop_path_rate"] = self.drop_path  # type: ignore[assignment]
        others = set(type(self).model_fields) - set(TimmConfig.model_fields)
        stated = {name: getattr(self, name) for name in others}
        return own | {name: value for name, value in stated.items() if value is not None}


def create(config: TimmConfig) -> nn.Module:
    """timm's model, without a classifier; UsageError where timm refuses what it is given."""
    with refusals(config.name):
        body: nn.Module = library().create_model(config.name, pretrained=False, num_classes=0, **config.given())
    return body
