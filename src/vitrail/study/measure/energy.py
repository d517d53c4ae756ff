"""Energy per image, where the machine reports what it uses: a processor by RAPL, an NVIDIA GPU by its driver.

The counters are of the whole package or the whole card, idle power and other programs included: what is told is what
the machine took while it answered, not what the model alone would take.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

RAPL = Path("/sys/class/powercap")
SAMPLE_SECONDS = 0.2
"""Between two readings of a GPU's power."""


@dataclass(frozen=True)
class Energy:
    """joules: per image, None where the machine does not say.  what: of what, or why not."""

    joules: float | None
    what: str


def energy(work: Callable[[], int], device: str, seconds: float, root: Path = RAPL) -> Energy:
    """What an image takes, while `work`, which answers images and says how many, is repeated for so many seconds."""
    return _gpu(work, seconds) if device == "cuda" else _package(work, seconds, root)


def _repeat(work: Callable[[], int], seconds: float) -> int:
    end, images = time.perf_counter() + seconds, 0
    while not images or time.perf_counter() < end:
        images += work()
    return images


def _package(work: Callable[[], int], seconds: float, root: Path) -> Energy:
    zones = [zone for zone in sorted(root.glob("*-rapl:*")) if zone.name.count(":") == 1]
    if not zones:
        return Energy(None, f"this machine reports no energy: {root} has no counter of a processor (RAPL)")
    try:
        before = [_counted(zone) for zone in zones]
        images = _repeat(work, seconds)
        after = [_counted(zone) for zone in zones]
        most = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
    except (OSError, ValueError):
        return Energy(None, f"the counters in {root} cannot be read: Linux leaves them to root")
    # a counter that has come round once is behind where it began
    joules = sum((end - start) % (limit + 1) for start, end, limit in zip(before, after, most, strict=True)) / 1e6
    if not joules:
        return Energy(None, f"the counters in {root} stood still")
    packages = "the processor" if len(zones) == 1 else f"all {len(zones)} processors"
    return Energy(
        joules / images, f"{packages} by RAPL, idle power and other programs included, over {images:,} images"
    )


def _counted(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())


def _gpu(work: Callable[[], int], seconds: float) -> Energy:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Energy(None, "nvidia-smi is not there to say what the GPU takes")
    gpu = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    watts: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            value = watts_of(tool, gpu)
            if value is not None:
                watts.append(value)
            over.wait(SAMPLE_SECONDS)

    sampler = threading.Thread(target=sample, name="vitrail-power", daemon=True)
    sampler.start()
    began = time.perf_counter()
    try:
        images = _repeat(work, seconds)
        taken = time.perf_counter() - began
    finally:
        over.set()
        sampler.join()
    if not watts:
        return Energy(None, "nvidia-smi does not say what this GPU takes")
    joules = sum(watts) / len(watts) * taken
    return Energy(joules / images, f"the GPU by nvidia-smi, {len(watts)} readings over {images:,} images")


def watts_of(tool: str, gpu: str) -> float | None:
    """What a GPU takes now; None where nvidia-smi does not say.

    gpu: its UUID. nvidia-smi counts all GPUs of the machine, PyTorch those that CUDA_VISIBLE_DEVICES leaves it.
    """
    query = [tool, "--query-gpu=power.draw", "--format=csv,noheader,nounits", "-i", gpu]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
        return float(said.strip())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
