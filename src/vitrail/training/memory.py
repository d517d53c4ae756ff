"""Peak memory of this process."""

from __future__ import annotations

import resource
import sys

import torch

STATUS = "/proc/self/status"


def peak_memory(device: str) -> int:
    """Bytes at the highest so far: allocated on the GPU for "cuda", resident in this process otherwise."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        # not getrusage: under Linux a process starts with the peak of the one that started it
        with open(STATUS, encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_memory_mb(device: str) -> int:
    """The same in MiB."""
    return round(peak_memory(device) / 2**20)
