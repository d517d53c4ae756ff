"""Weights from a file into a model, with every tensor accounted for on both sides.

A load is whole or refused: there is no partial load that looks like success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vitrail import durable
from vitrail.errors import IntegrityError, UsageError

PICKLES = (b"\x80", b"PK\x03\x04")
"""How a pickle begins, bare or in torch's zip."""


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
    own = model.state_dict()
    _account(own, tensors, file)
    model.load_state_dict(tensors)
    return LoadReport(file, tuple(own), sum(t.numel() for t in tensors.values()))


def _file(path: Path) -> Path:
    for folder in (path, path / "model" / "best", path / "model" / "last"):
        if (folder / "model.safetensors").is_file():
            durable.verify(folder)
            return folder / "model.safetensors"
    if path.is_file():
        return path
    raise UsageError(f"{path}: no weights there; expected a run folder, a model folder or a .safetensors file")


def _read(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as opened:
        head = opened.read(4)
    if head.startswith(PICKLES):
        raise IntegrityError(f"{file} is a pickle, which can run code when it is read: it is refused")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise IntegrityError(f"{file} is no whole safetensors file: {error}") from None


def _account(own: Mapping[str, Tensor], given: Mapping[str, Tensor], file: Path) -> None:
    missing = sorted(own.keys() - given.keys())
    extra = sorted(given.keys() - own.keys())
    shapes = [name for name in own if name in given and own[name].shape != given[name].shape]
    if not (missing or extra or shapes):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors of the model are not in the file ({_some(missing)})")
    if extra:
        parts.append(f"{len(extra)} tensors of the file are not in the model ({_some(extra)})")
    if shapes:
        first = shapes[0]
        parts.append(f"{len(shapes)} differ in shape ({first}: {_dims(given[first])} for {_dims(own[first])})")
    raise IntegrityError(f"{file} does not fit the model, nothing was loaded: {'; '.join(parts)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _dims(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"
