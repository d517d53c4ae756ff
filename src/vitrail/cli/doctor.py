"""`vitrail doctor`: what is installed, what this machine has, and what Vitrail will use of it and why."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from vitrail import __version__
from vitrail.cli.layout import entries, terminal_width
from vitrail.cli.options import Call, Operands, Options
from vitrail.cli.verb import Outcome, Verb, command

LIBRARIES = (
    "torch", "torchvision", "torchmetrics", "safetensors", "numpy", "pillow", "simplejpeg", "pydantic", "pyarrow",
    "scikit-learn", "matplotlib", "tyro", "rich",
)  # fmt: skip
EXTRAS = {"tensorboard": "tensorboard", "timm": "test"}
"""Module that only some need -> the extra of Vitrail that brings it."""


@dataclass(frozen=True)
class DoctorOptions(Options):
    """None of its own."""


def doctor(call: Call[DoctorOptions]) -> Outcome:
    """Look at everything; nothing is changed."""
    found = examine()
    if not call.options.json:
        width = terminal_width()
        longest = max(len(name) for section in found.values() for name in section)
        for title, section in found.items():
            rows = [(name, _words(value)) for name, value in section.items()]
            print(entries(title.capitalize(), rows, width, longest), end="\n\n")
        for problem in problems(found):
            print(f"Problem: {problem}")
    return Outcome(
        result={"doctor": found},
        warnings=problems(found) if call.options.json else (),
        next=[command("train", "digits")],
    )


def examine() -> dict[str, dict[str, Any]]:
    """Title -> (name -> value), in the order shown."""
    extras = {
        name: metadata.version(name) if importlib.util.find_spec(name) else f"not installed: pip install 'vitrail[{x}]'"
        for name, x in EXTRAS.items()
    }
    return {
        "versions": {"vitrail": __version__, "python": platform.python_version(), **_versions()},
        "extras": extras,
        "devices": _devices(),
        "machine": _machine(),
    }


def problems(found: dict[str, dict[str, Any]]) -> list[str]:
    """What will make the commands fail."""
    missing = [name for name, version in found["versions"].items() if version is None]
    told = [f"{name} is not installed: pip install --upgrade vitrail" for name in missing]
    if "torch" in found["devices"]:
        told.append(f"torch {found['devices']['torch']}")
    if not found["machine"]["cache writable"]:
        told.append(f"the cache {found['machine']['cache']} cannot be written: set VITRAIL_CACHE to a folder that can")
    return told


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _devices() -> dict[str, Any]:
    """Each kind of device, and which one `--device auto` takes."""
    try:
        import torch

        from vitrail.runtime.torch_engine import pick_device
    except Exception as error:  # a torch that cannot be loaded is what a doctor is for
        return {"torch": f"cannot be loaded: {error}"}
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(index) for index in range(count)]
    built = f"this torch is built for CUDA {torch.version.cuda}, " if torch.version.cuda else "this torch has no CUDA"
    why_not = built + ("but no such GPU or driver was found" if torch.version.cuda else "")
    chosen = pick_device("auto")
    reason = {
        "cuda": "a CUDA GPU was found",
        "mps": "an Apple GPU was found (best effort)",
        "cpu": "no GPU was found",
    }[chosen]
    return {
        "used by default": f"{chosen}: {reason}",
        "cuda": ", ".join(names) or why_not,
        "mps": "available" if torch.backends.mps.is_available() else "not here",
        "bf16": _bf16(chosen),
        "threads": f"{torch.get_num_threads()} for torch, of {_cores()} cores (set threads=N or OMP_NUM_THREADS)",
    }


def _bf16(device: str) -> str:
    import torch

    if device == "cuda":
        return "fast" if torch.cuda.is_bf16_supported(including_emulation=False) else "emulated: slower than fp32"
    fast = device == "cpu" and any(flag in _cpu_flags() for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    return "supported by this CPU" if fast else "works, but likely slower than fp32 here"


def _machine() -> dict[str, Any]:
    from vitrail.durable import cache_folder

    folder = cache_folder()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "memory": _memory(),
        "cache": str(folder),
        "cache writable": os.access(nearest, os.W_OK),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = (line for line in file if line.startswith(("flags", "Features")))
            return set(next(lines, "").partition(":")[2].split())
    except OSError:
        return set()


def _memory() -> str:
    """Of the machine, and what a container may use of it where that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    words = f"{total / 2**30:.1f} GiB"
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        return words
    return words if limit >= total else f"{limit / 2**30:.1f} GiB allowed of {words}"


def _words(value: Any) -> str:
    if value is None:
        return "not installed"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


DOCTOR = Verb(
    name="doctor",
    summary="Versions, devices, memory, and what Vitrail will use and why. Changes nothing.",
    options=DoctorOptions,
    operands=Operands(),
    meanings={},
    function=doctor,
    examples=["vitrail doctor", "vitrail doctor --json"],
)
