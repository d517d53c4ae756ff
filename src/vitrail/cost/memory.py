"""The memory of one device in training, by what it is, and the largest batch that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitrail.cost.trace import Kernels, Step

PARTS = ("weights", "gradients", "optimizer", "ema", "activations", "attention", "copies", "workspace")
"""What a row tells, in the order shown. The last five vary during a step and are those of its fullest instant."""

STATES = {"adamw": 2, "lamb": 2, "sgd": 1}
"""Optimizer -> numbers it keeps per weight: both moments, or the momentum."""

LAMB_PASSING = 4
"""Lists as large as the weights that LAMB's update makes at once: gradients divided, squares, two of steps."""

OUTSIDE: Mapping[Kernels, int] = {"cuda": 2**30, "cpu": 2**29}
"""Bytes that a process takes besides its tensors, estimated: a GPU's context and its libraries' workspaces; Python and
its libraries."""

ROUNDING: Mapping[Kernels, int] = {"cuda": 512, "cpu": 64}
"""The allocators give out multiples of this."""

MOST = 2**24
"""Images; no batch is looked for beyond."""


@dataclass(frozen=True)
class Setting:
    """How a step is trained on each device. buckets: DDP's copies of the gradients, by which they travel."""

    kernels: Kernels = "cuda"
    optimizer: str = "adamw"
    ema: bool = False
    accumulate: int = 1
    buckets: bool = False


def memory(step: Step, batch: int, setting: Setting) -> dict[str, int]:
    """Bytes of each of PARTS at the fullest instant, with a batch of so many images on the device at once."""
    rounding = ROUNDING[setting.kernels]
    standing = _standing(step, setting)
    kept = setting.accumulate > 1
    gradients = step.gradient_bytes
    copies = gradients if setting.buckets else 0
    backward = step.timeline.peak(batch, rounding, kept_gradients=kept).parts
    backward = {**backward, "copies": backward["copies"] + copies}
    if kept:
        backward["gradients"] += gradients
    others = setting.accumulate - 1 if setting.kernels == "cpu" else 0  # micro-steps that wait in the same memory
    waiting = others * batch * step.image_bytes
    backward["activations"] += waiting
    updating = _updating(step, setting) | {"copies": copies, "activations": (batch * step.image_bytes) + waiting}
    fuller = max(backward, updating, key=lambda parts: sum(parts.values()))
    return {part: standing.get(part, 0) + fuller.get(part, 0) for part in PARTS}


def largest(step: Step, setting: Setting, limit: int) -> int:
    """Most images on the device at once that fit in `limit` bytes with what else a process takes; 0 for not one."""

    def fits(batch: int) -> bool:
        return sum(memory(step, batch, setting).values()) + OUTSIDE[setting.kernels] <= limit

    low, high = 0, 1
    while high <= MOST and fits(high):
        low, high = high, min(2 * high, MOST + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _standing(step: Step, setting: Setting) -> dict[str, int]:
    """What is there at every instant. Running statistics are kept twice, to be taken back with a refused update."""
    return {
        "weights": step.weights + step.buffers + step.learned,
        "optimizer": STATES[setting.optimizer] * step.gradient_bytes,  # in the numbers the gradients are in
        "ema": step.weights + step.buffers if setting.ema else 0,
    }


def _updating(step: Step, setting: Setting) -> dict[str, int]:
    """What the update itself makes beside all gradients; AdamW and SGD work in place."""
    passing = LAMB_PASSING * step.gradient_bytes if setting.optimizer == "lamb" else 0
    return {"gradients": step.gradient_bytes, "workspace": passing}
