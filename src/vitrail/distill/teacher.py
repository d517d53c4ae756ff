"""A model that teaches another. It sees the student's own images: the same crops, the same mixing, the same pixels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError


class Teacher:
    """A trained model that is only asked: in evaluation mode, without gradients, and no module of an objective's.

    name: as the user gave it.  preprocessor: how it is given images.  told: what it is, in a few words for the report.
    """

    def __init__(self, name: str, model: VisionModel, preprocessor: Preprocessor, device: str, told: str = "") -> None:
        self.name, self.preprocessor = name, preprocessor
        self.model = model.to(device).eval().requires_grad_(False)
        self.task: Task = model.task
        self.told = told or name

    @property
    def backbone(self) -> Backbone:
        """Its backbone."""
        return cast(Backbone, self.model.backbone)

    def refuse_other_images(self, student: Preprocessor) -> None:
        """UsageError where the student's images have not the size and the channels that the teacher takes."""
        own, theirs = self.preprocessor, student
        if own.channels != theirs.channels:
            what = f"takes images of {own.channels} channels, and this run's have {theirs.channels}"
            raise UsageError(
                f"the teacher {self.name} {what}: set data.channels={own.channels}, or use another teacher"
            )
        if own.size != theirs.size:
            size, other = (f"{height} x {width} px" for height, width in (own.size, theirs.size))
            raise UsageError(
                f"the teacher {self.name} takes images of {size}, and this run's are {other}: it is worth what it was"
                f" measured to be at its own size alone.\nSet --image-size {own.size[0]}, or let --teacher auto train"
                f" one at {theirs.size[0]} px"
            )

    def normalised(self, student: Preprocessor) -> Callable[[Tensor], Tensor]:
        """What turns the student's images (B, C, H, W), normalised its way, into the same pixels normalised as here."""
        (mean, std), (own_mean, own_std) = (
            (np.broadcast_to(np.asarray(each, np.float64), p.channels) for each in (p.mean, p.std))
            for p in (student, self.preprocessor)
        )
        scale, shift = std / own_std, (mean - own_mean) / own_std
        if (scale == 1).all() and (shift == 0).all():
            return lambda images: images
        factor, offset = (torch.from_numpy(each.astype(np.float32))[:, None, None] for each in (scale, shift))
        return lambda images: torch.addcmul(offset.to(images.device), images, factor.to(images.device))

    def answers(self, student: Preprocessor) -> Callable[[Tensor], Tensor]:
        """The student's images (B, C, H, W) -> raw outputs (B, ...), float32, without gradients."""
        see = self.normalised(student)

        @torch.no_grad()
        def say(images: Tensor) -> Tensor:
            outputs: Tensor = self.model(see(images))
            return outputs.float()

        return say

    def maps(self, student: Preprocessor, level: int, grid: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """The student's images (B, C, H, W) -> a map of the pyramid resized to a grid, (B, C_level, h, w) float32."""
        see = self.normalised(student)

        @torch.no_grad()
        def say(images: Tensor) -> Tensor:
            pyramid = self.model.features(see(images), pyramid=True).pyramid
            assert pyramid is not None, "it was asked for"
            seen = pyramid[level].float()  # (B, C_level, H / s, W / s)
            return seen if seen.shape[2:] == grid else F.interpolate(seen, grid, mode="bilinear", antialias=True)

        return say

    def level_at(self, stride: float) -> int:
        """The level of its pyramid whose stride is nearest to `stride` pixels, in ratio; the finer of two."""
        apart: Sequence[float] = [abs(math.log(own / stride)) for own in self.backbone.strides]
        return min(range(len(apart)), key=apart.__getitem__)

    def digest(self) -> str:
        """A name for what it computes, by every weight, its architecture and its preprocessing: 32 hex digits."""
        config = getattr(self.backbone, "config", None)
        said: dict[str, Any] = {
            "backbone": f"{type(self.backbone).__name__} {config!r}",
            "head": repr(self.model.head),
            "task": self.task.state(),
            "preprocessor": self.preprocessor.model_dump(mode="json"),
        }
        found = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16)
        for name, tensor in sorted(self.model.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()
