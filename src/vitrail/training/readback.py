"""Numbers on their way from the device to the host, which need not wait for the device when they set out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ToHost:
    """A tensor on its way to the host. It must not be written to meanwhile; on the CPU it is there already."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._arrived: torch.cuda.Event | None = None
        if tensor.is_cuda:
            # into pinned memory, or the copy would block; an event of its own, or reading would wait for later updates
            there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor = there.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def get(self) -> Tensor:
        """The tensor on the host; waits until it has arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor


class Readback:
    """A few scalars of one update. values: each () float, on one device; `read` waits for them if it must."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._numbers = ToHost(torch.stack([value.float() for value in values]))

    def read(self) -> list[float]:
        """The values, in order."""
        numbers: list[float] = self._numbers.get().tolist()
        return numbers
