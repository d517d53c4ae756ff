"""What a page of explanations carries: packed numbers that unpack to what was packed, below the size it may have."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lively_families import family, pictures
from PIL import Image

from vitrail.errors import TrainingError
from vitrail.explain.explainer import explain
from vitrail.explain.page import data_uri
from vitrail.explain.viewer import pack
from vitrail.explain.viewer.album import Album
from vitrail.explain.viewer.gaze import Gaze, gaze, photo, watch


def unpacked(text: str, kind: Any = np.uint8) -> np.ndarray[Any, Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


class Page(HTMLParser):
    """The elements of a page, and what stands in its scripts by their id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._inside: str | None = None
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = str(dict(attrs).get("id", "code")) if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data

    @property
    def data(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.scripts["data"])
        return told


# ------------------------------------------------------------------------------------------------------------ numbers


def test_the_attention_of_vit_small_leaves_room_for_its_maps_in_3_mb_whatever_it_says() -> None:
    """12 layers of 6 heads over 197 tokens at their worst, when no step of a weight is likelier than another."""
    worst = np.random.default_rng(0).integers(0, pack.STEPS + 1, 12 * 6 * 197 * 197).astype(np.uint8)
    assert len(pack.deflated([worst])) < 2_720_000


@given(st.integers(0, 2**32), st.integers(1, 300), st.floats(0.01, 30))
def test_attention_comes_back_to_within_a_step(seed: int, keys: int, spread: float) -> None:
    scores = np.random.default_rng(seed).normal(0, spread, (3, keys))
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    steps = pack.quantised(weights)
    assert steps.max() == pack.STEPS
    squares = steps.astype(np.float64) ** 2
    most = weights.max(axis=1, keepdims=True)
    root = np.sqrt(weights / most)
    assert np.abs(np.sqrt(squares) / pack.STEPS - root).max() <= 0.5 / pack.STEPS + 1e-6
    back = squares / squares.sum(axis=1, keepdims=True)
    assert np.abs(back - weights).max() <= 0.05 * most.max()


def test_a_map_of_patches_is_kept_as_patches_and_comes_back() -> None:
    patches = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    packed = pack.heat(np.kron(patches, np.ones((8, 8), np.float32)))
    assert packed["grid"] == [3, 4]
    back = packed["low"] + (packed["high"] - packed["low"]) * unpacked(packed["data"]).reshape(3, 4) / 255
    assert np.abs(back - patches).max() <= np.ptp(patches) / 255


def test_a_map_of_pixels_stays_one_and_a_large_one_becomes_means() -> None:
    draw = np.random.default_rng(0)
    assert pack.heat(draw.random((40, 30), np.float32))["grid"] == [40, 30]
    large = draw.random((1000, 513), np.float32)
    packed = pack.heat(large)
    assert packed["grid"] == [250, 129]
    back = packed["low"] + (packed["high"] - packed["low"]) * unpacked(packed["data"]).reshape(250, 129) / 255
    assert back[3, 5] == pytest.approx(large[12:16, 20:24].mean(), abs=0.005)


def test_a_constant_map_is_all_least() -> None:
    assert set(unpacked(pack.heat(np.full((5, 5), 0.3, np.float32))["data"])) == {0}


def test_heads_come_back_each_on_its_own_scale() -> None:
    heads = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32) * np.array([1, 10, 0.1])[:, None, None]
    heads[2] = 0.25
    packed = pack.heats(heads.astype(np.float32))
    low, high = (np.array(packed[name])[:, None, None] for name in ("low", "high"))
    back = low + (high - low) * unpacked(packed["data"]).reshape(3, 4, 5) / 255
    assert (np.abs(back - heads) <= (high - low) / 255 + 1e-6).all()


@pytest.mark.parametrize("kind", ["vit", "vit_map", "swin", "pvt", "pvt_v2"])
def test_the_gaze_has_the_weights_of_every_layer(kind: str) -> None:
    looked = watch(family(kind), pictures(1))
    for layer in looked.layers:
        whole = layer.layer.call.weights[0].unflatten(0, layer.shape[:2]).numpy()
        assert np.array_equal(layer.steps(mean=False), pack.quantised(whole))
        assert np.array_equal(layer.steps(mean=True), pack.quantised(whole.mean(axis=1, keepdims=True)))
    assert looked.layers[-1].name == ("pooling head" if kind == "vit_map" else f"layer {len(looked.layers) - 1}")
    assert looked.weights(False) == sum(layer.steps(False).size for layer in looked.layers)
    assert looked.weights(True) == sum(layer.steps(True).size for layer in looked.layers)


# --------------------------------------------------------------------------------------------------------- photographs


@pytest.mark.parametrize("resize", ["crop", "squash", "letterbox", "tile"])
def test_the_photograph_is_what_the_model_is_shown(resize: str, small: Any, photo_of_thirds: Any) -> None:
    preprocessor = small.preprocessor.model_copy(update={"resize": resize})
    shown = photo(preprocessor, photo_of_thirds)
    assert shown.shape[0] == shown.shape[1], "the model's images are square"
    middle = shown[shown.shape[0] // 2].astype(int)
    red, blue = (np.abs(middle - colour).sum(axis=1) < 60 for colour in ((255, 0, 0), (0, 0, 255)))
    seen = {"crop": (False, False), "squash": (True, True), "letterbox": (True, True), "tile": (False, False)}[resize]
    assert (red.any(), blue.any()) == seen


@pytest.fixture
def photo_of_thirds() -> np.ndarray[Any, Any]:
    """(100, 300, 3): red, grey, blue."""
    pixels = np.full((100, 300, 3), 128, np.uint8)
    pixels[:, :100], pixels[:, 200:] = (255, 0, 0), (0, 0, 255)
    return pixels


# ---------------------------------------------------------------------------------------------------------------- page


def album(small: Any, photo: Any, images: int, megabytes: float = 15) -> Album:
    made = Album(megabytes)
    for number in range(images):
        explanations = [explain(small, photo, f"{number}.jpg", method=name) for name in ("rollout", "raw_attention")]
        made.add(explanations, gaze(small, photo), "vit")
    return made


def test_the_page_carries_every_image_and_weight(small: Any, photo: Any, tmp_path: Path) -> None:
    made = album(small, photo, 2)
    page = Page(made.write(tmp_path, "A title"))
    assert [image["source"] for image in page.data["images"]] == ["0.jpg", "1.jpg"]
    assert [image["carries"] for image in page.data["images"]] == ["heads", "heads"]
    assert [method["name"] for method in page.data["images"][0]["methods"]] == ["rollout", "raw_attention"]
    looked = gaze(small, photo)
    assert looked is not None
    whole = np.concatenate([layer.steps(mean=False).ravel() for layer in looked.layers])
    assert np.array_equal(unpacked(page.scripts["gaze-0"]), whole)
    (model,) = page.data["models"]
    assert [layer["shape"] for layer in model["layers"]] == [[1, 3, 17, 17]] * 3
    assert (model["readers"], model["names"]) == ([0], ["cls"])


def test_windows_of_a_hierarchy_are_told_once(tmp_path: Path, small: Any, photo: Any) -> None:
    swin = family("swin", small.task, (32, 32))
    made = Album()
    artifact = type(small)(swin, small.preprocessor, small.task)
    for name in ("a", "b"):
        made.add([explain(artifact, photo, name, method="rollout")], gaze(artifact, photo), "swin")
    data = Page(made.write(tmp_path)).data
    assert len(data["models"]) == 1
    layers = data["models"][0]["layers"]
    assert layers[0]["queries"] == layers[0]["keys"]
    assert len(data["maps"]) == len({json.dumps(packed) for packed in data["maps"]})


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(small: Any, photo: Any, tmp_path: Path) -> None:
    page = Page(album(small, photo, 1).write(tmp_path))
    addresses = [value for _, attributes in page.found for key, value in attributes.items() if key in ("src", "href")]
    assert all(str(address).startswith("data:") for address in addresses)
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/", "", page.text)
    policy = next(str(a["content"]) for tag, a in page.found if tag == "meta" and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(page.scripts["code"].encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_names_from_outside_stay_words(small: Any, photo: Any, tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script><!--<b>猫.jpg"
    made = Album()
    made.add([explain(small, photo, name, method="rollout")], None, "<i>model</i>")
    page = Page(made.write(tmp_path, "<u>title</u>"))
    assert page.data["images"][0]["source"] == name
    assert page.data["models"][0]["name"] == "<i>model</i>"
    assert [tag for tag, _ in page.found].count("script") == 2, "the data and the code"
    assert not {"b", "u"} & {tag for tag, _ in page.found[:20]}
    assert "alert(1)</script>" not in page.text


@pytest.mark.parametrize("megabytes", [0.06, 0.08, 0.1, 0.2])
def test_the_page_stays_below_its_size(megabytes: float, small: Any, photo: Any, tmp_path: Path) -> None:
    made = album(small, photo, 12, megabytes)
    page = made.write(tmp_path)
    assert page.stat().st_size <= megabytes * 1e6
    assert len(made) + made.left_out == 12
    for note in made.notes():
        assert note in page.read_text()


def test_with_less_room_images_carry_the_mean_of_heads_then_no_attention_then_nothing(
    small: Any, photo: Any, tmp_path: Path
) -> None:
    looked = gaze(small, photo)
    explanations = [[explain(small, photo, f"{number}.jpg", method="rollout")] for number in range(3)]
    richness = {"heads": 3, "mean": 2, "none": 1}
    before, seen = (3, 9), set()
    empty = Album().write(tmp_path).stat().st_size + 1000
    for limit in range(empty + 26_000, empty, -800):
        made = Album(limit / 1e6)
        for each in explanations:
            made.add(each, looked, "vit")
        data = Page(path := made.write(tmp_path)).data
        assert path.stat().st_size <= limit
        carried = [image["carries"] for image in data["images"]]
        notes = " ".join(data["notes"])
        for degree, words in (("mean", "the mean of the heads only"), ("none", "no attention to hover over")):
            count = carried.count(degree)
            assert (f"{count} image{'' if count == 1 else 's'} of {len(made)} carr" in notes) == (count > 0)
            assert (words in notes) == (count > 0)
        assert ("more would not fit" in notes) == (len(made) < 3)
        now = [*(richness[degree] for degree in carried), *[0] * made.left_out]
        assert sorted(now, reverse=True) == now, "the first images have the right of way"
        assert (len(made), sum(now)) <= before, "no image is left out for another's attention"
        before = (len(made), sum(now))
        seen |= {" ".join(carried)}
    assert {"heads heads heads", "heads mean mean", "none none none", ""} <= seen


def test_what_would_not_fit_is_counted(small: Any, photo: Any, tmp_path: Path) -> None:
    made = album(small, photo, 3, 0.001)
    assert (len(made), made.left_out) == (0, 3)
    text = made.write(tmp_path).read_text()
    assert "3 images more would not fit." in text
    assert "There is nothing to show." in text


def test_attention_that_is_hopelessly_large_is_not_even_packed(
    small: Any, photo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gaze, "weights", lambda self, mean: 10**9)
    made = album(small, photo, 1)
    assert Page(made.write(tmp_path)).data["images"][0]["carries"] == "none"
    assert "no attention to hover over" in made.notes()[0]


def test_a_model_without_attention_has_its_maps_alone(small: Any, photo: Any, tmp_path: Path) -> None:
    resnet = type(small)(family("resnet", small.task, (32, 32)), small.preprocessor, small.task)
    assert gaze(resnet, photo) is None
    made = Album()
    made.add([explain(resnet, photo, "0.jpg")], gaze(resnet, photo), "resnet")
    written = made.write(tmp_path)
    data = Page(written).data
    assert (data["images"][0]["attends"], data["images"][0]["carries"], data["notes"]) == (False, "none", [])
    words = written.read_text().partition("<script")[0]
    assert "What each answer was read from." in words
    assert not {said for said in ("Hover over a patch", "from patch to patch", "Attention says") if said in words}


def test_a_page_with_any_attention_says_how_to_ask_a_patch(small: Any, photo: Any, tmp_path: Path) -> None:
    resnet = type(small)(family("resnet", small.task, (32, 32)), small.preprocessor, small.task)
    made = Album()
    made.add([explain(resnet, photo, "0.jpg")], None, "resnet")
    made.add([explain(small, photo, "0.jpg")], gaze(small, photo), "vit")
    words = made.write(tmp_path).read_text().partition('<script type="application/json"')[0]
    assert {said for said in ("Hover over a patch", "from patch to patch", "Attention says") if said in words} == {
        "Hover over a patch", "from patch to patch", "Attention says"
    }  # fmt: skip


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"explain\.html"):
        Album().write(tmp_path / "absent")


def test_a_gaze_leaves_the_model_as_it_was(small: Any, photo: Any) -> None:
    small.model.train()
    before = torch.get_rng_state()
    gaze(small, photo)
    assert small.model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in small.model.parameters())


def test_small_pictures_stay_exact_and_large_ones_become_small() -> None:
    draw = np.random.default_rng(0)
    tiny, large = (Image.fromarray(draw.integers(0, 256, (s, s, 3), dtype=np.uint8)) for s in (8, 1000))
    assert data_uri(tiny).startswith("data:image/png")
    assert len(data_uri(large, 160)) < 60_000
