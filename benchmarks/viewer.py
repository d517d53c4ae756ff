"""What an image weighs on the page of explanations, and what it takes to put it there.

    python benchmarks/viewer.py [--model vit_small_patch16_224] [--image PHOTO] [--sharpness 1,3,6] [--threads 1]

Promised: one image of ViT-S/16 at 224 px with all its maps stays below 3 MB. The maps are those of every method but
occlusion, which takes hundreds of passes and weighs what grad_cam does. Weights are random, their queries and keys
multiplied by each sharpness, since how small attention packs depends on how sharp it is: fresh weights attend almost
evenly. Without a photograph the image is smooth noise.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from vitrail.assemble import create_model
from vitrail.data.preprocess import Preprocessor
from vitrail.explain.defaults import fitting
from vitrail.explain.explainer import explain, explain_heads
from vitrail.explain.viewer.album import Album
from vitrail.explain.viewer.gaze import gaze

LIMIT_MB = 3.0


def picture(path: str | None) -> np.ndarray[Any, Any]:
    """(height, width, 3) uint8."""
    if path is not None:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((448, 448), Image.Resampling.BICUBIC))


def measure(name: str, pixels: np.ndarray[Any, Any], sharpness: float) -> dict[str, float]:
    """Megabytes of the page, its attention, and the image without it; seconds to watch the image and to pack it."""
    model: Any = create_model(name, "classify", 10).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith((".qkv.weight", ".q.weight", ".k.weight")):
                parameter.mul_(sharpness)
    artifact: Any = SimpleNamespace(
        model=model, preprocessor=Preprocessor(size=model.backbone.image_size), task=model.task
    )
    methods = [method for method in fitting(model) if method != "occlusion"]
    explanations = [explain(artifact, pixels, "photo", method=method) for method in methods]
    heads = {"attention_gradient": explain_heads(artifact, pixels, "attention_gradient")}
    began = time.perf_counter()
    looked = gaze(artifact, pixels)
    watched = time.perf_counter()
    album = Album(1000)
    album.add(explanations, looked, name, heads=heads)
    packed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        size = album.write(Path(folder)).stat().st_size / 1e6
    shown = album._shown[0]
    return {
        "page": size,
        "attention": len(shown.heads) / 1e6,
        "mean of heads": len(shown.mean) / 1e6,
        "photograph and maps": shown.size / 1e6,
        "s to watch": watched - began,
        "s to pack": packed - watched,
    }


def main() -> None:
    """Print a line a sharpness."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--image")
    parser.add_argument("--sharpness", default="1,3,6")
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    print(f"{told.model}, {platform.machine()}, torch {torch.__version__}, {told.threads} threads; MB are 1e6 bytes")
    for sharpness in map(float, told.sharpness.split(",")):
        found = measure(told.model, picture(told.image), sharpness)
        kept = "below" if found["page"] < LIMIT_MB else "NOT BELOW"
        print(f"sharpness {sharpness:g}: {', '.join(f'{k} {v:.2f}' for k, v in found.items())}; {kept} {LIMIT_MB:g} MB")


if __name__ == "__main__":
    main()
