"""The page of a pretraining, whatever splits its images have."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrail.report.pretrain_page import Pretraining, write_pretraining
from vitrail.settings import build

SEEN = "images of test were not seen"


@pytest.mark.parametrize(("images", "said"), [({"train": 80, "val": 20}, False), ({"train": 80, "test": 7}, True)])
def test_test_images_are_spoken_of_only_where_there_are_some(
    images: dict[str, int], said: bool, tmp_path: Path
) -> None:
    config = build({"data.source": "photos"})
    page = Pretraining("x", config, [], 1.0, 0.3, 0.9, "a guess", "12 of 16", 4, images=images, split="by chance")
    html = write_pretraining(tmp_path, page).read_text()
    assert "80</b>train images" in html
    assert (SEEN in html) == said
