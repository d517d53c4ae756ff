"""Defaults follow from the data, with a reason each; what is stated is never touched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.errors import UsageError
from vitrail.models import variant
from vitrail.training.recipes import Choice, Facts, choose, complete

PHOTOS = Facts(images=1200, classes=24, native_size=240, flip=True, cores=2)
DIGITS = Facts(images=1257, classes=10, native_size=8, flip=False, cores=8)


def _choose(facts: Facts = PHOTOS, name: str = "vit_tiny", **stated: Any) -> Choice:
    return choose(facts, variant(name), {"data.source": "x", "model.name": name, **stated})


def test_small_photos_are_cut_into_at_least_64_patches() -> None:
    config = _choose().config
    assert (config.model.image_size, config.model.patch_size) == (96, 12)
    assert _choose(**{"model.image_size": 64}).config.model.patch_size == 8


@pytest.mark.parametrize("native", [32, 33, 40, 48, 56, 64, 72, 80, 88, 96])
def test_small_images_leave_64_to_256_tokens(native: int) -> None:
    model = _choose(Facts(5000, 10, native, True)).config.model
    assert 64 <= (model.image_size // model.patch_size) ** 2 <= 256


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
    config = _choose(Facts(100_000, 1000, 400, True)).config
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


# ------------------------------------------------------------------------------------------------- the family's rule

SMALL_PHOTOS = Facts(images=5000, classes=10, native_size=32, flip=True)


def _geometry(choice: Choice) -> tuple[int, int, dict[str, Any]]:
    model = choice.config.model
    return model.image_size, model.patch_size, dict(model.options)


@pytest.mark.parametrize(
    ("facts", "name", "expected"),
    [
        (SMALL_PHOTOS, "resnet18", (32, 1, {})),
        (PHOTOS, "resnet18", (96, 2, {})),
        (Facts(1_000_000, 1000, 400, True), "resnet50", (224, 4, {})),
        (SMALL_PHOTOS, "convnext_tiny", (32, 1, {})),
        (DIGITS, "timm:vit_tiny_patch16_224", (8, 2, {})),
        (PHOTOS, "timm:resnet10t", (96, 4, {})),
    ],
)
def test_names_without_a_size_take_it_from_the_data_and_the_patch_from_the_family(facts, name, expected) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="needs timm, whose model this is")
    assert _geometry(_choose(facts, name)) == expected


@pytest.mark.parametrize(
    ("name", "stated", "stem"),
    [
        ("vit_tiny", {}, "conv"),
        ("vit_tiny", {"model.options.stem": "patch"}, "patch"),
        ("vit_tiny", {"recipe": "plain"}, None),
        ("vit_tiny", {"model.image_size": 40, "model.patch_size": 5}, None),
        ("vit_tiny_patch16_224", {"model.image_size": 224}, None),
        ("resnet18", {}, None),
    ],
)
def test_a_vit_from_few_images_sees_through_convolutions_unless_it_is_said_how(name, stated, stem) -> None:
    assert _geometry(_choose(PHOTOS, name, **stated))[2].get("stem") == stem


@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny", "pvt_v2_b0", "pvt_tiny", "deit_tiny", "vit_tiny"])
@pytest.mark.parametrize("facts", [DIGITS, SMALL_PHOTOS, PHOTOS], ids=["digits", "small", "photos"])
def test_every_option_of_the_family_is_chosen_with_its_reason(facts: Facts, name: str) -> None:
    row, choice = variant(name), _choose(facts, name)
    size, patch, options = _geometry(choice)
    stem = options.pop("stem", None)
    assert stem == ("conv" if row.family in ("vit", "deit") and facts is not DIGITS else None)
    fitted = row.fit(row.config, size)
    assert {"patch_size": patch, **options} == fitted.options
    said = {reason.field: reason.why for reason in choice.reasons}
    assert said["model.patch_size"] == fitted.why
    assert all(said[f"model.options.{option}"] == fitted.why for option in options)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_size_in_the_name_is_kept_unless_the_images_are_small(name: str) -> None:
    own = variant(name).config
    assert _geometry(_choose(PHOTOS, name)) == (224, own.patch_size, {})
    small = _choose(SMALL_PHOTOS, name)
    size, patch, options = _geometry(small)
    assert size == 32
    assert {"patch_size": patch, **options} == variant(name).fit(own, 32).options
    why = {reason.field: reason.why for reason in small.reasons}["model.image_size"]
    keep = {"model.image_size": 224, "model.patch_size": own.patch_size}
    assert f"--image-size 224 --patch-size {own.patch_size} keeps it" in why
    assert _geometry(_choose(SMALL_PHOTOS, name, **keep)) == (224, own.patch_size, {})


def test_options_chosen_for_one_patch_are_not_taken_for_another() -> None:
    choice = _choose(SMALL_PHOTOS, "pvt_v2_b0", **{"model.patch_size": 4})
    assert _geometry(choice) == (32, 4, {})
    choice = _choose(SMALL_PHOTOS, "pvt_v2_b0", **{"model.options.sr_ratios": (1, 1, 1, 1)})
    assert choice.config.model.options["sr_ratios"] == (1, 1, 1, 1)


def test_a_model_without_stochastic_depth_gets_none_and_is_told_so() -> None:
    pytest.importorskip("timm", reason="needs timm, whose model this is")
    choice = _choose(name="timm:vgg11", **{"train.epochs": 100})
    assert choice.config.train.drop_path == 0
    assert {r.field: r.why for r in choice.reasons}["train.drop_path"] == "timm:vgg11 has no stochastic depth"
    assert _choose(name="resnet18", **{"train.epochs": 100}).config.train.drop_path == 0.1


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "pvt_v2_b0"])
def test_a_complete_config_of_any_family_chooses_itself_again(name: str) -> None:
    config = _choose(SMALL_PHOTOS, name).config
    assert choose(PHOTOS, variant(name), complete(config)).config == config


# ------------------------------------------------------------------------------------------------- the task's demands


def _of(task: str, **facts: Any) -> Facts:
    whole = {"images": 1200, "classes": 0, "native_size": 240, "flip": True, **facts}
    dense = task in ("segment", "depth")
    smooths = task not in ("regress", "depth")
    pooling = "map" if task == "regress" else None
    return Facts(**whole, task=task, dense=dense, mixes=not dense, smooths=smooths, pooling=pooling)


def test_a_value_per_pixel_is_learned_in_small_batches() -> None:
    batches = [_choose(_of("segment", images=images)).config.train.batch_size for images in (365, 5000, 60_000)]
    assert batches == [8, 16, 16]
    assert _choose(_of("multilabel", images=365)).config.train.batch_size == 64


@pytest.mark.parametrize("task", ["segment", "depth"])
def test_a_value_per_pixel_is_neither_mixed_nor_erased(task: str) -> None:
    choice = _choose(_of(task), **{"train.epochs": 100})
    augment = choice.config.augment
    assert (augment.mixup, augment.cutmix, augment.erase, augment.randaugment_ops) == (0, 0, 0, 0)
    assert augment.jitter > 0
    why = {reason.field: reason.why for reason in choice.reasons}
    assert why["augment.mixup"] == f"{task} has no loss for mixed images"


def test_what_is_measured_is_not_cut_off_or_pasted_over() -> None:
    choice = _choose(_of("regress"), **{"train.epochs": 100})
    augment = choice.config.augment
    assert augment.crop_scale == (1, 1)
    assert (augment.mixup, augment.cutmix, augment.erase, augment.randaugment_ops) == (0, 0, 0, 0)
    assert choice.config.model.pooling == "map"
    assert choice.config.preprocess.resize == "letterbox"
    why = {reason.field: reason.why for reason in choice.reasons}
    assert why["model.pooling"] == "regress asks all patches by attention"


def test_pooling_that_is_stated_is_kept() -> None:
    assert _choose(_of("regress"), **{"model.pooling": "mean"}).config.model.pooling == "mean"


@pytest.mark.parametrize("task", ["multilabel", "regress", "segment", "depth"])
def test_labels_are_smoothed_for_one_class_per_image_alone(task: str) -> None:
    assert _choose().config.task.label_smoothing == 0.1
    assert _choose(_of(task)).config.task.label_smoothing == 0


def test_mirroring_is_off_where_the_data_says_so() -> None:
    assert not _choose(_of("regress", flip=False)).config.augment.flip


@pytest.mark.parametrize(
    ("task", "stated", "says"),
    [
        ("segment", {"augment.mixup": 0.2}, r"augment.mixup=0.2: segment has no loss for mixed images"),
        ("depth", {"augment.cutmix": 1.0}, r"augment.cutmix=1: depth has no loss"),
        ("regress", {"task.label_smoothing": 0.1}, r"task.label_smoothing=0.1: regress has no labels to smooth"),
        ("segment", {"augment.randaugment_ops": 2}, r"augment.randaugment_ops=2: .* varies colours by augment.jitter"),
        ("segment", {"augment.erase": 0.5}, r"augment.erase=0.5"),
        ("depth", {"augment.three": True}, r"augment.three=1: .* varies colours by augment.jitter"),
    ],
)
def test_what_would_be_passed_over_in_silence_is_refused(task: str, stated: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        _choose(_of(task), **stated)


def test_a_complete_config_of_every_task_chooses_itself_again() -> None:
    for task in ("multilabel", "regress", "segment", "depth"):
        config = _choose(_of(task)).config
        assert choose(_of(task, images=50), variant("vit_tiny"), complete(config)).config == config


@pytest.mark.parametrize("task", ["segment", "depth"])
@pytest.mark.parametrize(
    ("native", "size", "patch"), [(48, 48, 3), (64, 64, 4), (96, 96, 6), (260, 256, 16), (640, 256, 16)]
)
def test_a_value_per_pixel_asks_for_pixels_and_a_fine_grid(task: str, native: int, size: int, patch: int) -> None:
    model = _choose(_of(task, native_size=native)).config.model
    assert (model.image_size, model.patch_size) == (size, patch)
    assert (
        _choose(_of(task, native_size=native), **{"model.patch_size": size // 8}).config.model.patch_size == size // 8
    )


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "pvt_v2_b0"])
def test_families_of_several_grids_keep_their_own_patch_for_a_value_per_pixel(name: str) -> None:
    facts = _of("segment", native_size=48)
    assert (
        _choose(facts, name).config.model.patch_size
        == _choose(_of("multilabel", native_size=48), name).config.model.patch_size
    )


def test_crops_are_gentler_where_every_pixel_has_a_value() -> None:
    assert _choose(_of("depth")).config.augment.crop_scale == (0.5, 1.0)
