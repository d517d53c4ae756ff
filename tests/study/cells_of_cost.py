"""Cells of a study of cost, made up: times and memory by known laws, and counts that take no time."""

from __future__ import annotations

import numpy as np

from vitrail.study.growth.counted import Counted, Operand
from vitrail.study.growth.measured import Measured, Pass

PATCH = {"vit": 16, "swin": 4, "cnn": 4}


def tokens(model: str, size: int) -> int:
    """Of the first grid."""
    return (size // PATCH[model]) ** 2


def seconds(model: str, size: int) -> tuple[float, float]:
    """Of one image's forward pass, and of its attention: ViT's with the square of N, the window's with N."""
    n = tokens(model, size)
    attention = {"vit": 4e-8 * n**2, "swin": 3e-7 * n, "cnn": 0.0}[model]
    return {"vit": 2e-5 * n, "swin": 4e-6 * n, "cnn": 3e-6 * n}[model] + attention, attention


def made(model: str, size: int, what: Pass = "forward", batch: int = 2, noise: float = 0.0) -> Measured:
    """A cell with the times of `seconds`, three times as long in a training step."""
    rng = np.random.default_rng([size, len(model), len(what)])
    times = 3 if what == "step" else 1
    whole, attention = (batch * times * one * float(np.exp(noise * rng.normal())) for one in seconds(model, size))
    n = tokens(model, size)
    operations = {"vit": n**2, "swin": n, "cnn": 0}[model]
    return Measured(
        model, what, size, batch, n, round(1e6 * n * batch * times), round(1e3 * operations * batch),
        (1.01 * whole, whole), (attention, 1.1 * attention) if attention else (), (1.0, 1.0),
        10_000_000 + 4_000 * n, None, 10_000_000,
    )  # fmt: skip


def counted(model: str, size: int, batch: int) -> Counted:
    """What `count` would say of such a model."""
    n = tokens(model, size)
    one = Operand((batch, 1, n, 8), (8 * n, 8 * n, 8, 1), True)
    calls = (((one, one, one, None), 2),) if model != "cnn" else ()
    return Counted(model, size, batch, n, 1000, 1_000_000 * n, 3_000_000 * n, 1000, calls, 4000, 12_000, 20_000)
