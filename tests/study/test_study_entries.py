"""What is compared: names, files, and who teaches whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrail.errors import UsageError
from vitrail.study.entries import DEFAULT, in_order, lessons, read_entries, refuse_common


def teachers(models: str, teacher: str | None = None) -> dict[str, str | None]:
    return {entry.label: entry.teacher for entry in read_entries(models, teacher)}


LIST = "vit_tiny,deit_tiny_distilled,resnet18"


def test_the_usual_list_has_the_cnn_teach_a_model_and_train_first() -> None:
    assert teachers(DEFAULT) == {"vit_tiny": None, "vit_tiny+teacher": "resnet18", "resnet18": None}
    assert [entry.model for entry in read_entries(DEFAULT)] == ["vit_tiny", "vit_tiny", "resnet18"]
    assert next(entry.label for entry in in_order(read_entries(DEFAULT))) == "resnet18"


def test_each_teacher_has_its_own_pupils(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "first: {model: vit_tiny, distill.teacher: resnet18}\nsecond: {model: vit_tiny, distill.teacher: swin_tiny}\n"
        "third: {model: vit_tiny, distill.teacher: runs/train/photos}\n"
    )
    found = read_entries(f"{path},vit_tiny+teacher,resnet18,swin_tiny")
    assert lessons(found) == {"resnet18": ["first", "vit_tiny+teacher"], "swin_tiny": ["second"]}


def test_a_distilled_model_is_taught_without_being_asked_for() -> None:
    assert teachers(LIST) == {"vit_tiny": None, "deit_tiny_distilled": "resnet18", "resnet18": None}


def test_without_a_cnn_the_distilled_model_trains_one_itself() -> None:
    assert teachers("vit_tiny,deit_tiny_distilled") == {"vit_tiny": None, "deit_tiny_distilled": "auto"}


def test_a_cnn_that_learns_itself_teaches_nobody() -> None:
    assert teachers("resnet18+teacher,resnet18,vit_tiny+teacher") == {
        "resnet18+teacher": "resnet18", "resnet18": None, "vit_tiny+teacher": "resnet18",
    }  # fmt: skip
    assert teachers("resnet18+teacher,vit_tiny") == {"resnet18+teacher": "auto", "vit_tiny": None}


def test_who_teaches_can_be_said() -> None:
    assert teachers(LIST, "runs/train/photos")["deit_tiny_distilled"] == "runs/train/photos"
    assert teachers(LIST, "vit_tiny")["deit_tiny_distilled"] == "vit_tiny"
    assert teachers(LIST, "none")["deit_tiny_distilled"] is None
    assert teachers(DEFAULT, "none")["vit_tiny+teacher"] is None


def test_a_file_gives_labels_with_fields(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "wide: {model: vit_tiny, model.options.width: 384}\nnarrow:\n  model: {name: vit_tiny}\n  train: {lr: 1e-4}\n"
    )
    wide, narrow, _ = read_entries(f"{path},resnet18")
    assert (wide.label, wide.stated) == ("wide", {"model.name": "vit_tiny", "model.options.width": 384})
    assert narrow.stated == {"model.name": "vit_tiny", "train.lr": "1e-4"} or narrow.stated["train.lr"] == 1e-4


@pytest.mark.parametrize(
    ("models", "teacher", "says"),
    [
        ("vit_tinny,resnet18", None, "unknown model 'vit_tinny': did you mean"),
        ("resnet18", None, "--models names 1: give two models or more"),
        (" , ", None, "--models names none"),
        ("resnet18,resnet18", None, "names resnet18 twice: give each a label of its own"),
        ("vit_tiny,resnet18", "resnet18", "--teacher resnet18 teaches nobody: add a model that learns from it"),
        ("deit_tiny_distilled,deit_small_distilled,resnet18", "deit_tiny_distilled", "must not be taught by another"),
        ("missing.yaml,resnet18", None, "missing.yaml cannot be read: no such file"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_compared_is_refused_in_words(models: str, teacher: str | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_entries(models, teacher)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: {model: vit_tiny, data.val_fraction: 0.5}", "a: data.val_fraction must be the same for all"),
        ("a: {train.lr: 0.1}", "a: which model"),
        ("a: {model: vit_tiny, train.lrr: 0.1}", "a: unknown option 'train.lrr': did you mean 'train.lr'"),
        ("a: {model: vit_tiny, train.lr: -1}", "a: train.lr"),
        ("[vit_tiny]", "a label with fields is expected"),
        ("a: {", "no YAML"),
        ("a: {model: vit_tiny}\na: {model: resnet18}", "the label a stands twice"),
        (f"{'x' * 61}: {{model: vit_tiny}}", "has over 60 characters"),
        ("'': {model: vit_tiny}", "is empty"),
        ('"a\\nb": {model: vit_tiny}', "has line ends"),
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_usable_names_the_place(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"models.yaml.*{says}"):
        read_entries(f"{path},resnet18")


def test_a_label_is_a_folders_name_without_spaces(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("'../ViT  wide.': {model: vit_tiny}\n'..': {model: resnet18}\n")
    assert [entry.folder for entry in read_entries(str(path))] == ["-ViT_wide", "model"]


@pytest.mark.parametrize("path", ["model.name", "seed", "train.epochs", "distill.teacher"])
def test_what_the_study_sets_cannot_be_stated_for_all(path: str) -> None:
    with pytest.raises(UsageError, match=f"{path} is set by the study: --"):
        refuse_common({path: 1})
