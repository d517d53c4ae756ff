"""Defaults follow from the data, with a reason each; what is stated is never touched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.errors import UsageError
from vitrail.models import variant
from vitrail.training.recipe import Choice, Facts, choose, complete

PHOTOS = Facts(images=1200, classes=24, native_size=240, flip=True, cores=2)
DIGITS = Facts(images=1257, classes=10, native_size=8, flip=False, cores=8)


def _choose(facts: Facts = PHOTOS, name: str = "vit_tiny", **stated: Any) -> Choice:
    return choose(facts, variant(name), {"data.source": "x", "model.name": name, **stated})


def test_small_photos_are_cut_into_at_least_64_patches() -> None:
    config = _choose().config
    assert (config.model.image_size, config.model.patch_size) == (96, 12)
    assert _choose(**{"model.image_size": 64}).config.model.patch_size == 8


def test_digits_keep_their_size_and_are_not_mirrored() -> None:
    config = _choose(DIGITS).config
    assert (config.model.image_size, config.model.patch_size) == (8, 2)
    assert not config.augment.flip
    assert config.augment.randaugment_ops == 0
    assert config.data.workers == 7


def test_a_model_named_in_full_keeps_its_own_patch_and_size() -> None:
    config = _choose(name="vit_small_patch32_384").config
    assert (config.model.image_size, config.model.patch_size) == (384, 32)


def test_many_photos_are_trained_at_224() -> None:
    config = _choose(Facts(1_000_000, 1000, 400, True)).config
    assert (config.model.image_size, config.model.patch_size, config.train.batch_size) == (224, 16, 256)


@pytest.mark.parametrize(("epochs", "on"), [(10, False), (100, True)])
def test_strong_augmentation_comes_with_long_runs(epochs: int, on: bool) -> None:
    config = _choose(**{"train.epochs": epochs}).config
    assert bool(config.augment.mixup) == bool(config.augment.erase) == bool(config.train.drop_path) == on


def test_the_plain_recipe_has_crop_and_flip_and_nothing_else() -> None:
    config = _choose(recipe="plain", **{"train.epochs": 100}).config
    a = config.augment
    assert (a.randaugment_ops, a.mixup, a.cutmix, a.erase, config.train.drop_path) == (0, 0, 0, 0, 0)
    assert config.task.label_smoothing == 0
    assert a.flip


@given(
    images=st.integers(8, 2_000_000),
    native=st.integers(0, 4000),
    epochs=st.none() | st.integers(1, 500),
    batch=st.none() | st.integers(1, 4096),
    size=st.none() | st.sampled_from([8, 17, 32, 96, 224, 384]),
)
def test_whatever_the_data_every_field_is_chosen_with_a_reason(
    images: int, native: int, epochs: int | None, batch: int | None, size: int | None
) -> None:
    stated = {"train.epochs": epochs, "train.batch_size": batch, "model.image_size": size}
    given_fields = {key: value for key, value in stated.items() if value is not None}
    choice = _choose(Facts(images, 5, native, True), **given_fields)
    config = choice.config
    assert config.model.image_size % config.model.patch_size == 0
    assert all(reason.why for reason in choice.reasons)
    chosen = {reason.field: reason for reason in choice.reasons}
    for path, value in given_fields.items():
        assert chosen[path].value == value
        assert chosen[path].why == "as stated"


def test_a_complete_config_chooses_itself_again() -> None:
    config = _choose(**{"model.options.depth": 3}).config
    assert choose(DIGITS, variant("vit_tiny"), complete(config)).config == config


def test_an_unknown_recipe_is_offered_the_nearest() -> None:
    with pytest.raises(UsageError, match="plain"):
        _choose(recipe="plane")
