"""The recipes for ImageNet say what their papers say, and fit whatever model, task and images they are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitrail.assemble import build_model
from vitrail.models import variant
from vitrail.settings import Config
from vitrail.tasks import numbered_task
from vitrail.training.recipes import Choice, Facts, choose, complete, list_recipes

IMAGENET = Facts(1_281_167, 1000, 400, True, cores=32, device="cuda", fast_bf16=True)
PHOTOS = Facts(1200, 24, 240, True, cores=2)
PUBLISHED = ("deit", "deit3", "plain_vit", "swin", "pvt")


def _choose(name: str, facts: Facts = IMAGENET, **stated: Any) -> Choice:
    return choose(facts, variant(name), {"data.source": "x", "model.name": name, **stated})


def _table(config: Config) -> dict[str, Any]:
    """The rows of TABLES.md 2.1 as a config has them."""
    t, a = config.train, config.augment
    return {
        "optimizer": t.optimizer, "lr": t.lr, "batch": t.batch_size, "wd": t.weight_decay, "epochs": t.epochs,
        "warmup": t.warmup_epochs, "min_lr": t.min_lr, "clip": t.clip, "loss": config.task.loss,
        "smoothing": config.task.label_smoothing, "mix": (a.mixup, a.cutmix), "three": a.three, "jitter": a.jitter,
        "randaugment": (a.randaugment_ops, a.randaugment_magnitude, a.randaugment_spread), "erase": a.erase,
        "repeats": a.repeats, "crop": a.crop_scale, "drop_path": t.drop_path, "ema": t.ema,
        "size": config.model.image_size, "eval": config.preprocess.crop_fraction,
    }  # fmt: skip


COMMON = {
    "optimizer": "adamw", "lr": 1e-3, "batch": 1024, "wd": 0.05, "epochs": 300, "warmup": 5, "min_lr": 1e-5, "clip": 0,
    "loss": "auto", "smoothing": 0.1, "mix": (0.8, 1.0), "three": False, "jitter": 0, "randaugment": (2, 27, 1.5),
    "erase": 0.25, "repeats": 3, "crop": (0.08, 1.0), "drop_path": 0.1, "ema": 0, "size": 224, "eval": 0.875,
}  # fmt: skip
THIRD = {
    "optimizer": "lamb", "clip": 1.0, "lr": 4e-3, "batch": 2048, "epochs": 800, "loss": "bce", "smoothing": 0,
    "three": True, "jitter": 0.3, "randaugment": (0, 9, 0.0), "erase": 0, "drop_path": 0.05, "eval": 1.0,
}  # fmt: skip
PLAIN = {
    "wd": 0.1, "epochs": 90, "warmup": 8.0, "min_lr": 0, "clip": 1.0, "smoothing": 0, "mix": (0.2, 0),
    "randaugment": (2, 10, 0.0), "erase": 0, "repeats": 1, "crop": (0.05, 1.0), "drop_path": 0,
}  # fmt: skip
SWIN = {"warmup": 20, "min_lr": 5e-6, "clip": 5.0, "repeats": 1, "drop_path": 0.2}


@pytest.mark.parametrize(
    ("recipe", "name", "departs"),
    [
        ("deit", "deit_small_patch16_224", {}),
        ("deit", "vit_tiny", {}),
        ("deit3", "deit3_small", THIRD),
        ("deit3", "deit3_base", THIRD | {"lr": 3e-3, "drop_path": 0.2, "size": 192}),
        ("deit3", "deit3_base_patch16_224", THIRD | {"lr": 3e-3, "drop_path": 0.2}),
        ("deit3", "vit_large", THIRD | {"lr": 3e-3, "drop_path": 0.45, "size": 192}),
        ("deit3", "deit3_huge", THIRD | {"lr": 3e-3, "drop_path": 0.6, "size": 154}),
        ("plain_vit", "vit_small", PLAIN),
        ("swin", "swin_tiny_patch4_window7_224", SWIN),
        ("swin", "swin_small", SWIN | {"drop_path": 0.3}),
        ("swin", "swin_base", SWIN | {"drop_path": 0.5}),
        ("swin", "swinv2_tiny", SWIN | {"size": 256}),
        ("pvt", "pvt_tiny", {}),
        ("pvt", "pvt_large", {"clip": 1.0, "drop_path": 0.3}),
        ("pvt", "pvt_v2_b2", {}),
        ("pvt", "pvt_v2_b3", {"clip": 1.0, "drop_path": 0.3}),
    ],
)
def test_every_setting_is_the_published_one(recipe: str, name: str, departs: dict[str, Any]) -> None:
    assert _table(_choose(name, recipe=recipe).config) == {**COMMON, **departs}


def test_models_are_built_as_the_papers_build_them() -> None:
    plain = _choose("vit_small", recipe="plain_vit").config.model
    assert (plain.pooling, plain.options["position"], plain.options["cls"]) == ("mean", "sincos", False)
    third = _choose("vit_small", recipe="deit3").config.model
    assert third.options == {"layer_scale": 1e-4, "drop_path_rule": "constant", "cls_position": False}
    assert _choose("vit_small", recipe="deit").config.model.options == {}
    assert _choose("deit3_huge", recipe="deit3").config.model.patch_size == 14


@pytest.mark.parametrize(
    ("recipe", "batch", "rate"), [("deit", 256, 2.5e-4), ("deit3", 1024, 2e-3), ("swin", 4096, 4e-3)]
)
def test_the_rate_follows_a_stated_batch(recipe: str, batch: int, rate: float) -> None:
    config = _choose("vit_small", recipe=recipe, **{"train.batch_size": batch}).config
    assert config.train.lr == pytest.approx(rate)
    assert _choose("vit_small", recipe=recipe, **{"train.batch_size": batch, "train.lr": 0.5}).config.train.lr == 0.5


def test_a_short_run_warms_up_for_a_tenth_of_it() -> None:
    assert _choose("vit_small", recipe="swin", **{"train.epochs": 30}).config.train.warmup_epochs == 3


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress", "segment"])
@pytest.mark.parametrize(
    "name", ["vit_tiny", "deit3_small", "swin_tiny", "swinv2_tiny", "pvt_tiny", "pvt_v2_b0", "resnet18"]
)
@pytest.mark.parametrize("recipe", PUBLISHED)
def test_every_recipe_makes_a_model_of_every_family_for_every_task(recipe: str, name: str, task: str) -> None:
    dense, smooths = task == "segment", task in ("classify", "multilabel", "segment")
    pooling = "map" if task == "regress" else None
    facts = Facts(1200, 3, 240, True, task=task, dense=dense, mixes=not dense, smooths=smooths, pooling=pooling)
    choice = _choose(name, facts, recipe=recipe, **{"task.name": task})
    config, why = choice.config, {reason.field: reason.why for reason in choice.reasons}
    assert len(why) == len(choice.reasons)
    assert all(why.values())
    with torch.device("meta"):
        build_model(config, numbered_task(task, 3))
    assert config.train.batch_size <= 300
    assert config.augment.crop_scale == ((1, 1) if task == "regress" else (least(task, recipe), 1))
    if dense:
        augment = config.augment
        assert (augment.mixup, augment.cutmix, augment.erase, augment.three) == (0, 0, 0, False)
    assert choose(PHOTOS, variant(name), complete(config)).config == config


def least(task: str, recipe: str) -> float:
    """Of the image's area that a random crop takes."""
    return {"segment": 0.5, "multilabel": 0.7}.get(task, 0.05 if recipe == "plain_vit" else 0.08)


def test_small_images_keep_their_size_under_a_recipe_for_large_ones() -> None:
    model = _choose("vit_tiny", Facts(50_000, 10, 32, True), recipe="deit").config.model
    assert (model.image_size, model.patch_size) == (32, 4)


# -------------------------------------------------------------------------------------------------------- the machine


@pytest.mark.parametrize(
    ("name", "device", "stated", "parts"),
    [
        ("vit_small", "cuda", {}, 4),
        ("vit_base", "cuda", {}, 8),
        ("vit_small", "cpu", {}, 16),
        ("vit_small", "cpu", {"model.image_size": 32, "model.patch_size": 4}, 8),
        ("swin_tiny", "cuda", {}, 4),
        ("vit_small", "cuda", {"train.batch_size": 1000}, 5),
        ("vit_small", "cuda", {"train.batch_size": 250}, 1),
        ("vit_small", "cuda", {"train.batch_size": 1001}, 1),
        ("vit_small", "cuda", {"train.accumulate": 2}, 2),
    ],
)
def test_a_batch_goes_through_in_parts_that_fit(name: str, device: str, stated: dict[str, Any], parts: int) -> None:
    facts = Facts(1_281_167, 1000, 400, True, device=device)
    train = _choose(name, facts, recipe="deit", **stated).config.train
    assert train.accumulate == parts
    assert parts == 1 or train.batch_size // parts % 8 == 0


@pytest.mark.parametrize(
    ("facts", "precision"),
    [
        (Facts(1200, 24, 240, True, fast_bf16=True), "bf16"),
        (Facts(1200, 24, 240, True), "fp32"),
        (Facts(1257, 10, 8, False, fast_bf16=True), "fp32"),
        (Facts(1257, 10, 8, False, fast_bf16=True, device="cuda"), "bf16"),
        (Facts(1200, 0, 240, True, fast_bf16=True, task="regress", smooths=False), "fp32"),
    ],
)
def test_half_the_digits_where_they_are_faster_and_enough(facts: Facts, precision: str) -> None:
    choice = _choose("vit_tiny", facts)
    assert choice.config.train.precision == precision
    assert _choose("vit_tiny", facts, **{"train.precision": "fp32"}).config.train.precision == "fp32"


# ----------------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("facts", "name", "recipe"),
    [
        (IMAGENET, "vit_small", "plain_vit"),
        (IMAGENET, "vit_base", "deit3"),
        (IMAGENET, "deit_small", "deit"),
        (IMAGENET, "deit3_small", "deit3"),
        (IMAGENET, "swinv2_tiny", "swin"),
        (IMAGENET, "pvt_v2_b1", "pvt"),
        (IMAGENET, "resnet50", "small"),
        (Facts(1_281_167, 1000, 64, True), "vit_small", "small"),
        (Facts(1_281_167, 0, 400, True, task="regress", smooths=False), "vit_small", "small"),
        (PHOTOS, "swin_tiny", "small"),
    ],
)
def test_auto_picks_by_images_size_and_model_and_says_why(facts: Facts, name: str, recipe: str) -> None:
    choice = _choose(name, facts)
    assert choice.config.recipe == recipe
    first = choice.reasons[0]
    assert (first.field, first.value) == ("recipe", recipe)
    assert str(facts.images) in first.why
    assert _choose(name, facts, recipe=recipe).config == choice.config


def test_every_recipe_says_paper_command_time_and_result() -> None:
    import importlib

    for name in set(list_recipes()) - {"auto"}:
        doc = importlib.import_module(f"vitrail.training.recipes.{name}").__doc__ or ""
        assert "vitrail train " in doc, name
        assert "Time: " in doc, name
        assert "Result" in doc, name
        assert "arXiv" in doc or name in ("plain", "linear_probe"), name


def test_the_help_of_recipe_names_every_recipe() -> None:
    from dataclasses import fields

    from vitrail.cli.train import TrainOptions

    (meaning,) = [f.metadata["meaning"] for f in fields(TrainOptions) if f.name == "recipe"]
    words = set(meaning.replace(",", " ").replace(";", " ").split())
    assert set(list_recipes()) <= words
