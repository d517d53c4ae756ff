"""torchvision's own weights by name: its file, fetched once into torch's cache, and what its metadata says beside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torchvision.models import get_model_weights, list_models

from vitrail.errors import UsageError, first_line, unknown

_HASH = re.compile(r"-([0-9a-f]{8,})\.")


def published(name: str) -> tuple[Path, dict[str, Any]]:
    """`resnet50` or `resnet50.IMAGENET1K_V1` -> the file of its weights, and {"torchvision": what is known of them}.

    Without a version the one that torchvision calls DEFAULT. Nothing in the file is read here.

    Raises UsageError for an unknown model or version, and where the file cannot be fetched.
    """
    bare, _, version = name.partition(".")
    classifiers = [known for known in list_models() if "/" not in known]
    if bare not in classifiers:
        raise unknown("model of torchvision", bare, classifiers)
    versions = get_model_weights(bare)
    if version and version not in versions.__members__:
        raise unknown(f"weights of torchvision's {bare}", version, versions.__members__)
    weights: Any = versions[version or "DEFAULT"]
    return _file(name, weights.url), {"torchvision": _known(bare, weights)}


def _known(name: str, weights: Any) -> dict[str, Any]:
    """Class names and preprocessing, plain values."""
    prepared = weights.transforms()
    crop, resized = prepared.crop_size[0], prepared.resize_size[0]
    return {
        "name": name,
        "labels": list(weights.meta["categories"]),
        "image_size": crop,
        "preprocess": {
            "resize": "crop",
            "crop_fraction": crop / resized,
            "interpolation": prepared.interpolation.value,
            "mean": list(prepared.mean),
            "std": list(prepared.std),
        },
    }


def _file(name: str, url: str) -> Path:
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if place.is_file():
        return place
    hashed = _HASH.search(place.name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(place), hashed and hashed[1], progress=False)
    except (OSError, URLError, RuntimeError) as error:
        why = first_line(error)
        raise UsageError(
            f"torchvision:{name} could not be fetched ({why[:160]}); check the network, or put {url} at {place}"
        ) from None
    return place
