"""Learned positions, which every layout keeps with another set of leading rows; and fields that each layout says.

Ours: a row for each of [CLS] and the distillation token, where positions cover them, then the patches in raster order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.table import Transform


def prefix_rows(config: Any) -> int:
    """Rows of ours before the first patch's: those of [CLS] and of the distillation token, none in DeiT III."""
    return int(config.placed)


def cells(config: Any) -> int:
    """N of the image size that is set."""
    height, width = config.size
    return int((height // config.patch_size) * (width // config.patch_size))


def _read(theirs: Sequence[Tensor], config: Any) -> Sequence[Tensor]:
    """Rows for patches alone leave the prefix without a position: rows of zeros say the same."""
    (positions,) = theirs
    if config is None or positions.shape[1] != cells(config) or not prefix_rows(config):
        return theirs
    return [torch.cat([positions.new_zeros(1, prefix_rows(config), positions.shape[2]), positions], dim=1)]


POSITIONS = Transform(_read, lambda ours, _: ours, "rows of the prefix")


def _read_registers(theirs: Sequence[Tensor], config: Any) -> Sequence[Tensor]:
    """timm may give registers a position; added to the registers themselves it says the same."""
    positions, registers = theirs
    if config is None:
        return theirs
    prefix, count = prefix_rows(config), registers.shape[1]
    if positions.shape[1] == prefix + count + cells(config):
        registers = registers + positions[:, prefix : prefix + count]
        positions = torch.cat([positions[:, :prefix], positions[:, prefix + count :]], dim=1)
        return [positions, registers]
    return [*_read([positions], config), registers]


def _write_registers(ours: Sequence[Tensor], config: Any) -> Sequence[Tensor]:
    positions, registers = ours
    if not config.cls_position:
        return ours
    prefix = prefix_rows(config)
    none = positions.new_zeros(registers.shape)
    return [torch.cat([positions[:, :prefix], none, positions[:, prefix:]], dim=1), registers]


POSITIONS_AND_REGISTERS = Transform(_read_registers, _write_registers, "rows of the registers")


def grids_that_windows_divide(config: Any, clamped: bool = False) -> str:
    """Why a Swin at its image size is another function in other libraries; "" where it is the same.

    They let padding take part in attention, and ours masks it.  clamped: whether a map smaller than the window is one
    window there too, and no tensor of the file has the window's size: so it is in Swin V2, but for torchvision.
    """
    height, width = config.size
    for level in range(len(config.depths)):
        stride = config.patch_size << level
        if clamped and height == width and height % stride == 0 and height // stride <= config.window:
            continue
        for side in (height, width):
            if side % stride or (side // stride) % config.window:
                return (
                    f"image_size={config.image_size} with window={config.window}: level {level + 1} would need padding"
                    " or a smaller window, which other libraries compute in another way"
                )
    return ""
