"""A program of its own: reads a .pth file and writes its tensors as safetensors. The only place that unpickles.

    python -I unpickle.py SOURCE DESTINATION

It loads with `weights_only=True`, which makes tensors and plain containers and calls nothing that a file names; should
that fail, there is no other way in. It stands in a process of its own because even that reader parses hostile bytes:
memory, processor time and the size of what it writes are limited before the file is opened. Its one line of output is
JSON: {"wrapper": KEY, "beside": OTHER KEYS} or {"refused": WHY}. It imports nothing of Vitrail.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zipfile
from typing import Any

WRAPPERS = ("model", "state_dict", "module", "model_state", "net")
"""Keys under which training scripts keep the weights; DeiT, Swin and PVT use the first."""
SPARE = 2 << 30
"""Bytes that the reader itself may need."""


def main(source: str, destination: str) -> int:
    """Convert, say how it went, and return the exit code."""
    size = os.path.getsize(source)
    try:
        _check_zip(source, size)
        answer = _convert(source, destination, size)
    except Exception as error:  # whatever a hostile file provokes: said in one line, and nothing is handed over
        answer = {"refused": f"{type(error).__name__}: {error}"[:500]}
    print(json.dumps(answer))
    return 1 if "refused" in answer else 0


def _check_zip(source: str, size: int) -> None:
    """torch stores its records uncompressed: a zip that promises more than it holds is a bomb."""
    if not zipfile.is_zipfile(source):
        return
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its records are compressed, which torch never does")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its records claim to be larger than the file")


def _convert(source: str, destination: str, size: int) -> dict[str, str]:
    import torch
    from safetensors.torch import save_file

    _limit(size)
    content = torch.load(source, map_location="cpu", weights_only=True)
    wrapper, beside = "", []
    while isinstance(content, dict) and not any(isinstance(value, torch.Tensor) for value in content.values()):
        key = next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if key is None:
            break
        beside += [str(other)[:40] for other in content if other != key]
        wrapper, content = key, content[key]
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not named tensors")
    tensors = _plain(content)
    save_file(tensors, destination)
    return {"wrapper": wrapper, "beside": ", ".join(sorted(beside)[:12])}


def _plain(content: dict[Any, Any]) -> dict[str, Any]:
    import torch

    tensors = {}
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            if isinstance(value, (int, float, str, bool, type(None))):
                continue
            raise ValueError(f"'{str(name)[:80]}' is a {type(value).__name__}, not a tensor")
        if not isinstance(name, str) or value.layout != torch.strided or value.is_quantized:
            raise ValueError(f"'{str(name)[:80]}' is no plain tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"'{name[:80]}' claims more values than the file holds")
        tensors[name] = value.detach().clone().contiguous()  # a copy of its own: safetensors takes no shared memory
    if not tensors:
        raise ValueError("it holds no named tensors")
    return tensors


def _limit(size: int) -> None:
    """Bound this process from here on: memory by what is mapped already, three times the file, and some room."""
    with contextlib.suppress(ImportError):
        import resource

        limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 2 * size + (64 << 20), "RLIMIT_CPU": 120 + size // (10 << 20)}
        with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:
            limits["RLIMIT_AS"] = int(statm.read().split()[0]) * resource.getpagesize() + 3 * size + SPARE
        for name, value in limits.items():
            with contextlib.suppress(ValueError, OSError, AttributeError):
                _, hard = resource.getrlimit(getattr(resource, name))
                bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(getattr(resource, name), (bound, bound))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
