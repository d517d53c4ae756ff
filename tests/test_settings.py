"""The config: strict, nearest names, and equal after a round trip through YAML."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vitrail import settings
from vitrail.errors import UsageError


def test_config_survives_yaml() -> None:
    config = settings.build({"data.source": "digits", "model.options.depth": 3, "train.lr": 3e-4})
    assert settings.build(settings.flatten(yaml.safe_load(settings.to_yaml(config)))) == config
    config = settings.build({"data.source": "digits", "model.options.sr_ratios": [2, 1, 1, 1]})
    assert config.model.options["sr_ratios"] == (2, 1, 1, 1)
    assert settings.build(settings.flatten(yaml.safe_load(settings.to_yaml(config)))) == config


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("epochs", "3", {"train.epochs": "3"}),
        ("batch-size", "8", {"train.batch_size": "8"}),
        ("augment.crop_scale", "[0.5, 1]", {"augment.crop_scale": [0.5, 1]}),
        ("model.options.depth", "6", {"model.options.depth": 6}),
        ("target", "none", {"data.target": None}),
    ],
)
def test_a_stated_option_becomes_its_field(key: str, text: str, expected: dict) -> None:
    assert settings.state(key, text) == expected


@pytest.mark.parametrize("key", ["model.options.depths", "augment.crop_scale"])
def test_a_list_that_is_cut_short_is_refused_with_its_option(key: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{key}: not valid YAML"):
        settings.state(key, "[0.5")


@pytest.mark.parametrize(("given", "kept"), [("20", "20"), (20.0, "20"), ("2.5", "2.5")])
def test_whole_epochs_are_written_as_such(given: Any, kept: str) -> None:
    config = settings.build({"data.source": "digits", "train.epochs": given})
    assert f"  epochs: {kept}\n" in settings.to_yaml(config)
    with pytest.raises(UsageError, match=r"train.epochs: .* greater than 0"):
        settings.build({"data.source": "digits", "train.epochs": 0})


@pytest.mark.parametrize(("wrong", "right"), [("ephocs", "epochs"), ("train.weigth_decay", "train.weight_decay")])
def test_a_misspelt_option_is_refused_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=right):
        settings.state(wrong, "1")


@pytest.mark.parametrize(
    ("path", "value"),
    [("train.epochs", 0), ("train.lr", "fast"), ("train.lr", float("nan")), ("train.precision", "fp8")],
)
def test_a_refused_value_names_its_field(path: str, value: object) -> None:
    with pytest.raises(UsageError, match=path):
        settings.build({"data.source": "digits", path: value})


def test_every_short_option_names_a_field() -> None:
    paths = dict(settings.fields())
    assert set(settings.SHORT.values()) <= set(paths)


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_crash(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("c") / "args.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(UsageError):
        settings.build(settings.load(path))


def test_yaml_tags_run_no_code(tmp_path) -> None:
    path = tmp_path / "args.yaml"
    path.write_text("data: !!python/object/apply:os.system ['touch ran']\n")
    with pytest.raises(UsageError):
        settings.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("augment.crop_scale", [0.9, 0.1], "augment: crop_scale is the least and the most, both above 0"),
        ("augment.crop_scale", [0, 0], "not 0 and 0"),
        ("augment.crop_ratio", [-1, 2], "not -1 and 2"),
        ("augment.crop_scale", 0.9, r"augment.crop_scale: a list in brackets is needed, \[0.5,1\] \(got 0.9\)"),
    ],
)
def test_a_range_is_least_and_most(field: str, value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings.build({"data.source": "a", field: value})


def test_a_choice_among_numbers_can_be_stated_in_a_word() -> None:
    assert settings.build({"data.source": "photos", **settings.state("data.channels", "1")}).data.channels == 1
    with pytest.raises(UsageError, match=r"data\.channels: input should be 1, 3 or 4 \(got 2\)"):
        settings.build({"data.source": "photos", **settings.state("data.channels", "2")})
