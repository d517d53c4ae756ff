"""Small arrays from the host to the device, without the host waiting for what the device is doing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


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


def beside(values: Sequence[float], other: Tensor) -> Tensor:
    """Numbers that a computation on `other` needs, on its device and of its type."""
    return to_device(torch.tensor(values, dtype=other.dtype), other.device)
