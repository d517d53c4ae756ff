"""A run made up from a seed: realistic in its figures, with everything a report can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from served import Site, find_chromium

from vitrail.explain.profile import LayerProfile, Profile
from vitrail.report.data import Gallery, Panel, Picture, ReportData, Strip
from vitrail.report.sections.classify import SECTION, ClassifyView
from vitrail.settings import build

NAMES = (
    "accordion", "airplanes", "bonsai", "butterfly", "car_side", "chandelier", "crab", "dolphin", "ewer", "faces",
    "grand_piano", "hawksbill", "helicopter", "ibis", "kangaroo", "ketch", "laptop", "leopards", "menorah",
    "motorbikes", "starfish", "sunflower", "trilobite", "watch",
)  # fmt: skip


def made_up_view(labels: int, images: int, skill: float, seed: int) -> ClassifyView:
    """Classes of unequal size, a model that knows each to a different degree and confuses neighbours."""
    draw = np.random.default_rng(seed)
    weight = draw.uniform(0.4, 2.0, labels)
    targets = np.sort(draw.choice(labels, images, p=weight / weight.sum()))
    logits = draw.normal(0, 1, (images, labels))
    logits[np.arange(images), targets] += skill * draw.uniform(0.4, 1.6, labels)[targets]
    logits[np.arange(images), (targets + 1) % labels] += 0.45 * skill
    odds = np.exp(1.4 * logits)
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    right = probabilities.argmax(axis=1) == targets
    loss = -np.log(probabilities[np.arange(images), targets]).mean()
    metrics = {"loss": float(loss), "accuracy": float(right.mean()), "accuracy_top5": 0.934, "f1_macro": 0.641}
    keys = [f"images/{n % labels}/image_{n:04d}.jpg" for n in range(images)]
    return ClassifyView(metrics | {"auroc": 0.957, "ece": 0.087}, probabilities, targets, keys)


def made_up_history(epochs: int) -> list[dict[str, Any]]:
    """Curves that fall, with a val loss that turns."""
    draw = np.random.default_rng(0)
    rows = []
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        accuracy = 0.72 * (1 - np.exp(-4 * done)) + draw.normal(0, 0.008)
        rows.append({
            "epoch": epoch, "time": 14.2 * epoch, "train/loss": 3.1 * np.exp(-1.9 * done) + 0.2,
            "val/loss": 3.0 * np.exp(-2.6 * done) + 0.9 * done**2 + 0.35, "val/accuracy": accuracy,
            "val/accuracy_top5": min(1, accuracy + 0.25), "val/f1_macro": accuracy - 0.04,
            "val/auroc": 0.6 + 0.36 * (1 - np.exp(-5 * done)), "val/ece": 0.04 + 0.08 * done,
            "lr": 1e-3 * (done / 0.1 if done < 0.1 else 0.5 * (1 + np.cos(np.pi * (done - 0.1) / 0.9))),
            "images_per_s": 81.5, "memory_mb": 910.0,
        })  # fmt: skip
    return rows


def made_up_picture(seed: int, width: int = 300, height: int = 220) -> Image.Image:
    """Something to look at."""
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in draw.integers(60, 200, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(9):
        x, y, side = (int(v) for v in draw.integers(0, (width, height, 90)))
        pen.ellipse((x - side, y - side, x + side, y + side), fill=tuple(int(v) for v in draw.integers(0, 255, 3)))
    return image


def made_up_run(labels: Sequence[str] = NAMES, images: int = 687, skill: float = 3.2, **changes: Any) -> ReportData:
    """A report's data with every part filled."""
    many = len(labels)
    test, val = made_up_view(many, images, skill, 1), made_up_view(many, images // 3, skill, 2)
    config = build({"data.source": "photos/caltech24", "model.image_size": 64, "model.patch_size": 8})
    counts = {
        part: {label: int(n) for label, n in zip(labels, np.random.default_rng(k).integers(8, 90, many), strict=True)}
        for k, part in enumerate(("train", "val", "test"))
    }

    def picture(row: int) -> Picture:
        return Picture(SECTION.title(labels, test, row), test.keys[row], made_up_picture(row))

    def seen(n: int) -> Strip:
        panels = [Panel(words, made_up_picture(n, 64, 64)) for words in ("the image", "in training", "when evaluated")]
        return Strip(labels[n % many], f"image_{n}.jpg", panels)

    def overlay(n: int) -> Picture:
        caption = f"rollout: all 12 layers, mean of heads. image_{n}.jpg"
        return Picture(f"{labels[n % many]} 81.2%", caption, made_up_picture(n, 682, 250))

    values: dict[str, Any] = {
        "name": "caltech24",
        "config": config,
        "labels": list(labels),
        "evaluations": {"val": val, "test": test},
        "reasons": [
            ("model.image_size", 64, "as stated"),
            ("model.patch_size", 8, "64/8 = 8 patches a side: the largest that leaves at least 64 tokens"),
            ("train.epochs", 20, "about 120,000 images seen, between 20 and 100 epochs"),
            ("augment.crop_scale", (0.35, 1.0), "photographs"),
            ("augment.flip", True, "mirrored images keep their class"),
        ],
        "history": made_up_history(20),
        "best_epoch": 18,
        "audit": {
            "found": 2057, "usable": 2055, "bad": 2, "odd": 1, "ignored": 1, "formats": {"JPEG": 2054, "PNG": 1},
            "sizes": {
                "width": {"min": 80, "median": 300, "max": 300}, "height": {"min": 107, "median": 200, "max": 320},
                "distinct": 412, "most_common": [{"width": 300, "height": 200, "count": 305}],
            },
            "duplicates": {
                "groups": 2, "extra": 3, "across_classes": 0, "across_splits": 1, "files": [["a/1.jpg", "a/2.jpg"]]
            },
            "bad_reasons": {"truncated": 1, "empty file": 1},
            "bad_files": [
                {"path": "crab/x.jpg", "reason": "truncated after 1,204 bytes"},
                {"path": "<b>/y.png", "reason": "empty file"},
            ],
            "odd_files": [{"path": "crab/z.jpg", "reason": "a PNG by its content"}],
            "ignored_files": [{"path": "SOURCE.txt", "reason": "no image by its name"}],
        },
        "split": {
            "how": "as train.txt and test.txt say; val: 15 % of train per class, by content",
            "fingerprint": "6f1d3c0a9b27375641ae31fbd9f2b4db", "images": {"train": 1162, "val": 205, "test": 687},
            "classes": list(labels), "counts": counts,
        },
        "galleries": [
            Gallery(chosen.title, chosen.note, [picture(row) for row in chosen.rows])
            for chosen in SECTION.chosen(test, 12)
        ],
        "seen": Gallery("", "Two of them.", strips=[seen(n) for n in range(2)]),
        "overlays": [overlay(n) for n in range(4)],
        "cost": {
            "parameters": 5_420_000, "gmacs": 0.36, "train_seconds": 284.2, "images_per_s": 81.5,
            "peak_memory_mb": 1310.0, "device": "cpu", "seconds_to_report": 312.0,
        },
        "warnings": ["2 images could not be read and were left out: see bad_files.csv"],
        "command": "vitrail train photos/caltech24 --model vit_tiny --image-size 64 --epochs 20",
        "versions": {"vitrail": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.0"},
    }  # fmt: skip
    return ReportData(**(values | changes))


@pytest.fixture(scope="session")
def make_run() -> Callable[..., ReportData]:
    """`made_up_run`, for tests to vary."""
    return made_up_run


@pytest.fixture(scope="session")
def run_data() -> ReportData:
    """The plain made-up run."""
    return made_up_run()


@pytest.fixture
def inside() -> Profile:
    """What a made-up transformer of four layers is like on the whole."""
    draw = np.random.default_rng(0)
    layers = [LayerProfile((6, 6), 37, 1, draw.uniform(10, 40, 3), draw.uniform(1, 3, 3)) for _ in range(4)]
    similarity = draw.random((6, 6, 6, 6), np.float32)
    filters = draw.normal(size=(20, 3, 8, 8)).astype(np.float32)
    return Profile(8, (48, 48), layers, 25.3, positions=similarity, filters=filters, missing=("Odd <b>: no registers",))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    found = find_chromium()
    if found is None:
        pytest.skip("needs a Chromium browser, and there is none on this machine")
    return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site."""
    made = Site(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()
