"""Recipes that start from weights keep what the weights are, and learn gently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vitrail.errors import UsageError
from vitrail.models import variant
from vitrail.training.recipes import Choice, Facts, Pretrained, choose, complete

BASE = Pretrained(
    source="vit.safetensors", model="vit_base_patch16_224", options={"registers": 4}, image_size=384, patch_size=16,
    pooling="mean", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), head=False,
)  # fmt: skip
PHOTOS = Facts(1200, 24, 240, True, cores=2, pretrained=BASE)


def _choose(facts: Facts = PHOTOS, name: str = "vit_base_patch16_224", **stated: Any) -> Choice:
    return choose(facts, variant(name), {"data.source": "x", "model.name": name, **stated})


@pytest.mark.parametrize("recipe", ["fine_tune", "linear_probe", "lora", "small", "deit3", "plain_vit"])
def test_size_patch_pooling_options_and_pixel_scale_are_those_of_the_weights(recipe: str) -> None:
    config = _choose(recipe=recipe).config
    model = config.model
    assert (model.image_size, model.patch_size, model.pooling) == (384, 16, "mean")
    assert model.options == {"registers": 4}
    assert (config.preprocess.mean, config.preprocess.std) == (BASE.mean, BASE.std)
    stated = _choose(recipe=recipe, **{"model.image_size": 224, "model.pooling": "cls"}).config.model
    assert (stated.image_size, stated.pooling) == (224, "cls")


@pytest.mark.parametrize("head", [False, True])
def test_a_task_that_asks_by_attention_does_so_unless_the_head_is_kept(head: bool) -> None:
    begun = replace(BASE, head=head)
    facts = replace(PHOTOS, task="regress", smooths=False, pooling="map", pretrained=begun)
    assert _choose(facts).config.model.pooling == ("mean" if head else "map")


@pytest.mark.parametrize(
    ("name", "layer_decay", "rate", "drop_path"),
    [
        ("vit_tiny", 0.65, 5e-4, 0.1),
        ("vit_base", 0.65, 5e-4, 0.1),
        ("vit_large", 0.75, 1e-3, 0.2),
        ("vit_huge", 0.75, 1e-3, 0.3),
        ("swin_tiny", 0.8, 5e-4, 0.1),
        ("resnet18", 1.0, 5e-4, 0.1),
    ],
)
def test_fine_tuning_is_maes_by_size(name: str, layer_decay: float, rate: float, drop_path: float) -> None:
    facts = replace(PHOTOS, images=50_000, pretrained=replace(BASE, options={}))
    train = _choose(facts, name).config.train
    assert (train.layer_decay, train.drop_path, train.weight_decay) == (layer_decay, drop_path, 0.05)
    assert (train.batch_size, train.lr) == (256, rate)
    assert _choose(facts, name, **{"train.batch_size": 64}).config.train.lr == pytest.approx(rate / 4)


@pytest.mark.parametrize(
    ("images", "supervised", "epochs"),
    [(300, True, 50), (3000, True, 20), (50_000, True, 10), (300, False, 100), (3000, False, 40), (500_000, False, 10)],
)
def test_epochs_follow_the_number_of_images(images: int, supervised: bool, epochs: int) -> None:
    facts = replace(PHOTOS, images=images, pretrained=replace(BASE, supervised=supervised))
    for recipe in ("fine_tune", "linear_probe", "lora"):
        assert _choose(facts, recipe=recipe).config.train.epochs == epochs


def test_mixing_is_for_runs_long_enough_and_for_photographs() -> None:
    def mixed(**changed: Any) -> tuple[float, float, float, int]:
        augment = _choose(replace(PHOTOS, **changed)).config.augment
        return augment.mixup, augment.cutmix, augment.erase, augment.randaugment_ops

    assert mixed() == (0.8, 1.0, 0.25, 2)
    assert mixed(images=50_000) == (0, 0, 0, 2)
    assert mixed(flip=False) == mixed(native_size=28) == (0, 0, 0, 0)


def test_a_probe_learns_a_layer_and_lora_low_ranks() -> None:
    probe, lora = _choose(recipe="linear_probe").config, _choose(recipe="lora").config
    assert (probe.train.freeze, probe.train.lora_rank, probe.train.layer_decay) == ("backbone", 0, 1)
    assert (lora.train.freeze, lora.train.lora_rank, lora.train.lora_alpha) == ("none", 8, 16)
    for config in (probe, lora):
        augment = config.augment
        assert (augment.mixup, augment.cutmix, augment.erase, augment.randaugment_ops) == (0, 0, 0, 0)
        assert (config.train.drop_path, config.task.label_smoothing) == (0, 0)


@pytest.mark.parametrize(
    ("stated", "recipe", "why"),
    [
        ({}, "fine_tune", "it starts from weights; 1200 images"),
        ({"train.freeze": "backbone"}, "linear_probe", "train.freeze is stated"),
        ({"train.lora_rank": 4}, "lora", "train.lora_rank is stated"),
        ({"train.freeze": "none", "train.lora_rank": 0}, "fine_tune", "it starts from weights; 1200 images"),
        ({"recipe": "lora"}, "lora", "as stated"),
    ],
)
def test_auto_fine_tunes_unless_something_stated_asks_for_less(stated: dict[str, Any], recipe: str, why: str) -> None:
    choice = _choose(**stated)
    assert choice.config.recipe == recipe
    assert choice.reasons[0].why == why


@pytest.mark.parametrize(
    ("seen", "recipe", "why"),
    [
        (None, "fine_tune", "it starts from weights"),
        (300_000, "small", "its weights saw some 300,000 images without targets: all of it learns on as from scratch"),
        (0, "small", "nobody knows how many images"),
        (1e9, "fine_tune", "it starts from weights"),
    ],
)
def test_after_a_short_pretraining_without_targets_everything_learns_on(seen: Any, recipe: str, why: str) -> None:
    facts = replace(PHOTOS, pretrained=replace(BASE, supervised=False, seen=seen))
    choice = _choose(facts)
    assert choice.config.recipe == recipe
    assert why in choice.reasons[0].why
    assert (choice.config.train.layer_decay == 1) == (recipe == "small")
    assert choice.config.model.image_size == BASE.image_size
    assert _choose(facts, **{"train.freeze": "backbone"}).config.recipe == "linear_probe"
    assert _choose(facts, recipe="fine_tune").config.recipe == "fine_tune"


@pytest.mark.parametrize("recipe", ["fine_tune", "linear_probe", "lora"])
def test_without_weights_they_are_refused_in_words(recipe: str) -> None:
    with pytest.raises(UsageError, match=f"--recipe {recipe} is for weights .* --from SOURCE"):
        _choose(Facts(1200, 24, 240, True), recipe=recipe)


@pytest.mark.parametrize("recipe", ["fine_tune", "linear_probe", "lora"])
@pytest.mark.parametrize("task", ["classify", "multilabel", "regress", "segment", "depth"])
def test_each_is_whole_for_every_task_and_chooses_itself_again(recipe: str, task: str) -> None:
    dense = task in ("segment", "depth")
    facts = replace(PHOTOS, task=task, dense=dense, mixes=not dense, smooths=task not in ("regress", "depth"))
    choice = _choose(facts, recipe=recipe, **{"task.name": task})
    assert all(reason.why for reason in choice.reasons)
    assert choice.config.train.batch_size == (16 if dense else 64)
    again = replace(facts, images=90, native_size=30)
    assert choose(again, variant("vit_base"), complete(choice.config)).config == choice.config
