"""`.pth`, `.pt` and `.bin` files: read in a child process and handed back as safetensors. Nothing is unpickled here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from vitrail.checkpoints.tensorfile import read_safetensors
from vitrail.errors import IntegrityError, UsageError

PROGRAM = Path(__file__).with_name("unpickle.py")
SECONDS = 120.0
"""Time to start Python and torch on a slow machine; a file adds to it by its size."""
BYTES_PER_SECOND = 5 << 20
KEPT = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "TMPDIR",
    "TEMP",
    "TMP",
    "OMP_NUM_THREADS",
    "LANG",
)
"""What the child sees of the environment."""


def read_pickle(path: Path) -> tuple[dict[str, Tensor], str, str]:
    """The named tensors of a file that torch saved, the key they stood under ("model") or "", and the keys beside it.

    Raises IntegrityError where the file holds anything but tensors in plain containers, or is damaged; UsageError where
    it cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    with tempfile.TemporaryDirectory(prefix="vitrail-") as private:
        made = Path(private) / "weights.safetensors"
        try:
            child = subprocess.run(
                [sys.executable, "-I", str(PROGRAM), os.path.abspath(path), str(made)],
                stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=private,
                timeout=SECONDS + size / BYTES_PER_SECOND, env={k: os.environ[k] for k in KEPT if k in os.environ},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise IntegrityError(f"{path} took too long to read and was refused") from None
        answer = _answer(child.stdout)
        if child.returncode or "refused" in answer or not made.is_file():
            raise IntegrityError(f"{path} is refused: {_why(answer.get('refused', ''), child.returncode)}")
        return read_safetensors(made)[0], answer.get("wrapper", ""), answer.get("beside", "")


def _answer(output: bytes) -> dict[str, str]:
    try:
        answer = json.loads(output.decode(errors="replace").strip().splitlines()[-1])
        return {str(key): str(value) for key, value in answer.items()}
    except (ValueError, IndexError, AttributeError, RecursionError):
        return {}


def _why(said: str, code: int) -> str:
    """The child's reason in one clause."""
    if not said:
        return f"reading it failed (exit {code}), as it does for a damaged file or one that needs too much memory"
    if "weights_only" in said or "Weights only" in said or "UnpicklingError" in said:
        return "it holds more than tensors, which could run code when read; ask its maker for a safetensors file"
    if "MemoryError" in said or "allocate" in said:
        return "it asks for more memory than a file of its size may"
    return " ".join(said.split())[:200]
