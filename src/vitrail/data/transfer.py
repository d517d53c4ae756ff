"""From the host to the device, without the host waiting for what the device is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Batch, Mixing


def to_device(values: np.ndarray[Any, Any] | Tensor, device: torch.device | str) -> Tensor:
    """A copy on the device, of the same type and shape; the host goes on at once.

    A copy to a GPU from memory that may be paged out would first wait for the GPU's queue: this one goes through memory
    that is pinned, and is used on the device only after it has arrived. What is there already is given back.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(values)) if isinstance(values, np.ndarray) else values
    device = torch.device(device)
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def batch_to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The same batch with what is computed with (images, targets, weights, mixing) on the device."""
    mixing = batch.mixing and Mixing(to_device(batch.mixing.partners, device), to_device(batch.mixing.share, device))
    images, targets, weights = (to_device(each, device) for each in (batch.images, batch.targets, batch.weights))
    return replace(batch, images=images, targets=targets, weights=weights, mixing=mixing)


def beside(values: Sequence[float], other: Tensor) -> Tensor:
    """Numbers that a computation on `other` needs, on its device and of its type."""
    return to_device(torch.tensor(values, dtype=other.dtype), other.device)
