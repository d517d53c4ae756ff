"""What an explanation is about: one number of the model's answer for each image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Target:
    """The answer to explain, of each image of a batch.

    output (B,) int64: the class, label, number or map.  against (B,) int64: another output, whose value is taken off
    ("why this and not that").  region (B, H, W) bool over the model's pixels: of a dense answer, where; None is
    everywhere.  reader: which prefix token to read from, by its name in `prefix_names` ("cls", "dist"); None is what
    the head reads, both tokens of a distilled model.  cell (row, column): a patch of the last grid whose gaze is asked
    for instead of the head's; methods that only follow attention take it.
    """

    output: Tensor
    against: Tensor | None = None
    region: Tensor | None = None
    reader: str | None = None
    cell: tuple[int, int] | None = None

    def score(self, outputs: Tensor) -> Tensor:
        """Outputs (B, Y) or (B, Y, H, W) -> (B,): what is asked for, of a dense answer its mean over the region."""
        chosen = _of(outputs, self.output)
        if self.against is not None:
            chosen = chosen - _of(outputs, self.against)
        if chosen.ndim == 1:
            return chosen
        if self.region is None:
            return chosen.mean(dim=(1, 2))
        inside = self.region.to(chosen.dtype)
        return (chosen * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)

    def repeated(self, times: int) -> Target:
        """The same for a batch in which each image stands `times` times in a row."""

        def repeat(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.repeat_interleave(times, dim=0)

        output = self.output.repeat_interleave(times, dim=0)
        return Target(output, repeat(self.against), repeat(self.region), self.reader, self.cell)


def _of(outputs: Tensor, index: Tensor) -> Tensor:
    """(B, Y, ...) -> (B, ...), of each image the output that is asked for."""
    return outputs[torch.arange(len(outputs), device=outputs.device), index.to(outputs.device)]
