"""What `vitrail pretrain` says to run next is a command that works, on the same images divided in the same way."""

from __future__ import annotations

import csv
import html
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_settings import TINY

from vitrail.cli.main import main
from vitrail.run.folder import Run

Output = pytest.CaptureFixture[str]

ROOM = {path: value for path, value in TINY.items() if path != "data.source"}


def spelled(fields: dict[str, object]) -> list[str]:
    return [f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in fields.items()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for i in range(12):
            place = tmp_path / "my photos" / name / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (20, 18, 3), dtype=np.uint8)).save(place)
    return tmp_path / "my photos"


def pretrained(data: Path, out: Path, capsys: Output, *words: str) -> list[str]:
    """Pretrain, and the words of the command that is said to be next, which the report has as well."""
    small = spelled({**ROOM, "pretrain.decoder_width": 16, "pretrain.decoder_depth": 1, "threads": 1})
    assert main(["pretrain", str(data), "--out", str(out), *words, *small]) == 0
    said = capsys.readouterr().out.splitlines()[-1].removeprefix("Next").strip()
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert said in page
    assert shlex.join(["vitrail", "pretrain", str(data), "--out", str(out), *words, *small]) in page  # to be repeated
    assert shlex.split(said)[0] == "vitrail"
    return shlex.split(said)[1:]


def test_the_next_command_trains_on_the_split_of_the_file(photos: Path, tmp_path: Path, capsys: Output) -> None:
    lists = tmp_path / "split file.csv"
    with lists.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "split"])
        for name in ("cat", "dog"):
            rows.writerows([f"{name}/{i}.png", "test" if i < 3 else "val" if i < 5 else "train"] for i in range(12))
    words = pretrained(photos, tmp_path / "run", capsys, "--split-file", str(lists), "data.max_pixels=400")
    assert words == [
        "train", str(photos), "--from", str(tmp_path / "run"), "--split-file", str(lists), "data.max_pixels=400",
    ]  # fmt: skip
    after = tmp_path / "after"
    assert main([*words, "--out", str(after), "--epochs", "1", "data.workers=0", "threads=1"]) == 0
    capsys.readouterr()
    before, now = Run(tmp_path / "run").data, Run(after).data
    assert now["images"] == {"train": 14, "val": 4, "test": 6}
    assert now["fingerprint"] == before["fingerprint"]


def test_the_channels_are_those_of_the_weights(photos: Path, tmp_path: Path, capsys: Output) -> None:
    words = pretrained(photos, tmp_path / "run", capsys, "data.channels=1", "data.val_fraction=0.25")
    assert words == ["train", str(photos), "--from", str(tmp_path / "run"), "data.val_fraction=0.25"]


def test_images_without_targets_leave_the_data_to_be_named(photos: Path, tmp_path: Path, capsys: Output) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    for place in photos.rglob("*.png"):
        place.rename(loose / f"{place.parent.name}{place.name}")
    words = pretrained(loose, tmp_path / "run", capsys, "data.val_fraction=0.25")
    assert words == ["train", "DATA", "--from", str(tmp_path / "run")]
    assert "on images that have targets, which DATA stands for" in (tmp_path / "run" / "report.html").read_text()
