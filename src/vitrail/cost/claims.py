"""What the figures of a plan are: counted or estimated, and how far off they were where it was checked."""

from __future__ import annotations

COUNTED = (
    "Parameters, FLOPs and every tensor of a training step are counted, by the model's own code on tensors without"
    " content; FSDP2 is PyTorch's own, over devices that are not there. A FLOP is a multiplication or an addition of a"
    " convolution, a linear layer or attention."
)

ESTIMATED = {
    "cuda": (
        "Estimated: what a process takes besides its tensors (1 GiB is held back), and that the GPU's attention keeps"
        " what its fused kernels are documented to keep; cuDNN's passing workspaces, fragmentation and images loaded"
        " ahead are left out. DDP is counted with buckets beside the gradients. Time is arithmetic: the utilisation"
        " must stand for communication and loading too."
    ),
    "cpu": (
        "Estimated: what a process takes besides its tensors (0.5 GiB is held back); oneDNN's passing workspaces and"
        " images loaded ahead are left out. DDP is counted with buckets beside the gradients. Time is arithmetic: the"
        " utilisation must stand for communication and loading too."
    ),
}
"""By whose kernels compute."""

CHECKED = (
    "Checked on a CPU, in fp32 and bf16, with and without recomputing, for ViT-S, Swin-T, PVT v2-B1 and ResNet-50:"
    " within 4 % of what PyTorch's allocator gave out, and within 9 % of what the process grew by; FSDP2 of ViT-Ti in"
    " fp32 over two processes within 6 % (benchmarks/plan.py). On a GPU it has not been checked yet."
)
