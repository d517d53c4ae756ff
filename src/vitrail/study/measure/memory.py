"""The most memory that a model takes to answer, in a process of its own: no other model's peak is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vitrail.training.memory import peak_memory

TIMEOUT = 300.0
"""Seconds after which a process that does not answer is ended."""


@dataclass(frozen=True)
class Peak:
    """At batches of so many. total: bytes, with Python and PyTorch themselves; of a GPU what was allocated there.
    model: what the model and its answer took beyond the same process before it was loaded.
    """

    batch: int
    total: int
    model: int


@dataclass(frozen=True)
class Memory:
    """peaks: at each batch size, () where they could not be measured.  what: of what, or why not."""

    peaks: tuple[Peak, ...]
    what: str


def memory(folder: Path, device: str, batches: Sequence[int], threads: int = 0) -> Memory:
    """Load the model folder in a new process and let it answer batches of zeros, the smallest first.

    threads: of torch, whose work memory grows with them; 0 leaves torch its own choice.
    """
    code = "from vitrail.study.measure.memory import main; main()"
    asked = json.dumps([str(folder), device, sorted(set(batches)), threads])
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, asked], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Memory((), f"not measured: the process of its own failed ({type(error).__name__})")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Memory((), f"not measured: the process of its own failed ({last})")
    peaks = tuple(Peak(*row) for row in json.loads(done.stdout.splitlines()[-1]))
    where = "allocated on the GPU" if device == "cuda" else "resident in a process of its own"
    return Memory(peaks, where)


def main() -> None:
    """What the new process does: prints rows of (batch, total, model) as JSON."""
    from vitrail.artifact import load
    from vitrail.runtime.torch_engine import make_engine

    folder, device, batches, threads = json.loads(sys.argv[1])
    if threads:
        torch.set_num_threads(threads)
    before = peak_memory(device)
    artifact = load(folder, device)
    preprocessor = artifact.preprocessor
    engine = make_engine(artifact.model, device, preprocessor.windows)
    rows = []
    for batch in batches:
        engine(np.zeros((batch, preprocessor.channels, *preprocessor.size), np.float32))
        rows.append((batch, peak_memory(device), peak_memory(device) - before))
    print(json.dumps(rows))
