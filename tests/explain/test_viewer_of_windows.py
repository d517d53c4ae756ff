"""The page of a large image that the model goes over in windows: the one at its centre is shown and can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from lively_families import family

from vitrail.data.preprocess import Preprocessor
from vitrail.explain.explainer import explain
from vitrail.explain.methods import get_method
from vitrail.explain.target import Target
from vitrail.explain.viewer.album import Album
from vitrail.explain.viewer.gaze import gaze, prepared
from vitrail.tasks import create_task

pytestmark = pytest.mark.chromium
READY = "document.documentElement.dataset.ready === 'true'"
WINDOW = (32, 48)
PIXELS = """(drawn => {{
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [drawn.naturalWidth || drawn.width, drawn.naturalHeight || drawn.height];
  const pen = copy.getContext('2d', {{willReadFrequently: true}});
  pen.drawImage(drawn, 0, 0);
  return [copy.width, copy.height, Array.from(pen.getImageData(0, 0, copy.width, copy.height).data)];
}})(document.getElementById('{name}'))"""
PHOTO, HEAT = PIXELS.format(name="photo"), PIXELS.format(name="heat")


@dataclass(frozen=True)
class Tiled:
    """What `explain` needs of an artifact whose images are gone over in windows."""

    model: Any
    task: Any
    preprocessor: Preprocessor


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_the_window_at_the_centre_is_shown_and_asked(kind: str, browser: Browser, tmp_path: Path) -> None:
    task = create_task("segment", [np.arange(9, dtype=np.uint8).reshape(3, 3) % 3])
    artifact = Tiled(family(kind, task), task, Preprocessor(size=WINDOW, resize="tile"))
    pixels = np.full((200, 320, 3), (200, 30, 30), np.uint8)
    inside = np.random.default_rng(0).integers(0, 120, WINDOW, dtype=np.uint8)
    pixels[84:116, 136:184] = inside[..., None]  # grey, where all else is red
    made = Album()
    explanation = explain(artifact, pixels, "large.png", method="raw_attention")
    assert np.isnan(explanation.raw).mean() == pytest.approx(1 - 32 * 48 / (200 * 320))
    made.add([explanation], gaze(artifact, pixels), kind)
    browser.open(made.write(tmp_path), READY)
    assert browser.get("document.getElementById('caption').textContent").endswith("mean of heads, centre window")

    width, height, values = browser.get(PHOTO)
    assert height / width == 32 / 48
    shown = np.array(values).reshape(height, width, 4)[..., :3]
    assert np.ptp(shown, axis=2).max() < 24, "nothing red is in the picture"

    asked, images = Target(torch.tensor([0])), prepared(artifact, pixels)
    compute = get_method("raw_attention").compute
    rest = browser.get(HEAT)
    agree(rest, compute(artifact.model, images, asked, layer=None, head=None))
    browser.hover("#stage", 0.9, 0.1)
    rows, columns = artifact.model.backbone.stages()[-1].grid
    cell = (int(0.1 * rows), int(0.9 * columns))
    told = browser.get("document.getElementById('readout').textContent")
    assert told.startswith(f"The patch in row {cell[0]}, column {cell[1]} ")
    hovered = browser.get(HEAT)
    assert hovered != rest
    agree(hovered, compute(artifact.model, images, Target(torch.tensor([0]), cell=cell), layer=None, head=None))
    assert browser.complaints == []


def agree(heat: Any, expected: torch.Tensor) -> None:
    """The heat's opacity is that of the map, from its least cell to its greatest, squared."""
    width, height, values = heat
    opacity = np.array(values).reshape(height, width, 4)[..., 3].astype(float)
    cells = expected[0].numpy()[16 // height :: 32 // height, 24 // width :: 48 // width]
    assert cells.shape == opacity.shape
    scaled = (cells - cells.min()) / np.ptp(cells)
    assert np.corrcoef(opacity.ravel(), scaled.ravel() ** 2)[0, 1] > 0.97
