"""What attention costs in training on a CPU: bfloat16 as PyTorch has it, and with float32 inside, as Vitrail has it.

    python benchmarks/attention.py

Milliseconds of one thread's processor time for forward and backward, least of 7, and by how much the answers differ
from float64's. Queries (B, A, T, d); a window is an image of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from vitrail.layers.attention import ScaledDotProduct

SHAPES = {
    "64 px, patch 8, 4 heads": (64, 4, 65, 32),
    "ViT-S/16 at 224 px": (16, 6, 197, 64),
    "Swin-T's first windows": (256, 3, 49, 32),
    "ViT-S/16 at 512 px": (2, 6, 1025, 64),
}


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As PyTorch has it."""
    return F.scaled_dot_product_attention(q, k, v)


def measure(attention: Callable[[Tensor, Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> tuple[float, float]:
    """Milliseconds, and the largest difference from float64."""
    draw = torch.Generator().manual_seed(0)
    q, k, v, upstream = (torch.randn(shape, generator=draw).bfloat16() for _ in range(4))
    exact = fused(q.double(), k.double(), v.double())
    times = []
    for _ in range(8):
        leaves = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
        began = time.thread_time()
        answer = attention(*leaves)
        answer.backward(upstream)  # type: ignore[no-untyped-call]
        times.append(time.thread_time() - began)
    return 1e3 * min(times[1:]), float((answer.detach().double() - exact).abs().max())


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| shape | PyTorch's, ms | ours, ms | ratio | PyTorch's error | ours |\n|---|---|---|---|---|---|")
    for what, shape in SHAPES.items():
        (before, rough), (after, close) = measure(fused, shape), measure(ScaledDotProduct(), shape)
        print(f"| {what} | {before:.1f} | {after:.1f} | {before / after:.1f} | {rough:.1e} | {close:.1e} |", flush=True)


if __name__ == "__main__":
    main()
