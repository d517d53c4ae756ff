"""What is wrong with a command is said before the data is looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrail.errors import TrainingError, UsageError
from vitrail.run import start, training
from vitrail.run.folder import refuse_place
from vitrail.run.prepare import check_model


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No source may be opened."""

    def refuse(*args: Any) -> None:
        pytest.fail("the data was opened")

    monkeypatch.setattr(training, "open_source", refuse)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model.name": "vit_tinny"}, "vit_tiny"),
        ({"model.image_size": 30, "model.patch_size": 4}, "use 28 or 32"),
        ({"model.name": "vit_base_patch16_224", "model.image_size": 100}, "use 96 or 112"),
        ({"model.name": "vit_base_patch16_224", "model.patch_size": 15}, "not divisible"),
        ({"model.options.dept": 3}, "depth"),
        ({"model.options.width": 64}, "not a multiple of heads"),
        ({"model.options.patch_size": 4}, r"that is model\.patch_size"),
        ({"preprocess.mean": (0.1, 0.2)}, "2 values for 3 channels"),
        ({"task.name": "clasify"}, "classify"),
        ({"recipe": "autto"}, "auto"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_the_data_is_opened(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        start({"data.source": "photos", "model.name": "vit_tiny", **wrong}, quiet=True)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"train.freeze": "backbone", "train.lora_rank": 4}, "choose one"),
        ({"train.freeze": "backbone", "distill.teacher": "auto", "distill.kind": "feature"}, "choose hard or soft"),
        ({"distill.weight": 0.3}, "add --teacher"),
        ({"recipe": "finetune"}, "fine_tune"),
        ({"task.name": "clasify"}, "classify"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_what_contradicts_is_refused_before_weights_are_read(
    wrong: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "open_weights", lambda *given: pytest.fail("weights were read"))
    with pytest.raises(UsageError, match=words):
        start({"data.source": "photos", "model.weights": "runs/train/photos", **wrong}, quiet=True)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"train.lora_alpha": 4.0}, "train.lora_alpha: it would do nothing: LoRA is off: set train.lora_rank"),
        ({"train.beta2": 0.9, "train.optimizer": "sgd"}, "train.beta2: it would do nothing: sgd has one momentum"),
    ],
)
def test_what_would_do_nothing_is_refused_before_the_data_is_opened(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        start({"data.source": "photos", "model.name": "vit_tiny", **wrong}, quiet=True)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("kind", ["folder", "file", "link to nothing"])
def test_an_out_that_exists_is_refused_before_the_data_is_opened(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    elif kind == "file":
        out.touch()
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"out exists already: .*choose another$"):
        start({"data.source": "photos"}, out=out, quiet=True)


def test_an_out_that_is_a_run_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    with pytest.raises(UsageError, match=f"or --resume {tmp_path}"):
        refuse_place(tmp_path)


def test_an_out_below_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="file is no folder"):
        refuse_place(tmp_path / "file" / "deep" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("stated", [True, False])
def test_a_place_that_may_not_be_written_is_refused_at_once(
    stated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="permission denied"):
        refuse_place(tmp_path / "deep" / "run" if stated else None)


@pytest.mark.parametrize(
    "stated",
    [
        {"model.patch_size": 5},  # the data may have a size that it divides
        {"model.image_size": 30},  # the recipe finds a patch
        {"model.name": "vit_large_patch16_384"},
        {"model.name": "custom", "model.image_size": 30, "model.patch_size": 4},  # whoever made it knows
    ],
)
def test_what_only_the_data_can_tell_is_left_to_it(stated: dict[str, Any]) -> None:
    check_model({"data.source": "photos", **stated})


def test_a_run_computes_with_the_threads_it_writes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen = []

    def stop(*args: Any, **kwargs: Any) -> None:
        seen.append(torch.get_num_threads())
        raise TrainingError("far enough")

    monkeypatch.setattr(training, "_go", stop)
    small = {"model.options.depth": 1, "model.options.width": 12, "model.options.hidden": 12}
    with pytest.raises(TrainingError, match="far enough"):
        start({"data.source": "digits", "threads": before + 1, **small}, out=tmp_path / "run", quiet=True)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
