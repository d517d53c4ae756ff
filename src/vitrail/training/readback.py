"""Numbers on their way from the device to the host, which need not wait for the device when they set out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Readback:
    """A few scalars of one update. values: each () float, on one device; `read` waits for them if it must."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._numbers = torch.stack([value.float() for value in values])
        self._arrived: torch.cuda.Event | None = None
        if self._numbers.is_cuda:
            # into pinned memory, or the copy would block; an event of its own, or reading would wait for later updates
            there = torch.empty(self._numbers.shape, pin_memory=True)
            self._numbers = there.copy_(self._numbers, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def read(self) -> list[float]:
        """The values, in order."""
        if self._arrived is not None:
            self._arrived.synchronize()
        numbers: list[float] = self._numbers.tolist()
        return numbers
