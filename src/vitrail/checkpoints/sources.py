"""What a user may name as a source of weights, and what is found there: tensors, and whatever is known of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail import artifact, durable
from vitrail.checkpoints.pickles import read_pickle
from vitrail.checkpoints.tensorfile import read_json, read_npz, read_safetensors
from vitrail.checkpoints.torchvision_hub import published
from vitrail.errors import IntegrityError, UsageError, first_line

PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files that hold a folder's weights; the first that is there counts. A pickle only where there is nothing safer."""
DOWNLOADED = ("config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json",
              "model-*-of-*.safetensors")  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """Tensors as their file has them, and the rest that lies beside them.

    container: "safetensors", "npz" or "pickle".  wrapper: the key of a pickle under which they stood.  beside: the keys
    around it.  config: a config.json, or what our own files carry in their metadata.  processor: a
    preprocessor_config.json.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    container: str
    wrapper: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    beside: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file holds besides the weights, in words."""
        if not self.beside:
            return ()
        return (f"the file also holds {self.beside}, beside '{self.wrapper}' whose tensors these are: not read",)


def open_source(source: str | Path) -> Bundle:
    """Read a local file or folder, `hf-hub:ORG/NAME[@REVISION]`, `timm:NAME` or `torchvision:NAME`.

    Raises UsageError where there is nothing to read, or where a library or the network is missing; IntegrityError where
    what is there is damaged or could run code.
    """
    text = str(source)
    for scheme, fetch in SCHEMES.items():
        if text.startswith(scheme):
            return _open_folder(fetch(text.removeprefix(scheme)))
    if text.startswith("torchvision:"):
        file, known = published(text.removeprefix("torchvision:"))
        return replace(_open_file(file), config=known)
    path = Path(source)
    try:
        if path.is_dir():
            return _open_folder(path)
        if not path.is_file():
            raise UsageError(
                f"{path}: no weights there; expected a file, a model or run folder, hf-hub:ORG/NAME,"
                " timm:NAME or torchvision:NAME"
            )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if path.name in WEIGHTS and (path.parent / "config.json").is_file():
        return _open_folder(path.parent, path)
    return _open_file(path)


def _open_file(path: Path) -> Bundle:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        return Bundle(path, tensors, "safetensors", config=_own_metadata(path, metadata))
    if suffix == ".npz":
        return Bundle(path, read_npz(path), "npz")
    if suffix in PICKLED:
        tensors, wrapper, beside = read_pickle(path)
        return Bundle(path, tensors, "pickle", wrapper, beside=beside)
    raise UsageError(
        f"{path}: no known kind of weights; expected .safetensors, .npz, {', '.join(PICKLED)}, or a folder"
    )


def _own_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if "vitrail" not in metadata:
        return {}
    try:
        config = json.loads(metadata["vitrail"])
    except (ValueError, RecursionError):
        raise IntegrityError(f"{path}: its metadata is no JSON") from None
    return config if isinstance(config, dict) else {}


def _open_folder(folder: Path, named: Path | None = None) -> Bundle:
    """A folder's weights and configs; of a run, those of its best model."""
    for candidate in map(durable.standing, (folder, folder / "model" / "best", folder / "model" / "last")):
        weights = named or next((candidate / name for name in WEIGHTS if (candidate / name).is_file()), None)
        if weights is not None:
            break
    else:
        if (folder / "run.json").is_file():
            artifact.find(folder)  # says why a run has no model yet
        raise UsageError(f"{folder}: no weights there; expected one of {', '.join(WEIGHTS)}, or a run folder")
    config = _mapping(candidate / "config.json")
    processor = _mapping(candidate / "preprocessor_config.json")
    if (candidate / durable.MANIFEST).is_file() or {"format", "config"} <= config.keys():
        durable.verify(candidate)
    if weights.name.endswith(".index.json"):
        return Bundle(weights, _shards(weights), "safetensors", "", config, processor, candidate)
    bundle = _open_file(weights)
    return replace(bundle, path=weights, config=config or bundle.config, processor=processor, folder=candidate)


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise IntegrityError(f"{path} is no object of named values")
    return value


def _shards(index: Path) -> dict[str, Tensor]:
    """The tensors of a model that was cut into several safetensors files."""
    listed = _mapping(index).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise IntegrityError(f"{index} lists no files of weights")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(listed.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise IntegrityError(f"{index} names a file outside its folder: {name}")
        tensors |= _open_file(index.with_name(name)).tensors if index.with_name(name).is_file() else {}
    absent = sorted(listed.keys() - tensors.keys())
    if absent:
        raise IntegrityError(f"{index}: {len(absent)} of its tensors are in no file ({', '.join(absent[:3])})")
    return tensors


# ------------------------------------------------------------------------------------------------------ from afar


def _from_hub(name: str) -> Path:
    """A repository of the Hugging Face hub, in the library's own cache.

    Weights and configs alone are fetched, never code; a pickle only where there is no safetensors file.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError("hf-hub: needs the package huggingface_hub: pip install huggingface_hub") from None
    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or ".." in repository:
        raise UsageError(
            f"hf-hub:{name}: expected hf-hub:ORG/NAME, such as hf-hub:timm/vit_tiny_patch16_224.augreg_in21k"
        )
    try:
        for patterns in (DOWNLOADED, (*DOWNLOADED, "pytorch_model.bin")):
            folder = Path(
                huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns))
            )
            if any((folder / weights).is_file() for weights in WEIGHTS):
                return folder
    except Exception as error:  # the library raises its own, requests', httpx's and the socket's kinds
        why = first_line(error)
        raise UsageError(
            f"hf-hub:{name} could not be fetched ({why[:160]}); check the name and the network,"
            " or download it elsewhere and give the folder"
        ) from None
    raise UsageError(f"hf-hub:{name} has no {' or '.join(WEIGHTS)}")


def _from_timm(name: str) -> Path:
    """The repository in which timm keeps a model's pretrained weights."""
    try:
        import timm
    except ImportError:
        raise UsageError("timm: needs the package timm: pip install timm") from None
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise UsageError(f"timm:{name}: timm {timm.__version__} knows no such model, see timm.list_pretrained()")
    if not config.hf_hub_id:
        where = f"; its file is at {config.url}" if config.url else ""
        raise UsageError(f"timm:{name}: timm has no weights of it on the hub{where}")
    return _from_hub(config.hf_hub_id)


SCHEMES: Mapping[str, Callable[[str], Path]] = {"hf-hub:": _from_hub, "timm:": _from_timm}
