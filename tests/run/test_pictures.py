"""What the report shows: the images of step 1, answers beside the truth, windows; rows are what predict says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_settings import SHAPES, TINY
from torch import Tensor

from vitrail.contracts import Batch
from vitrail.data.preprocess import Preprocessor
from vitrail.report import geometry
from vitrail.run import Run, evaluate, pictures, start, teachers, training
from vitrail.training.objective import Supervised


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """30 images of 20 x 28 with bright blocks, and their masks."""
    draw = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "cells" / folder).mkdir(parents=True)
    for i in range(30):
        mask = np.zeros((20, 28), np.uint8)
        top, left = draw.integers(0, 12), draw.integers(0, 20)
        mask[top : top + 8, left : left + 8] = 1
        noise = draw.integers(0, 60, (20, 28, 3))
        Image.fromarray((noise + 150 * mask[..., None]).astype(np.uint8)).save(
            tmp_path / "cells" / "images" / f"{i}.png"
        )
        Image.fromarray(mask).save(tmp_path / "cells" / "masks" / f"{i}.png")
    return tmp_path / "cells"


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize(
    ("target", "more"),
    [("class", {"augment.mixup": 0.8, "augment.cutmix": 1.0, "augment.erase": 0.5}), ("mask", {}), ("count", {})],
)
def test_the_report_shows_the_very_images_of_the_first_step(
    target: str, more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[Batch] = []
    shown: list[Batch] = []

    class Watching(Supervised):
        def __call__(self, model: Any, batch: Batch) -> Tensor:
            entered.append(batch)
            return super().__call__(model, batch)

    real = pictures._first_batch
    monkeypatch.setattr(teachers, "Supervised", Watching)
    monkeypatch.setattr(pictures, "_first_batch", lambda *given: shown.append(real(*given)) or shown[-1])
    stated = {"data.source": "shapes", "data.target": target, **SHAPES, "train.batch_size": 16, **more}
    start(stated, out=tmp_path / "run", quiet=True)
    (batch,) = shown
    assert batch.keys == entered[0].keys[:8]
    assert bool((batch.images == entered[0].images[:8]).all())
    assert bool((batch.targets == entered[0].targets[:8]).all())
    assert (batch.mixing is not None) == ("augment.mixup" in more)


def test_pixels_come_back_from_what_the_model_is_given() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for mean, std in (((0.5,), (0.5,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
        preprocessor = Preprocessor(size=(16, 16), mean=mean, std=std)
        assert np.array_equal(pictures.denormalised(preprocessor, preprocessor(pixels)), pixels)


@pytest.mark.parametrize(
    ("resize", "size", "words"),
    [
        ("crop", (40, 60), "the image, and what is cut out"),
        ("crop", (40, 40), "the image"),
        ("letterbox", (40, 60), "the image"),
        ("tile", (40, 60), "the image, and its 15 windows"),
        ("tile", (16, 10), "the image, seen in one window"),
    ],
)
def test_what_is_seen_of_an_image_is_outlined(resize: Any, size: tuple[int, int], words: str) -> None:
    panel = pictures._outlined(Preprocessor(size=(16, 16), resize=resize), np.full((*size, 3), 128, np.uint8))
    assert panel.words == words
    drawn = (np.asarray(panel.image) != 128).any()
    assert drawn == (words != "the image")


def test_the_outline_of_a_crop_is_where_the_crop_is() -> None:
    preprocessor = Preprocessor(size=(100, 100), resize="crop")
    panel = pictures._outlined(preprocessor, np.zeros((200, 300, 3), np.uint8))
    marked = np.asarray(panel.image)[100, :, 0] > 0
    assert np.flatnonzero(marked)[[0, -1]].tolist() == [50, 249]


@pytest.mark.parametrize("resize", ["letterbox", "tile"])
def test_masks_are_drawn_explained_and_said_as_predict_says_them(resize: str, cells: Path, tmp_path: Path) -> None:
    run = start({"data.source": str(cells), "preprocess.resize": resize, **TINY}, out=tmp_path / "run", quiet=True)
    page = (run.folder / "report.html").read_text()
    assert "where they differ" in page
    assert geometry.evaluated(run.config) in (run.folder / "train.log").read_text(), "said on screen before step 1"
    if resize == "tile":
        assert "in windows of 16 x 16 pixels" in page
        assert "and its 4 windows" in page
        assert "mean of heads, centre window" in (run.folder / "explain.html").read_text()
    else:
        assert "(letterboxed)" in page
        assert "when evaluated" in page
    _same_as_predicted(run, cells)
    metrics, (path,) = evaluate(run.folder, "val")
    assert metrics == pytest.approx(run.metrics["val"], abs=1e-6)
    assert path.name == "predictions_val.csv"
    assert [row["shares"] for row in rows(path)] == [
        row["shares"] for row in rows(run.folder / "predictions.csv") if row["split"] == "val"
    ]


def _same_as_predicted(run: Run, root: Path) -> None:
    table = rows(run.folder / "predictions.csv")
    predictions = run.predictor().predict([root / row["path"] for row in table])
    assert len(table) > 5
    for prediction, row in zip(predictions, table, strict=True):
        assert prediction.values["classes"] == row["classes"]
        assert prediction.values["shares"] == row["shares"]


def test_a_mask_that_breaks_after_the_audit_is_a_failed_row_with_its_reason(cells: Path, tmp_path: Path) -> None:
    run = start({"data.source": str(cells), **TINY}, out=tmp_path / "run", quiet=True)
    table = rows(run.folder / "predictions.csv")
    victim = next(row["path"] for row in table if row["split"] == "test")
    data = _data_then_break(run, cells / "masks" / Path(victim).name)
    artifact, engine = data[1:]
    result = training.finish.evaluate_split(engine, artifact.task, artifact.preprocessor, run.config, data[0], "test")
    training.finish.write_predictions(tmp_path / "p.csv", artifact.task, data[0], {"test": result})
    failed = [row for row in rows(tmp_path / "p.csv") if row["status"] == "failed"]
    assert [row["path"] for row in failed] == [victim]
    assert failed[0]["reason"]
    assert failed[0]["classes"] == ""


def _data_then_break(run: Run, mask: Path) -> tuple[Any, Any, Any]:
    from vitrail.artifact import find
    from vitrail.artifact import load as load_artifact
    from vitrail.runtime.torch_engine import make_engine
    from vitrail.training.journal import Journal

    data = training._same_data(run, run.config, None, Journal(quiet=True))
    mask.write_bytes(b"no mask any more")
    artifact = load_artifact(find(run.folder), "cpu")
    return data, artifact, make_engine(artifact.model, "cpu", artifact.preprocessor.windows)


def test_per_class_is_per_label_per_number_and_per_map(tmp_path: Path) -> None:
    for target, first, names in (
        ("labels", "label", {"circle", "star"}),
        ("count,angle", "target", {"count", "angle"}),
        ("depth", "map", {"depth"}),
    ):  # fmt: skip
        folder = tmp_path / target.replace(",", "-")
        start({"data.source": "shapes", "data.target": target, **SHAPES}, out=folder, quiet=True)
        table = rows(folder / "per_class.csv")
        assert names <= {row[first] for row in table}
        assert {row["split"] for row in table} == {"val", "test"}
