"""How an image is prepared, from and to the words of timm and transformers."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail.checkpoints.preprocessing import (
    as_published,
    fitted,
    from_timm,
    from_transformers,
    to_timm,
    to_transformers,
)
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import variant

SQUASHED = {"size": {"height": 224, "width": 224}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}

CROPPED = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}


def _made(**fields: Any) -> Preprocessor:
    return Preprocessor(size=(64, 96), **{"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), **fields})


@pytest.mark.parametrize(
    "fields",
    [{"crop_fraction": 0.9}, {"resize": "squash", "interpolation": "bilinear"}, {"resize": "letterbox"}],
    ids=["crop", "squash", "letterbox"],
)
def test_timm_s_words_come_back(fields: dict[str, Any]) -> None:
    made = _made(**fields)
    assert Preprocessor(size=made.size, **from_timm(to_timm(made))) == made
    assert to_timm(made)["input_size"] == [3, 64, 96]


@pytest.mark.parametrize(
    "fields",
    [{"crop_fraction": 0.8}, {"crop_fraction": 1.0}, {"resize": "squash", "interpolation": "bilinear"}],
    ids=["crop", "whole", "squash"],
)
def test_transformers_words_come_back(fields: dict[str, Any]) -> None:
    made = _made(**fields)
    again, notes = from_transformers(to_transformers(made))
    assert Preprocessor(size=made.size, **again) == made
    assert notes == ()


def test_transformers_has_no_word_for_letterboxing() -> None:
    with pytest.raises(UsageError, match="letterbox"):
        to_transformers(_made(resize="letterbox"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SQUASHED, {"resize": "squash", "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ({"size": 224, "resample": 3}, {"resize": "squash", "interpolation": "bicubic"}),
        (CROPPED, {"resize": "crop", "crop_fraction": 0.875}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"resize": "crop", "crop_fraction": 0.875}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"resize": "squash"}),
        ({"do_normalize": False}, {"mean": (0.0,), "std": (1.0,)}),
        ({}, {}),
    ],
    ids=["vit", "old vit", "bit", "convnext", "convnext 384", "not normalised", "empty"],
)  # fmt: skip
def test_the_processors_that_are_published(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert from_transformers(config) == (expected, ())


def test_what_is_done_otherwise_is_said() -> None:
    """DeiT's processor stretches to a square and crops that; ours keeps the ratio of the sides."""
    config = {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
    fields, notes = from_transformers(config)
    assert fields == {"resize": "crop", "crop_fraction": 0.875}
    assert notes
    assert "256 x 256" in notes[0]


@pytest.mark.parametrize(
    "config",
    [{"interpolation": "lanczos"}, {"crop_pct": 1.5}, {"crop_pct": 0}, {"mean": "black"}, {"crop_mode": "random"}],
)
def test_what_we_cannot_do_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        from_timm(config)


@pytest.mark.parametrize("resample", [0, 1, 5, {}, "bicubic"])
def test_a_resampling_that_we_have_not_is_refused(resample: Any) -> None:
    with pytest.raises(IntegrityError, match="interpolation"):
        from_transformers({"resample": resample})


def test_a_crop_of_whole_pixels_is_found_again() -> None:
    """Whatever two sides a processor names, ours scales to the same one before it crops."""
    for crop in range(16, 400, 7):
        for size in range(crop, 520, 3):
            config = {**CROPPED, "size": {"shortest_edge": size}, "crop_size": crop}
            assert int(crop / from_transformers(config)[0]["crop_fraction"]) == size


def test_a_row_s_published_preprocessing_and_grey_images() -> None:
    fields = as_published(variant("resnet18"), 3)
    assert (fields["mean"], fields["interpolation"], fields["crop_fraction"]) == (
        (0.485, 0.456, 0.406),
        "bilinear",
        0.875,
    )
    assert fitted(fields, 1)["mean"] == (pytest.approx(0.449),)
