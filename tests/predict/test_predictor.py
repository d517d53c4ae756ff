"""From inputs to predictions: order, failures, and the same answer however an image arrives."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.contracts import Failure
from vitrail.data import image
from vitrail.errors import DataError, IntegrityError, UsageError
from vitrail.predict.predictor import Predictor, load


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return load(model_folder, "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    draw = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return paths


def test_an_answer_is_the_models_softmax(predictor: Predictor, photos: list[Path]) -> None:
    """The oracle is torch itself on the preprocessed image."""
    pixels = np.asarray(Image.open(photos[0]))
    inputs = torch.from_numpy(predictor.artifact.preprocessor(pixels))[None]
    with torch.no_grad():
        expected = predictor.artifact.model(inputs).softmax(dim=1)[0]
    (said,) = predictor.predict([photos[0]])
    assert said.status == "ok"
    assert said.label == ["cat", "dog", "owl"][int(expected.argmax())]
    assert said.confidence == pytest.approx(float(expected.max()), abs=1e-6)
    np.testing.assert_allclose(said.arrays["probabilities"], expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_rows_stand_in_input_order_with_failures_in_place(
    predictor: Predictor, photos: list[Path], batch_size: int
) -> None:
    photos[2].write_bytes(b"\xff\xd8 no more")
    inputs = [*photos, photos[0].with_name("absent.jpg"), Failure("x*.png", "no file matches")]
    said = predictor.predict(inputs, batch_size)
    assert [p.source for p in said] == [*map(str, photos), str(inputs[5]), "x*.png"]
    assert [p.status for p in said] == ["ok", "ok", "failed", "ok", "ok", "failed", "failed"]
    assert [p.reason for p in said if p.status == "failed"][1:] == ["no such file", "no file matches"]
    assert said[2].reason.startswith(("truncated", "damaged"))
    assert said[2].values == {}


def test_the_size_of_batches_does_not_change_an_answer(predictor: Predictor, photos: list[Path]) -> None:
    one, many = predictor.predict(photos, 1), predictor.predict(photos, 5)
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a.arrays["probabilities"], b.arrays["probabilities"], atol=1e-6)


def test_a_path_a_picture_and_an_array_are_one_image(predictor: Predictor, photos: list[Path]) -> None:
    opened = Image.open(photos[0])
    array = np.asarray(opened)
    said = predictor.predict([photos[0], str(photos[0]), opened, array, array.astype(np.float32) / 255])
    assert [p.source for p in said] == [str(photos[0]), str(photos[0]), "image 2", "image 3", "image 4"]
    first = said[0].arrays["probabilities"]
    for other in said[1:]:
        assert np.array_equal(first, other.arrays["probabilities"])


def test_a_picture_is_turned_upright_as_its_file_is(predictor: Predictor, tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    opened = Image.open(tmp_path / "turned.jpg")
    assert np.abs(predictor.read(opened).astype(int) - predictor.read(tmp_path / "turned.jpg")).max() <= 2
    assert predictor.read(opened)[0, 0, 0] < 9 < predictor.read(opened)[0, 15, 0]


def test_what_is_no_image_fails_alone(predictor: Predictor, photos: list[Path]) -> None:
    said = predictor.predict([np.zeros((4, 4, 7), np.uint8), np.full((4, 4), 2.0), np.zeros((4, 4, 3), int), photos[0]])
    assert [p.status for p in said] == ["failed", "failed", "failed", "ok"]
    assert said[0].reason == "no image: its shape is (4, 4, 7)"


def test_one_input_may_stand_alone(predictor: Predictor, photos: list[Path]) -> None:
    for source in (photos[0], str(photos[0]), Image.open(photos[0]), np.zeros((4, 4), np.uint8)):
        assert [p.status for p in predictor.predict(source)] == ["ok"]


@pytest.mark.parametrize("overlap", [False, True])
def test_inputs_are_taken_when_they_are_needed(predictor: Predictor, photos: list[Path], overlap: bool) -> None:
    predictor = Predictor(predictor.artifact, predictor.engine, overlap)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for path in itertools.cycle(photos):
            taken += 1
            yield path

    said = list(itertools.islice(predictor.stream(endless(), batch_size=4), 5))
    assert [p.source for p in said] == list(map(str, photos))
    assert taken == (12 if overlap else 8)  # the first batch answered, the second in use, the third being read


def test_nothing_in_is_nothing_out(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_a_bomb_is_refused_before_it_is_decoded(predictor: Predictor, tmp_path: Path) -> None:
    header = b"P6 60000 60000 255\n"
    (tmp_path / "bomb.ppm").write_bytes(header + b"\0" * 100)
    (said,) = predictor.predict([tmp_path / "bomb.ppm"])
    assert "declares 60000 x 60000 pixels" in said.reason


def test_files_are_read_by_the_one_decoder(predictor: Predictor, photos: list[Path]) -> None:
    assert np.array_equal(predictor.read(photos[0]), image.read(photos[0]))


def test_an_explanation_is_of_the_image_and_of_the_answer(predictor: Predictor, photos: list[Path]) -> None:
    made = predictor.explain(photos[0], method="raw_attention", layer=-1, head=1)
    assert made.raw.shape == (16, 16)
    assert made.heatmap.shape == (20, 24)
    assert made.prediction.label == predictor.predict(photos[0])[0].label
    assert made.save(photos[0].with_name("e.png")).is_file()


def test_what_cannot_be_explained_is_said(predictor: Predictor, photos: list[Path]) -> None:
    with pytest.raises(DataError, match=r"absent\.jpg: no such file"):
        predictor.explain("absent.jpg")
    with pytest.raises(UsageError, match="did you mean 'rollout'"):
        predictor.explain(photos[0], method="rollot")


def test_a_folder_that_is_no_model_and_one_that_was_changed_are_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a run folder nor a model folder"):
        load(tmp_path)
    shutil.copytree(model_folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-5] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(IntegrityError, match="checksum differs"):
        load(tmp_path / "m")


def test_importing_the_predictor_loads_no_torch() -> None:
    code = "import sys, vitrail.predict.predictor, vitrail.predict.rows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
