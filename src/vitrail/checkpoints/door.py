"""Weights from a file into a model, with every tensor accounted for on both sides.

A load is whole or refused: there is no partial load that looks like success.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vitrail import durable
from vitrail.assemble import fill
from vitrail.errors import IntegrityError, UsageError

PICKLES = (b"\x80", b"PK\x03\x04")
"""How a pickle begins, bare or in torch's zip. A whole safetensors file may begin with 0x80 too: ask it first."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor: `loaded` by name, `parameters` in all of them together, and where they came from."""

    source: Path
    loaded: tuple[str, ...]
    parameters: int

    def __str__(self) -> str:
        return f"{len(self.loaded)} of {len(self.loaded)} tensors ({self.parameters:,} values) from {self.source}"


def load_weights(model: nn.Module, path: str | Path) -> LoadReport:
    """Fill every tensor of `model` from a run folder, a model folder or a safetensors file of the same names.

    Raises UsageError where there is no such file, IntegrityError where a tensor is missing, left over or of another
    shape, where the file is damaged, or where it is a pickle, which could run code.
    """
    file = _file(Path(path))
    tensors = _read(file)
    fill(model, tensors, file)
    return LoadReport(file, tuple(model.state_dict()), sum(t.numel() for t in tensors.values()))


def _file(path: Path) -> Path:
    for folder in (path, path / "model" / "best", path / "model" / "last"):
        if (folder / "model.safetensors").is_file():
            durable.verify(folder)
            return folder / "model.safetensors"
    if path.is_file():
        return path
    raise UsageError(f"{path}: no weights there; expected a run folder, a model folder or a .safetensors file")


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        with file.open("rb") as opened:
            if opened.read(4).startswith(PICKLES):
                raise IntegrityError(f"{file} is a pickle, which can run code when it is read: refused") from None
        raise IntegrityError(f"{file} is no whole safetensors file: {error}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None
