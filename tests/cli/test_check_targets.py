"""`vitrail check` of targets: how they are read is said, what is stated is obeyed, what training refuses is refused."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.cli.main import main

Output = pytest.CaptureFixture[str]


def told(words: Sequence[str], capsys: Output, code: int = 0) -> dict[str, Any]:
    """The JSON object of `check`, whose exit code is to be `code`."""
    assert main(["check", *words, "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer["check"]


def refused(words: Sequence[str], capsys: Output, code: int = 2) -> str:
    """What is said on the refusal of `check`."""
    assert main(["check", *words]) == code
    return capsys.readouterr().err


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((24, 18), Image.Resampling.BICUBIC).save(path)


def table(root: Path, columns: Mapping[str, Sequence[Any]], below: str = "img") -> Path:
    """A CSV of as many images as each column has cells."""
    count = len(next(iter(columns.values())))
    for i in range(count):
        draw(root / below / f"{i}.png", i)
    rows = [",".join(["image", *columns])]
    rows += [",".join([f"{below}/{i}.png", *(str(cells[i]) for cells in columns.values())]) for i in range(count)]
    (root / "t.csv").write_text("\n".join(rows) + "\n")
    return root / "t.csv"


def masked(root: Path, masks: Sequence[Any], splits: Sequence[str] = ()) -> Path:
    """A CSV of images with a mask of 18 x 24 in .npy each."""
    (root / "masks").mkdir(parents=True)
    for i, mask in enumerate(masks):
        np.save(root / "masks" / f"{i}.npy", mask)
    columns = {"mask": [f"masks/{i}.npy" for i in range(len(masks))]}
    return table(root, {**columns, "split": splits} if splits else columns)


def mask_of(*values: int, dtype: type = np.int16) -> Any:
    mask = np.zeros((18, 24), dtype)
    for place, value in enumerate(values):
        mask[place] = value
    return mask


# ------------------------------------------------------------------------------------------------- guessed, and said


def test_what_was_guessed_is_said_on_screen_in_json_and_on_the_page(tmp_path: Path, capsys: Output) -> None:
    data = table(tmp_path, {"size [px]": [i % 3 for i in range(24)]})
    found = told([str(data), "--out", str(tmp_path / "found")], capsys)
    assert found["task"] == {"name": "regress", "why": "targets are numbers", "settings": {}}
    lines = [
        "images are in column 'image' (by its name)",
        "the target is column 'size [px]' (the only one left; --target chooses another)",
        "whole numbers in 'size [px]' are taken as a quantity (its name has a unit, px); --task classify takes them as "
        "classes",
    ]
    assert found["notes"] == lines
    page = (tmp_path / "found" / "check.html").read_text().replace("&#39;", "'")
    assert main(["check", str(data)]) == 0
    shown = capsys.readouterr().out
    for line in (*lines, "task regress: targets are numbers"):
        assert f"<li>{line}</li>" in page
        assert f"Read as: {line}\n" in shown


def test_settings_that_go_with_a_task_are_said(tmp_path: Path, capsys: Output) -> None:
    masks = [np.arange(18 * 24, dtype=np.uint16).reshape(18, 24) % (25 + i) for i in range(12)]
    found = told([str(masked(tmp_path, masks))], capsys)
    assert found["task"]["name"] == "segment"
    assert found["task"]["settings"]["task.foreground"]["value"] is True
    assert [finding["kind"] for finding in found["findings"]] == ["masks_number_objects"]


def test_an_image_that_is_missing_is_named_with_its_row(tmp_path: Path, capsys: Output) -> None:
    data = table(tmp_path, {"label": ["a", "b"] * 12})
    (tmp_path / "img" / "5.png").unlink()
    found = told([str(data)], capsys, 3)
    assert found["bad_files"] == [{"path": "img/5.png", "reason": "no such file (row 7)"}]
    assert found["bad_reasons"] == {"no such file": 1}
    assert "img/5.png: no such file (row 7)" in found["problems"][0]


# --------------------------------------------------------------------------------------------- what is stated is obeyed


def test_the_settings_that_errors_advise_are_taken_and_handed_on_to_train(tmp_path: Path, capsys: Output) -> None:
    names = [f"n{i}" for i in range(24)]
    data = table(tmp_path, {"name": names, "kind": ["a", "b"] * 12, "wt": ["1.5"] * 24}, below="deep")
    (tmp_path / "deep").rename(tmp_path / "pictures")
    for i, name in enumerate(names):
        (tmp_path / "pictures" / f"{i}.png").rename(tmp_path / "pictures" / f"{name}.png")
    words = [
        str(data), "--target", "kind", "data.images=pictures/{name}.png", "data.weight=wt", "data.stratify=name",
        "data.max_bad_fraction=0.5", "data.val_fraction=0.25",
    ]  # fmt: skip
    (tmp_path / "pictures" / "n3.png").write_bytes(b"")
    assert main(["check", *words]) == 0
    shown = capsys.readouterr().out
    assert "Read as: training counts each image as much as 'wt' says" in shown
    assert "0.25 for val" in shown
    assert shlex.split(shown.splitlines()[-1].removeprefix("Next"))[2:] == words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train.lr=1"], "train.lr: check trains nothing and has no use for it"),
        (["data.workers=2"], "data.workers: check trains nothing"),
        (["--task", "segm"], "unknown task 'segm': did you mean 'segment'?"),
        (["task.name=segm"], "unknown task 'segm'"),
        (["--target", "kind", "data.target=kind"], "--target and data.target are the same field"),
        (["data.source=x"], "DATA and data.source are the same field"),
        (["--target", "kind", "task.scale=2"], "task.scale is for depth: classify has no use for it"),
        (["data.val_fraction=2"], "data.val_fraction"),
        (["--target", "wt", "data.weight=wt"], "--target wt and data.weight=wt are the same column"),
        (["--target", "image"], "--target image: that column says where the images are"),
    ],
)
def test_what_is_stated_and_has_no_use_is_refused(
    words: list[str], says: str, tmp_path: Path, capsys: Output
) -> None:  # fmt: skip
    data = table(tmp_path, {"kind": ["a", "b"] * 4, "wt": range(1, 9)})
    assert says in refused([str(data), *words], capsys)


def test_every_setting_that_is_taken_is_one_of_the_config() -> None:
    from vitrail.cli.check import OPTIONS, TAKEN
    from vitrail.settings import fields

    paths = {path for path, _ in fields()}
    assert paths >= TAKEN >= set(OPTIONS.values())


# ---------------------------------------------------------------------------------- what training refuses is refused


def test_values_that_training_refuses_are_refused_with_what_to_do(tmp_path: Path, capsys: Output) -> None:
    masks = [mask_of(1, 2, -1) for _ in range(12)]
    data = masked(tmp_path, masks)
    found = told([str(data)], capsys, 3)
    assert "value -1" in found["problems"][0]
    assert "task.ignore=-1" in found["problems"][0]
    found = told([str(data), "task.ignore=-1"], capsys)
    assert (found["trainable"], found["findings"]) == (True, [])
    problem = told([str(data), "task.ignore=-1", "task.labels=[a,b]"], capsys, 3)["problems"]
    assert problem == ["2 class names, but the masks have the values 0, 1, 2"]


def test_masks_with_fractions_are_no_masks(tmp_path: Path, capsys: Output) -> None:
    data = masked(tmp_path, [mask_of(1, 2, dtype=np.float32) / 4 for _ in range(12)])
    assert told([str(data)], capsys, 0)["task"]["name"] == "depth"
    assert "its mask has fractions" in told([str(data), "--task", "segment"], capsys, 3)["problems"][0]


def test_a_value_that_only_held_out_masks_have_is_an_error(tmp_path: Path, capsys: Output) -> None:
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    masks = [mask_of(1, 255, dtype=np.uint8) for _ in splits]
    masks[-1], masks[-2] = mask_of(1, 2, dtype=np.uint8), mask_of(1, 2, 3, dtype=np.uint8)
    data = masked(tmp_path, masks, splits)
    found = told([str(data)], capsys, 3)
    (finding,) = [f for f in found["findings"] if f["kind"] == "mask_values_unknown_to_training"]
    assert finding["severity"] == "error"
    assert [case["files"] for case in finding["cases"]] == [["img/10.png"], ["img/11.png"]]
    assert finding["cases"][0]["words"] == "the value 2 (and 1 more), which is no class that training has"
    assert found["masks"] == {"found": 12, "usable": 10, "bad": 2}
    assert told([str(data), "data.max_bad_fraction=0.5"], capsys)["trainable"]
    named = told([str(data), "task.labels=[ground,a,b,c]"], capsys)
    assert named["trainable"]
    assert [finding["kind"] for finding in named["findings"]] == ["unexpected_mask_values"], "3 is rare, but a class"
    for i in (8, 9):
        np.save(tmp_path / "masks" / f"{i}.npy", mask_of(1, 7, dtype=np.uint8))
    (problem,) = told([str(data), "data.max_bad_fraction=0.9"], capsys, 3)["problems"]
    assert problem.startswith("every validation mask has a value that no training mask has: its target: the value 7")


# ------------------------------------------------------------------------------------------------------------- labels


def test_a_label_that_no_row_has_is_kept_and_said(tmp_path: Path, capsys: Output) -> None:
    red = [i % 2 for i in range(24)]
    data = table(tmp_path, {"red": red, "blue": [1 - value for value in red], "green": [0] * 24})
    found = told([str(data), "--target", "red,blue,green"], capsys)
    assert found["task"]["name"] == "multilabel"
    (finding,) = [f for f in found["findings"] if f["kind"] == "labels_of_no_image"]
    assert finding["title"] == "1 label has no image to learn from: 'green'"
    assert any("no row has a 1 in 'green'" in note for note in found["notes"])


def test_a_slip_among_zeros_and_ones_is_found(tmp_path: Path, capsys: Output) -> None:
    columns = {name: [(i + shift) % 2 for i in range(24)] for shift, name in enumerate(("red", "blue"))}
    columns["blue"][4] = 2
    found = told([str(table(tmp_path, columns)), "--target", "red,blue"], capsys)
    assert found["task"]["name"] == "regress"
    (finding,) = [f for f in found["findings"] if f["kind"] == "nearly_labels"]
    assert [(case["files"], case["words"]) for case in finding["cases"]] == [(["img/4.png"], "'blue' is 2")]
    assert any("row 6: 'blue' is '2'" in note for note in found["notes"])


def test_masks_are_no_copies_of_images_where_two_folders_could_be_the_targets(tmp_path: Path, capsys: Output) -> None:
    for i in range(6):
        for folder in ("images", "masks", "depth"):
            draw(tmp_path / "p" / folder / f"{i}.png", i)
    found = told([str(tmp_path / "p")], capsys, 3)
    assert re.search("which folder has the targets, depth or masks", found["problems"][0])
    assert (found["found"], found["ignored"]) == (6, 12)
    assert found["duplicates"]["groups"] == found["near_duplicates"]["groups"] == 0
    assert found["ignored_files"][0] == {"path": "depth/0.png", "reason": "a target, by the name of its folder"}
