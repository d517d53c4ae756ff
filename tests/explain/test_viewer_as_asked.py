"""The page begins as its explanations were asked for: with a token, with a patch, with what is said of a region."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from lively_families import family

from vitrail.data.preprocess import Preprocessor
from vitrail.explain.explainer import explain
from vitrail.explain.question import Question
from vitrail.explain.viewer.album import Album
from vitrail.explain.viewer.gaze import gaze
from vitrail.tasks import create_task

pytestmark = pytest.mark.chromium
READY = "document.documentElement.dataset.ready === 'true'"
PIXELS = "Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
HEAT = f"(c => {PIXELS})(document.getElementById('heat'))"


@dataclass(frozen=True)
class Plain:
    """What `explain` needs of an artifact."""

    model: Any
    preprocessor: Preprocessor
    task: Any


def words(browser: Browser, name: str) -> str:
    return str(browser.get(f"document.getElementById({name!r}).textContent"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"reader": "dist"}, "The [DIST] token takes most"),
        ({"cell": (1, 3)}, "The patch in row 1, column 3 takes most"),
    ],
)
@pytest.mark.parametrize("method", ["raw_attention", "rollout"])
def test_the_page_begins_with_the_token_or_the_patch_that_was_asked_for(
    method: str, asked: dict[str, Any], said: str, browser: Browser, small: Any, photo: Any, tmp_path: Path
) -> None:
    artifact, made = replace(small, model=family("deit", small.task, (32, 32))), Album()
    names = [method] if "cell" in asked else ["input_gradient", method]  # whose map is of the same token
    explained = [explain(artifact, photo, "a.jpg", method=name, **asked) for name in names]
    made.add(explained, gaze(artifact, photo), "deit", question=Question(**asked))
    browser.open(made.write(tmp_path), READY)
    if len(names) > 1:
        assert words(browser, "caption").startswith("input gradient: every pixel, read from dist, for class")
        browser.get("(s => { s.value = 1; s.dispatchEvent(new Event('input')); })(document.getElementById('method'))")
        browser.settle()
    assert words(browser, "readout").startswith(said)
    browser.click("#from button")
    assert words(browser, "readout").startswith("The [CLS] and [DIST] token takes most")
    assert browser.complaints == []


def test_of_a_region_the_page_begins_with_what_the_method_says_of_it(browser: Browser, tmp_path: Path) -> None:
    task = create_task("segment", [np.arange(9, dtype=np.uint8).reshape(3, 3) % 3])
    artifact = Plain(family("vit", task), Preprocessor(size=(32, 48)), task)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    corner = np.zeros((32, 48), bool)
    corner[:8, :8] = True
    seen = []
    for region in (None, corner):
        made = Album()
        own = explain(artifact, pixels, "a.png", method="rollout", region=region)
        made.add([own], gaze(artifact, pixels), "vit", question=Question(region=region))
        browser.open(made.write(tmp_path), READY)
        seen.append(browser.get(HEAT))
        assert ("read in a region" in words(browser, "caption")) == (region is not None)
        assert ("in the region asked for" in words(browser, "readout")) == (region is not None)
        browser.hover("#stage", 0.9, 0.9)
        assert words(browser, "readout").startswith("The patch in row 3, column 5 takes most")
    assert seen[0] != seen[1]
    assert browser.complaints == []
