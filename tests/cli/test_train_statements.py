"""What a command line of `train` states: fields of the config, and nothing it does not say."""

from __future__ import annotations

import typing
from dataclasses import fields as members
from pathlib import Path
from typing import Any, Literal

import pytest

from vitrail.cli.options import key_of, read
from vitrail.cli.train import OF_THE_RUN, TRAIN, TrainOptions, statements
from vitrail.errors import UsageError
from vitrail.settings import SHORT, Stated, build, fields, to_yaml


def state(*words: str) -> Stated:
    return statements(read("train", TRAIN.options, TRAIN.operands, TRAIN.config, words))


def literals(annotation: Any) -> set[str]:
    """The choices of a Literal, also inside an Optional."""
    if typing.get_origin(annotation) is Literal:
        return set(typing.get_args(annotation))
    return {choice for part in typing.get_args(annotation) for choice in literals(part)}


def test_only_what_is_said_is_stated() -> None:
    assert state("photos") == {"data.source": "photos"}


def test_short_options_and_dotted_paths_reach_their_fields() -> None:
    stated = state("photos", "--epochs", "3", "lr=0.5", "--seed", "7", "train.weight_decay=0.1", "--recipe", "plain")
    config = build(stated)
    assert (config.train.epochs, config.train.lr, config.train.weight_decay) == (3, 0.5, 0.1)
    assert (config.seed, config.recipe, config.data.source) == (7, "plain", "photos")
    assert set(stated) == {"data.source", "train.epochs", "train.lr", "train.weight_decay", "seed", "recipe"}


def test_the_command_line_stands_above_the_config_file(tmp_path: Path) -> None:
    config = build({"data.source": "photos", "train.epochs": 50, "train.lr": 0.25, "train.beta1": 0.5})
    (tmp_path / "args.yaml").write_text(to_yaml(config))
    again = build(state("--config", str(tmp_path / "args.yaml")))
    assert again == config
    mine = build(state("others", "--config", str(tmp_path / "args.yaml"), "--epochs", "3", "train.beta1=0.7"))
    assert (mine.data.source, mine.train.epochs, mine.train.lr, mine.train.beta1) == ("others", 3, 0.25, 0.7)


def test_a_time_takes_the_place_of_the_epochs_of_a_config_file(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text(to_yaml(build({"data.source": "photos", "train.epochs": 50, "train.lr": 0.25})))
    stated = state("--config", str(tmp_path / "args.yaml"), "--time", "10m")
    assert "train.epochs" not in stated
    assert stated["train.lr"] == 0.25
    assert state("photos", "--time", "10m") == {"data.source": "photos"}
    assert "train.epochs" in state("photos", "--time", "10m", "--epochs", "3")  # which starting a run refuses
    with pytest.raises(UsageError, match=r"^time 'soon' is none: write 1h30m, 10m, 90s"):
        state("photos", "--time", "soon")


def test_what_training_starts_from_is_stated_by_a_word_of_pythons() -> None:
    stated = state("photos", "--from", "runs/train/a b=c", "--new-head")
    assert stated == {"data.source": "photos", "model.weights": "runs/train/a b=c", "model.new_head": True}
    assert state("photos", "from=folder", "new-head=false") == {
        "data.source": "photos", "model.weights": "folder", "model.new_head": False,
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"^--from needs a value: --from SOURCE$"):
        state("photos", "--from")
    with pytest.raises(UsageError, match=r"^--from and model\.weights are the same field: state one$"):
        state("photos", "--from", "a", "model.weights=b")
    with pytest.raises(UsageError, match="unknown option 'from_'"):
        state("photos", "--from_", "a")


def test_a_run_is_not_resumed_from_other_weights() -> None:
    with pytest.raises(UsageError, match=r"^--resume goes on with .*: leave out --from, --new-head$"):
        TRAIN.function(
            read("train", TRAIN.options, TRAIN.operands, True, ("--resume", "r", "--from", "w", "--new-head"))
        )


def test_a_value_that_a_field_refuses_is_said_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"train\.beta1: .* \(got '2'\)"):
        state("absent", "train.beta1=2")


def test_every_option_is_a_field_of_the_same_choices() -> None:
    """An option that no field answers to would do nothing."""
    paths = dict(fields())
    hints = typing.get_type_hints(TrainOptions)
    for member in members(TrainOptions):
        if key_of(member.name) in OF_THE_RUN:
            continue
        path = SHORT.get(key_of(member.name), member.name)
        assert path in paths, member.name
        choices = literals(hints[member.name])
        if choices and path != "task.name":
            assert choices == literals(paths[path]), member.name


def test_every_short_field_has_its_option() -> None:
    assert set(SHORT) <= {key_of(member.name) for member in members(TrainOptions)}


def test_the_task_option_offers_the_tasks_there_are() -> None:
    from vitrail.tasks import list_tasks

    assert literals(typing.get_type_hints(TrainOptions)["task"]) == set(list_tasks())
