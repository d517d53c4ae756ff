"""The task segment: masks by value, losses, metrics against scikit-learn, answers at the image's own size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn import metrics as sklearn_metrics

import vitrail
from vitrail.contracts import MapFile
from vitrail.data.masks import UNTOLD
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import BadImage, DataError, IntegrityError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task, restore
from vitrail.tasks.meters.masks import boundary_scores
from vitrail.tasks.segment import Segment

RNG = np.random.default_rng(0)


def _mask(*values: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return RNG.choice(np.array(values, np.uint8), size=size)


def _fit(masks: list, **config: object) -> Segment:
    return create_task("segment", masks, TaskConfig(name="segment", **config))  # type: ignore[arg-type,return-value]


# ------------------------------------------------------------------------------------------------- what a mask is


@pytest.mark.parametrize(
    ("values", "labels", "kept"),
    [
        ((0, 255), ("background", "foreground"), (0, 255)),
        ((0, 1), ("background", "foreground"), (0, 1)),
        ((0, 1, 255), ("background", "foreground"), (0, 1)),  # 255 is not known
        ((0, 3, 7), ("0", "3", "7"), (0, 3, 7)),
    ],
)
def test_the_values_of_the_masks_are_the_classes(values, labels, kept) -> None:
    task = _fit([_mask(*values) for _ in range(3)])
    assert (task.labels, task.values) == (labels, kept)
    encoded = task.encode(np.array([[values[0], values[1]]], np.uint8))
    assert encoded.tolist() == [[0, 1]]


def test_the_value_of_unknown_pixels_is_untold() -> None:
    assert _fit([_mask(0, 1, 255)]).encode(np.array([[0, 255, 1]], np.uint8)).tolist() == [[0, UNTOLD, 1]]


def test_instance_masks_are_one_class_when_asked() -> None:
    instances = np.arange(48, dtype=np.uint16).reshape(6, 8) * 10
    task = _fit([instances], foreground=True)
    assert task.labels == ("background", "foreground")
    assert task.encode(instances).sum() == 47


def test_instance_masks_may_have_unknown_pixels_but_the_255th_object_is_one() -> None:
    assert _fit([_mask(0, 1, 7, 255)], foreground=True).encode(np.array([[0, 255, 7]])).tolist() == [[0, UNTOLD, 1]]
    assert _fit([_mask(0, 1, 9)], foreground=True, ignore=9).encode(np.array([[0, 9]])).tolist() == [[0, UNTOLD]]
    assert _fit([_mask(0, 255)], foreground=True).encode(np.array([[0, 255]])).tolist() == [[0, 1]]
    many = np.arange(300, dtype=np.uint16).reshape(15, 20)
    assert _fit([many], foreground=True).encode(many).sum() == 299
    with pytest.raises(BadImage, match="value -2"):
        _fit([many], foreground=True).encode(np.array([[0, -2]]))


def test_unknown_pixels_of_instance_masks_have_no_weight() -> None:
    mask = np.repeat(np.array([0, 3, 255], np.uint8), [60, 15, 25])[None]
    task = _fit([mask], foreground=True, class_weights="balanced")
    assert task.weights is not None
    assert task.weights[1] / task.weights[0] == pytest.approx(2.0)


def test_pixels_that_are_not_known_may_be_minus_1() -> None:
    mask = np.array([[0, 1, -1], [2, 2, -1]], np.int16)
    task = _fit([mask], ignore=-1)
    assert (task.values, task.ignore, task.unseen) == ((0, 1, 2), -1, 255)
    assert task.encode(mask).tolist() == [[0, 1, UNTOLD], [2, 2, UNTOLD]]
    again = restore(json.loads(json.dumps(task.state())))
    assert again.state() == task.state()
    cut = Preprocessor(size=(8, 8), resize="crop")
    said = again.decode(np.zeros((1, 3, 8, 8), np.float32), ["a"], [lambda v: cut.to_image(v, (20, 40))])[0]
    assert said.arrays["mask"].dtype == np.uint8
    assert set(np.unique(said.arrays["mask"])) == {0, 255}
    full = Segment([f"c{i}" for i in range(256)], range(256), ignore=-1)
    assert full.unseen == 256
    assert full.decode(np.zeros((1, 256, 2, 2), np.float32), ["a"])[0].arrays["mask"].dtype == np.uint16


@pytest.mark.parametrize(
    ("mask", "settings", "words"),
    [
        (np.array([[0, 1, -1]]), {}, r"value -1, but classes are numbered from 0 on: .* set task\.ignore=-1"),
        (np.array([[0, 1, -7]]), {"ignore": -1}, "value -7, but classes are numbered from 0 on$"),
        (np.array([[0, 1, -7]]), {"foreground": True}, "value -7"),
        (np.array([[0, 70_000]]), {}, r"value 70000: .* task\.foreground=true"),
        (np.array([[0, 2**64 - 1]], np.uint64), {}, "a class is a number from 0 to 65,535"),
        (np.array([[0.0, 1.5]]), {}, "can be used: its mask has fractions"),
        (np.array([[0.0, np.nan]]), {}, "can be used: its mask has fractions"),
        (np.zeros((2, 3, 4), np.uint8), {}, "can be used: 2 maps, where a mask has one"),
    ],
)
def test_values_that_no_class_can_have_are_refused_before_training(mask, settings, words: str) -> None:
    with pytest.raises(DataError, match=words):
        _fit([mask], **settings)
    big = np.array([[0.0, 1e300]], np.float64)
    assert _fit([big, np.zeros((2, 2), np.float16)], foreground=True).encode(big).tolist() == [[0, 1]]


def test_masks_that_number_objects_are_not_taken_for_classes() -> None:
    with pytest.raises(DataError, match=r"task\.foreground=true"):
        _fit([np.arange(600, dtype=np.uint16).reshape(20, 30)])


def test_names_can_be_stated_even_of_a_class_that_no_mask_shows() -> None:
    task = _fit([_mask(0, 2)], labels=("ground", "cat", "dog"))
    assert (task.labels, task.values) == (("ground", "cat", "dog"), (0, 1, 2))
    with pytest.raises(DataError, match="2 class names"):
        _fit([_mask(0, 1, 2)], labels=("ground", "cat"))


def test_masks_are_read_from_palette_grey_and_16_bit_files(tmp_path: Path) -> None:
    stored = _mask(0, 1, 2)
    palette = Image.fromarray(stored, "P")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(stored).save(tmp_path / "grey.png")
    Image.fromarray(stored.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([stored] * 3)).save(tmp_path / "equal.png")
    np.save(tmp_path / "array.npy", stored)
    files = [MapFile(tmp_path / name) for name in ("palette.png", "grey.png", "deep.png", "equal.png", "array.npy")]
    task = _fit(files)
    for file in files:
        assert np.array_equal(task.encode(file), stored)


def test_what_is_no_mask_is_refused_in_words(tmp_path: Path) -> None:
    task = _fit([_mask(0, 1)])
    Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    Image.fromarray(_mask(0, 1)).save(tmp_path / "mask.jpg")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with (tmp_path / "bomb.npy").open("wb") as bomb:  # declares eight terabytes and holds none
        declared = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(bomb, declared)
    faults = {
        "bomb.npy": "longer or shorter",
        "colour.png": "colours",
        "mask.jpg": "JPEG",
        "objects.npy": "Python objects",
        "cut.png": "truncated",
    }
    for name, words in faults.items():
        with pytest.raises(BadImage, match=words):
            task.encode(MapFile(tmp_path / name))
    with pytest.raises(BadImage, match="value 9"):
        task.encode(np.array([[0, 9]], np.uint8))
    with pytest.raises(DataError, match="a mask or a map is expected"):
        task.encode("cat")


# ------------------------------------------------------------------------------------------------------ learning


def test_evaluation_loss_is_cross_entropy_over_known_pixels() -> None:
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    targets[0, 0] = UNTOLD
    expected = [F.cross_entropy(logits[i : i + 1], targets[i : i + 1], ignore_index=UNTOLD) for i in range(2)]
    torch.testing.assert_close(_task(3).loss(logits, targets), torch.stack(expected))


def _task(classes: int = 3, **options: object) -> Segment:
    return Segment([f"c{i}" for i in range(classes)], range(classes), **options)  # type: ignore[arg-type]


def test_the_dice_loss_is_the_written_formula_and_unknown_pixels_have_no_say() -> None:
    logits, targets = torch.randn(1, 3, 4, 5), torch.randint(0, 3, (1, 4, 5))
    targets[0, 1] = UNTOLD
    task = _task(loss="dice")
    chances, known = logits.softmax(1)[0], (targets[0] != UNTOLD)
    parts = []
    for c in range(3):
        p, t = chances[c][known], (targets[0][known] == c).float()
        parts.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    torch.testing.assert_close(task.loss(logits, targets, train=True), torch.stack(parts).mean()[None])
    other = logits.clone()
    other[:, :, 1] += 5
    torch.testing.assert_close(task.loss(other, targets, train=True), task.loss(logits, targets, train=True))


def test_an_image_of_which_nothing_is_known_has_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    task = _task()
    loss = task.loss(logits, task.collate([task.blank((4, 4))]), train=True)
    loss.sum().backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0


def test_balanced_weights_favour_rare_classes_and_keep_the_mean() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[0] = 1
    task = _fit([mask], class_weights="balanced")
    assert task.weights is not None
    assert task.weights[1] / task.weights[0] == pytest.approx(3.0)
    assert 0.9 * task.weights[0] + 0.1 * task.weights[1] == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------------- metrics


def test_metrics_agree_with_scikit_learn() -> None:
    truth, said = torch.randint(0, 3, (4, 9, 7)), torch.randint(0, 3, (4, 9, 7))
    truth[0, :3] = UNTOLD
    logits = F.one_hot(said, 4).movedim(-1, 1).float()
    meter = _task(4).meter()
    meter.update(logits[:1], truth[:1])
    meter.update(logits[1:], truth[1:])
    values = meter.compute()
    known = truth != UNTOLD
    flat_truth, flat_said = truth[known].numpy(), said[known].numpy()
    ious = sklearn_metrics.jaccard_score(flat_truth, flat_said, average=None)
    assert values["miou"] == pytest.approx(ious.mean())
    assert values["dice"] == pytest.approx(sklearn_metrics.f1_score(flat_truth, flat_said, average="macro"))
    assert values["pixel_accuracy"] == pytest.approx((flat_truth == flat_said).mean())
    assert [values[f"iou/c{i}"] for i in range(3)] == pytest.approx(list(ious))
    assert "iou/c3" not in values  # it neither is nor is said


def test_outlines_are_scored_within_a_tolerance() -> None:
    square = torch.zeros(1, 40, 40, dtype=torch.bool)
    square[0, 10:20, 10:20] = True
    assert float(boundary_scores(square, square)) == 1.0
    assert float(boundary_scores(square.roll(1, 2), square)) > 0.99  # a pixel is within 0.75 % of the diagonal
    assert float(boundary_scores(square.roll(15, 2), square)) == 0.0
    assert float(boundary_scores(torch.zeros_like(square), square)) == 0.0
    assert boundary_scores(torch.zeros_like(square), torch.zeros_like(square)).isnan().all()
    assert boundary_scores(torch.ones_like(square), torch.ones_like(square)).isnan().all()  # the edge is no outline


# ------------------------------------------------------------------------------------------------------- answers


def test_answers_have_the_image_size_and_the_values_of_mask_files() -> None:
    task = Segment(("ground", "object"), (0, 255), ignore=254)
    preprocessor = Preprocessor(size=(8, 8), resize="letterbox")
    logits = np.zeros((1, 2, 8, 8), np.float32)
    logits[:, 1, :, 4:] = 5
    wide = task.decode(logits, ["a"], [lambda values: preprocessor.to_image(values, (20, 40))])[0]
    assert wide.arrays["mask"].shape == (20, 40)
    assert wide.arrays["mask"].dtype == np.uint8
    assert set(np.unique(wide.arrays["mask"])) == {0, 255}
    assert wide.arrays["mask"][:, :15].max() == 0
    assert wide.arrays["mask"][:, 25:].min() == 255
    assert wide.values["classes"].split(";")[0] in ("ground", "object")
    cut = Preprocessor(size=(8, 8), resize="crop")
    partly = task.decode(logits, ["a"], [lambda values: cut.to_image(values, (20, 40))])[0].arrays["mask"]
    assert (partly[:, 0] == 254).all()  # what the model did not see is not told


def test_state_comes_back_through_json() -> None:
    task = Segment(("a", "b", "c"), (3, 0, 700), ignore=9, decoder="linear")
    again = restore(json.loads(json.dumps(task.state())))
    assert again.state() == task.state()
    assert again.encode(np.array([[700, 3, 0, 9]], np.uint16)).tolist() == [[2, 0, 1, UNTOLD]]


@pytest.mark.parametrize(
    "change", [{"labels": ["a"]}, {"values": [0, 0, 1]}, {"values": [-1, 0, 1]}, {"ignore": "x"}, {"ignore": -2}]
)
def test_a_damaged_state_is_refused(change: dict) -> None:
    with pytest.raises(IntegrityError):
        restore({**_task().state(), **change})


def test_a_loss_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="dice"):
        _fit([_mask(0, 1)], loss="huber")


def test_decoding_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np\nfrom vitrail.tasks.segment import numbered\n"
        "assert numbered(2).decode(np.zeros((1, 2, 4, 4)), ['x'])\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["vit_tiny", "pvt_v2_b0", "swin_tiny", "resnet18"])
def test_a_model_for_it_answers_every_pixel(name: str) -> None:
    from vitrail.models import list_models, short_names

    if name not in {*list_models(), *short_names()}:
        pytest.skip(f"this catalogue has no {name}")
    model = vitrail.create_model(name, task="segment", outputs=3, image_size=64)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_a_foreground_of_named_classes_has_a_name_of_its_own() -> None:
    masks, config = [np.array([[0, 1], [2, 0]], np.uint8)], TaskConfig(name="segment", foreground=True)
    assert create_task("segment", masks, config, ("ground", "cat", "dog")).state()["labels"] == [
        "background", "foreground",
    ]  # fmt: skip
    assert create_task("segment", masks, config, ("ground", "animal")).state()["labels"] == ["ground", "animal"]
