from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.errors import TrainingError
from vitrail.explain.explainer import explain
from vitrail.explain.gallery import write_gallery
from vitrail.explain.page import data_uri


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_gallery_shows_every_explanation_with_its_words(small: Any, photo: Any, tmp_path: Path) -> None:
    names = ["a/<script>alert(1)</script>.jpg", "b/猫.png"]
    made = [explain(small, photo, name, method="raw_attention", layer=0, head=1) for name in names]
    path = write_gallery(tmp_path, made)
    assert path == tmp_path / "explain.html"
    page = Tags(path.read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in page.found if tag == "img"]
    assert len(images) == 2
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert "script" not in {tag for tag, _ in page.found}
    for words in (*names, "raw attention: layer 0 (of 0 to 2), head 1", made[0].answer):
        assert words in page.text


def test_a_gallery_of_nothing_says_so(tmp_path: Path) -> None:
    assert "There is nothing to show." in write_gallery(tmp_path, []).read_text()


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"explain\.html"):
        write_gallery(tmp_path / "absent", [])


def test_small_pictures_stay_exact_and_large_ones_become_small() -> None:
    draw = np.random.default_rng(0)
    tiny, large = (Image.fromarray(draw.integers(0, 256, (s, s, 3), dtype=np.uint8)) for s in (8, 1000))
    assert data_uri(tiny).startswith("data:image/png")
    assert len(data_uri(large, 160)) < 60_000
