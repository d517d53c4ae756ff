"""Peak memory of this run."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory_mb(device: str) -> int:
    """MiB at the highest so far: allocated on the GPU for "cuda", resident in the process otherwise."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
