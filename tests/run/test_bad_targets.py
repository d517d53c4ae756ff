"""Masks that cannot be used: known and named before the first epoch, counted against the limit, gone from no score."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_settings import TINY

from vitrail.errors import DataError
from vitrail.run import Run, start

SPLITS = {"train": 16, "val": 4, "test": 4}


def masked(root: Path, turned: int = 0) -> Path:
    """Images of 24 x 20 pixels with masks of two classes, 16 to train on, 4 to choose by, 4 to judge by.

    turned: so many training photos are stored lying on their side, with an EXIF orientation that sets them upright.
    """
    draws = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
        for i in range(count):
            mask = np.zeros((20, 24), np.uint8)
            top, left = draws.integers(0, 12), draws.integers(0, 16)
            mask[top : top + 8, left : left + 8] = 1
            pixels = np.clip(mask * 120 + draws.integers(0, 90, mask.shape), 0, 255).astype(np.uint8)
            Image.fromarray(mask).save(root / split / "masks" / f"{i}.png")
            if split == "train" and i < turned:
                exif = Image.Exif()
                exif[0x0112] = 6
                Image.fromarray(np.rot90(pixels)).save(root / split / "images" / f"{i}.jpg", exif=exif)
            else:
                Image.fromarray(pixels).save(root / split / "images" / f"{i}.png")
    return root


def run_on(data: Path, out: Path, **stated: Any) -> Run:
    return start({"data.source": str(data), "task.name": "segment", **TINY, **stated}, out=out, quiet=True)


def bad_files(folder: Path) -> dict[str, str]:
    with (folder / "bad_files.csv").open(newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def resize(path: Path) -> None:
    with Image.open(path) as mask:
        mask.resize((12, 10), Image.Resampling.NEAREST).save(path)


def recolour(path: Path) -> None:
    with Image.open(path) as mask:
        Image.fromarray(np.array(mask) * 7).save(path)


FAULTS = {
    resize: "its target: 12 x 10 pixels, the image 24 x 20",
    recolour: "its target: the value 7, which is no class that training has",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_mask_that_fits_nothing_is_a_bad_sample_before_the_first_epoch(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    data = masked(tmp_path / "data")
    for split, i in (("val", 1), ("test", 3)):
        spoil(data / split / "masks" / f"{i}.png")
    expected = dict.fromkeys(("test/images/3.png", "val/images/1.png"), FAULTS[spoil])
    with pytest.raises(DataError, match=r"2 of 24 images \(8\.3%\) cannot be used, more than the 1\.0% allowed"):
        run_on(data, tmp_path / "refused")
    assert bad_files(tmp_path / "refused") == expected
    assert not (tmp_path / "refused" / "checkpoints").exists()
    run = run_on(data, tmp_path / "run", **{"data.max_bad_fraction": 0.1})
    assert bad_files(run.folder) == expected
    assert run.data["images"] == {"train": 16, "val": 3, "test": 3}
    assert run.record["failures"] == {}
    rows = list(csv.DictReader((run.folder / "predictions.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok"] * 6
    page = (run.folder / "report.html").read_text()
    assert "<b>24</b>images found" in page
    assert "<b>22</b>usable" in page
    assert "<b>2</b>unusable, left out" in page
    assert "24 found, 22 usable, 2 not" in page


def test_the_size_that_counts_is_that_of_the_upright_image(tmp_path: Path) -> None:
    run = run_on(masked(tmp_path / "data", turned=2), tmp_path / "run")
    assert bad_files(run.folder) == {}
    assert run.data["images"] == SPLITS
    turned = masked(tmp_path / "lying", turned=1)
    mask = turned / "train" / "masks" / "0.png"
    Image.fromarray(np.rot90(np.array(Image.open(mask)))).save(mask)  # as the photo is stored
    with pytest.raises(DataError, match=r"0\.jpg: its target: 20 x 24 pixels, the image 24 x 20, turned by a quarter"):
        run_on(turned, tmp_path / "refused")


def test_validation_masks_that_are_all_strange_leave_nothing_to_choose_by(tmp_path: Path) -> None:
    data = masked(tmp_path / "data")
    for i in range(SPLITS["val"]):
        recolour(data / "val" / "masks" / f"{i}.png")
    with pytest.raises(
        DataError, match=r"every validation mask has a value that no training mask has: val/images/0\.png"
    ):
        run_on(data, tmp_path / "run", **{"data.max_bad_fraction": 0.5})
