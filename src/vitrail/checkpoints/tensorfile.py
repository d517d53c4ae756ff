"""Files of named tensors that cannot run code: safetensors, and the .npz archives of JAX's vision models."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitrail.errors import IntegrityError, UsageError, first_line

PICKLES = (b"\x80", b"PK\x03\x04")
"""How a pickle begins, bare or in torch's zip. A whole safetensors file may begin with 0x80 too: ask it first."""
LARGEST_RATIO = 16
"""Weights hardly compress: an archive that unpacks to more than this many times its size is a bomb."""
SMALL = 64 << 20
"""Bytes that any archive may unpack to."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the file's metadata; raises IntegrityError where the file is no whole safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        with path.open("rb") as opened:
            if opened.read(4).startswith(PICKLES):
                raise IntegrityError(f"{path} is a pickle, which can run code when it is read: refused") from None
        why = first_line(error)
        raise IntegrityError(f"{path} is no whole safetensors file: {why[:200]}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def read_npz(path: Path) -> dict[str, Tensor]:
    """Arrays by name, "/" between the parts of a name; raises IntegrityError where one is no plain array of numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _refuse_bomb(path, entries)
            return {entry.filename.removesuffix(".npy"): _tensor(_array(archive, entry)) for entry in entries}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except IntegrityError:
        raise
    except Exception as error:  # zipfile and NumPy's header reader raise many kinds on damaged bytes
        why = first_line(error)
        raise IntegrityError(f"{path} is no whole .npz archive of numbers: {why[:200]}") from None


def write_npz(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as an .npz archive, float32 and uncompressed, as JAX's models keep theirs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(tensor.numpy()), allow_pickle=False)


def read_json(path: Path) -> Any:
    """A JSON file's value; raises IntegrityError where it is none."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is no JSON: {str(error).splitlines()[0]}") from None


def _refuse_bomb(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    unpacked, packed = sum(e.file_size for e in entries), path.stat().st_size
    if unpacked > max(SMALL, LARGEST_RATIO * packed):
        raise IntegrityError(f"{path} would unpack from {packed:,} to {unpacked:,} bytes, which no weights do: refused")
    if not entries or not all(e.filename.endswith(".npy") for e in entries):
        raise IntegrityError(f"{path} is no .npz archive: it holds files that are no arrays")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
        if dtype.hasobject:
            raise IntegrityError(
                f"{archive.filename}: {entry.filename} holds Python objects, which could run code: refused"
            )
        count = int(np.prod(shape, dtype=object))
        if count * dtype.itemsize > entry.file_size:
            raise IntegrityError(f"{archive.filename}: {entry.filename} claims more values than it holds")
        values = np.frombuffer(bytearray(file.read(count * dtype.itemsize)), dtype=dtype, count=count)
    return values.reshape(shape, order="F" if fortran else "C")


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype == np.dtype("V2"):  # NumPy has no bfloat16 and keeps its bytes
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    native = array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(np.ascontiguousarray(native) if native.ndim else native.copy())
