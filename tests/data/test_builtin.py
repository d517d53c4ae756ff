"""The digits that come with scikit-learn, and datasets from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from vitrail.contracts import DrawnMap
from vitrail.data.maps import read_map
from vitrail.data.sources import DatasetSource, DigitsSource
from vitrail.errors import BadImage, DataError


def test_digits_are_scikit_learns_scaled_exactly() -> None:
    source, digits = DigitsSource(), load_digits()
    assert len(source.items) == 1797
    pixels = np.stack([source.read(i, 1)[..., 0] for i in range(1797)])
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.array_equal(np.rint(pixels * (16 / 255)), digits.images)  # no value is lost
    assert [int(item.target) for item in source.items] == list(digits.target)
    assert source.items[17].key == "digits/17"
    assert (source.hints.flip, source.hints.native_size) == (False, 8)


def test_digits_come_in_any_number_of_channels() -> None:
    source = DigitsSource()
    grey, rgb, rgba = (source.read(3, channels) for channels in (1, 3, 4))
    assert np.array_equal(rgb, np.repeat(grey, 3, axis=2))
    assert np.array_equal(rgba[..., :3], rgb)
    assert (rgba[..., 3] == 255).all()


class Pairs:
    """A map-style dataset of given samples."""

    def __init__(self, samples: list[Any], classes: list[str] | None = None) -> None:
        self.samples = samples
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.samples[index], Exception):
            raise self.samples[index]
        return self.samples[index]


RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        RGB,
        Image.fromarray(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1) / 255,
        RGB / 255,
    ],
    ids=["array", "pil", "tensor", "float tensor", "float array"],
)
def test_every_form_of_an_image_is_the_same_pixels(image: Any) -> None:
    source = DatasetSource(Pairs([(image, 0)]))
    assert np.array_equal(source.read(0, 3), RGB)


def test_grey_and_alpha_become_the_channels_asked_for() -> None:
    grey, clear = RGB[..., 0], np.dstack([RGB, np.zeros((5, 7), np.uint8)])
    source = DatasetSource(Pairs([(grey, 0), (torch.from_numpy(grey), 0), (clear, 0), (Image.fromarray(clear), 0)]))
    assert np.array_equal(source.read(0, 3), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(source.read(1, 1)[..., 0], grey)
    assert (source.read(2, 3) == 255).all()  # what is transparent is laid over white
    assert np.array_equal(source.read(3, 4), clear)
    luma = np.asarray(Image.fromarray(RGB).convert("L"))
    assert np.array_equal(DatasetSource(Pairs([(RGB, 0)])).read(0, 1)[..., 0], luma)


def test_labels_are_names() -> None:
    samples = [(RGB, 1), (RGB, torch.tensor(0)), (RGB, np.int64(1))]
    assert [i.target for i in DatasetSource(Pairs(samples, ["cat", "dog"])).items] == ["dog", "cat", "dog"]
    assert [i.target for i in DatasetSource(Pairs(samples)).items] == ["1", "0", "1"]
    assert [i.target for i in DatasetSource(Pairs([(RGB, "owl"), (RGB, 0.5)])).items] == ["owl", 0.5]


def test_whole_numbers_are_numbers_where_they_are_to_be() -> None:
    samples = [(RGB, 1), (RGB, torch.tensor(0)), (RGB, np.int64(1))]
    assert [i.target for i in DatasetSource(Pairs(samples), task="regress").items] == [1, 0, 1]


def test_lists_of_labels_are_named_and_several_numbers_stay_numbers() -> None:
    samples = [(RGB, [0, 1]), (RGB, ()), (RGB, torch.tensor([1]))]
    assert [i.target for i in DatasetSource(Pairs(samples, ["cat", "dog"])).items] == [["cat", "dog"], [], ["dog"]]
    assert DatasetSource(Pairs([(RGB, np.array([0.5, 2.0]))])).items[0].target == [0.5, 2.0]


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor, Image.fromarray], ids=["array", "tensor", "pil"])
def test_a_label_per_pixel_is_read_when_it_is_needed(form: Any) -> None:
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    source = DatasetSource(Pairs([(RGB, form(mask))]))
    target = source.items[0].target
    assert isinstance(target, DrawnMap)
    assert np.array_equal(read_map(target), mask)


def test_a_sample_that_raises_is_bad_and_the_rest_is_not() -> None:
    source = DatasetSource(Pairs([(RGB, 0), OSError("disk on fire"), (RGB / 255 - 1, 1), (RGB.astype(int), 1)]))
    assert len(source.items) == 4
    for index, reason in [(1, "OSError: disk on fire"), (2, r"outside \[0, 1\]"), (3, "int64")]:
        with pytest.raises(BadImage, match=reason):
            source.read(index, 3)
        with pytest.raises(BadImage):
            source.content(index)


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (Pairs([]), "is empty"),
        (Pairs([RGB]), r"dataset\[0\] is no \(image, label\) pair"),
        (Pairs([(RGB, 0), (RGB, 2)], ["cat", "dog"]), r"dataset\[1\] has label 2"),
    ],
)
def test_a_dataset_that_cannot_be_used_says_why(dataset: Pairs, says: str) -> None:
    with pytest.raises(DataError, match=says):
        DatasetSource(dataset)


def test_equal_pixels_have_equal_content_and_others_not() -> None:
    flat = RGB.reshape(7, 5, 3)
    source = DatasetSource(Pairs([(RGB, 0), (Image.fromarray(RGB), 1), (flat, 0)]))
    assert source.content(0) == source.content(1) != source.content(2)
