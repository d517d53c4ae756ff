"""The engine that runs a model in PyTorch, and the choice of its device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from vitrail.contracts import Engine, Floats
from vitrail.errors import UsageError
from vitrail.runtime.tiles import TiledEngine


def pick_device(name: str = "auto") -> str:
    """Resolve "auto" to the best device at hand (cuda, then mps, then cpu); UsageError for one that is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available.get(name, False):
        present = ", ".join(device for device, there in available.items() if there)
        raise UsageError(f"device '{name}' is not available here: use --device auto or one of: {present}")
    return name


def fast_bf16(device: str) -> bool:
    """Whether the device multiplies bf16 itself, faster than fp32: AVX-512 BF16 or AMX, or a GPU since Ampere."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    asked = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("avx512_bf16", "amx_tile"))
    return any(bool(ask()) for ask in asked if ask is not None)


def make_engine(model: nn.Module, device: str, windows: tuple[int, int] | None = None) -> Engine:
    """What runs `model` on arrays; through windows of (H, W) where images are larger than what the model takes."""
    engine = TorchEngine(model, device)
    return TiledEngine(engine, windows) if windows else engine


class TorchEngine:
    """Runs `model` in evaluation mode, fp32, without gradients: (B, C, H, W) float32 NumPy -> outputs as NumPy.

    fp32 whatever the training precision, so that what is reported is what `predict` and exported files give.
    """

    def __init__(self, model: nn.Module, device: str) -> None:
        self.model = model
        self.device = torch.device(device)

    def __call__(self, images: Floats) -> np.ndarray[Any, Any]:
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                outputs = self.model(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
                return np.asarray(outputs.float().cpu().numpy())
        finally:
            self.model.train(was_training)
