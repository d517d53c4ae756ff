"""`vitrail check`: every fault planted in a folder or a table is named, nothing is invented, and all counts add up."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_run import TINY, draw_photos

from vitrail.cli.main import main

Output = pytest.CaptureFixture[str]


def draw(seed: int, height: int = 36, width: int = 48) -> Image.Image:
    """A smooth pattern, different for every seed, as photos differ."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def clean(root: Path, classes: tuple[str, ...] = ("cat", "dog"), splits: tuple[str, ...] = ("train", "val")) -> Path:
    """SPLIT/CLASS/n.png, 12 of each: nothing to find."""
    seed = 0
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(12):
                draw(seed).save(root / split / name / f"{i}.png")
                seed += 1
    return root


def told(words: list[str], capsys: Output, code: int = 0) -> dict[str, Any]:
    """What `check ... --json` says."""
    assert main(["check", *words, "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def kinds(answer: dict[str, Any]) -> dict[str, list[str]]:
    """Kind of finding -> the files of its first case."""
    return {f["kind"]: f["cases"][0]["files"] if f["cases"] else [] for f in answer["check"]["findings"]}


def test_a_clean_folder_has_no_findings(tmp_path: Path, capsys: Output) -> None:
    root = clean(tmp_path / "p")
    assert kinds(told([str(root)], capsys)) == {}
    assert main(["check", str(root)]) == 0
    assert "Nothing to fix was found." in capsys.readouterr().out


def test_every_fault_planted_in_a_folder_is_found_and_no_other(tmp_path: Path, capsys: Output) -> None:
    root = clean(tmp_path / "p", ("cat", "dog", "owl"))
    train, val = root / "train", root / "val"
    (train / "cat" / "empty.jpg").write_bytes(b"")
    draw(900).save(train / "cat" / "really.jpg", "PNG")
    (train / "cat" / "notes.txt").write_text("x")
    draw(901).save(train / "stray.png")
    shutil.copy(train / "cat" / "0.png", train / "cat" / "again.png")
    shutil.copy(train / "cat" / "1.png", train / "dog" / "other.png")
    shutil.copy(train / "owl" / "2.png", val / "owl" / "leak.png")
    draw(902).save(train / "cat" / "near.png")
    draw(902).point(lambda v: v * 9 // 10).save(train / "cat" / "near2.png")
    draw(903).save(train / "cat" / "near3.png")
    draw(903).point(lambda v: v * 9 // 10).save(train / "dog" / "near3.png")
    draw(904).save(train / "dog" / "near4.png")
    draw(904).resize((96, 72)).save(val / "dog" / "near4.png")
    Image.new("RGB", (48, 36), "teal").save(train / "dog" / "flat.png")
    draw(905).point(lambda v: v // 25).save(train / "dog" / "dark.png")
    draw(906).point(lambda v: 255 - v // 25).save(train / "dog" / "bright.png")
    draw(907).convert("L").save(train / "dog" / "grey.png")
    draw(908, 6, 8).save(train / "dog" / "tiny.png")
    draw(909, 14, 150).save(train / "dog" / "strip.png")
    Image.fromarray(np.asarray(draw(910))[..., 0].astype(np.uint16) * 16).save(train / "dog" / "deep.png")
    for split in (train, val):
        (split / "Cat ").mkdir()
        for i in range(3):
            draw(920 + i + (split == val) * 5).save(split / "Cat " / f"{i}.png")
    answer = told([str(root)], capsys, 3)
    found = kinds(answer)
    assert found == {
        "cannot_be_trained_on": [],
        "duplicates_with_other_labels": ["train/cat/1.png", "train/dog/other.png"],
        "duplicates_across_splits": ["train/owl/2.png", "val/owl/leak.png"],
        "spelling_twins": found["spelling_twins"],
        "near_duplicates_with_other_labels": ["train/cat/near3.png", "train/dog/near3.png"],
        "near_duplicates_across_splits": ["train/dog/near4.png", "val/dog/near4.png"],
        "tiny_classes": found["tiny_classes"],
        "constant_images": ["train/dog/flat.png"],
        "unusable_files": ["train/cat/empty.jpg"],
        "unscaled_16_bit": ["train/dog/deep.png"],
        "images_in_no_class": ["train/stray.png"],
        "duplicates": ["train/cat/0.png", "train/cat/again.png"],
        "near_duplicates": ["train/cat/near.png", "train/cat/near2.png"],
        "grey_among_colour": found["grey_among_colour"],
        "unusual_sizes": ["train/dog/tiny.png"],
        "unusual_shapes": ["train/dog/strip.png"],
        "wrong_extension": ["train/cat/really.jpg"],
        "tiny_images": ["train/dog/tiny.png"],
        "extreme_shapes": ["train/dog/strip.png"],
        "very_dark_images": found["very_dark_images"],
        "very_bright_images": ["train/dog/bright.png"],
        "ignored_files": ["train/cat/notes.txt"],
    }
    (twins,) = (f for f in answer["check"]["findings"] if f["kind"] == "spelling_twins")
    assert [case["words"] for case in twins["cases"]] == ["'cat' (30), 'Cat ' (6)"]
    assert {"train/dog/dark.png", "train/dog/deep.png"} >= set(found["very_dark_images"])
    assert len(answer["warnings"]) == sum(f["severity"] != "note" for f in answer["check"]["findings"])
    on_disk = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    told_of = answer["check"]
    assert (
        len(on_disk) == told_of["found"] + told_of["ignored"] == told_of["usable"] + told_of["bad"] + told_of["ignored"]
    )
    for name in ("classes", "splits"):
        assert sum(part["usable"] + part["bad"] for part in told_of[name].values()) == told_of["found"]
    assert sum(told_of["formats"].values()) == told_of["usable"]


def test_the_page_shows_every_finding_and_asks_for_nothing(tmp_path: Path, capsys: Output) -> None:
    root = clean(tmp_path / "p")
    shutil.copy(root / "train" / "cat" / "1.png", root / "train" / "dog" / "<b>&.png")
    (root / "train" / "cat" / "cut.png").write_bytes((root / "train" / "cat" / "1.png").read_bytes()[:99])
    assert main(["check", str(root), "--out", str(tmp_path / "found")]) == 3
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"Output  {tmp_path / 'found' / 'check.html'}"
    page = (tmp_path / "found" / "check.html").read_text()
    data = json.loads((tmp_path / "found" / "check.json").read_text())
    for finding in data["findings"]:
        assert finding["remedy"].replace("'", "&#39;") in page
    assert page.count("<img") >= 2
    assert "<b>&.png" not in page
    assert "&lt;b&gt;&amp;.png" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "://" not in page
    with (tmp_path / "found" / "bad_files.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["train/cat/cut.png"]


def test_a_page_that_cannot_be_written_is_said_in_words(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "found").write_text("a file")
    assert main(["check", str(clean(tmp_path / "p")), "--out", str(tmp_path / "found")]) == 4
    assert f"cannot write to {tmp_path / 'found'}" in capsys.readouterr().err


def test_the_offered_normalisation_is_what_train_takes(tmp_path: Path, capsys: Output) -> None:
    from vitrail.settings import build, state

    root = clean(tmp_path / "p")
    assert main(["check", str(root), "--out", str(tmp_path / "found")]) == 0
    page = (tmp_path / "found" / "check.html").read_text()
    words = re.findall(r"preprocess\.(?:mean|std)=\[[\d.,]+\]", page)
    stated = {"data.source": "p"}
    for word in words:
        stated |= state(*word.split("=", 1))
    told = build(stated).preprocess
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted((root / "train").rglob("*.png"))]) / 255
    np.testing.assert_allclose(told.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-3)
    np.testing.assert_allclose(told.std, pixels.std(axis=(0, 1, 2)), atol=1e-3)


# ------------------------------------------------------------------------------------------------ tables and masks


def masked(root: Path, count: int = 24) -> Path:
    """A table with a mask to each image; nothing to find."""
    root.mkdir()
    lines = ["image,mask"]
    for i in range(count):
        draw(i).save(root / f"{i}.png")
        mask = np.zeros((36, 48), np.uint8)
        mask[5 : 15 + i % 9, 8:30] = 1
        Image.fromarray(mask).save(root / f"{i}_mask.png")
        lines.append(f"{i}.png,{i}_mask.png")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


def test_masks_are_read_and_add_up(tmp_path: Path, capsys: Output) -> None:
    table = masked(tmp_path / "m")
    assert kinds(told([str(table)], capsys)) == {}
    (tmp_path / "m" / "1_mask.png").write_bytes(b"no mask")
    Image.new("L", (40, 36), 1).save(tmp_path / "m" / "2_mask.png")
    Image.new("L", (48, 36), 0).save(tmp_path / "m" / "3_mask.png")
    odd = np.array(Image.open(tmp_path / "m" / "4_mask.png"))
    odd[0, :3] = 9
    Image.fromarray(odd).save(tmp_path / "m" / "4_mask.png")
    Image.fromarray(odd.astype(np.uint16) + 999).save(tmp_path / "m" / "5_mask.png")
    (tmp_path / "m" / "6_mask.png").unlink()
    assert main(["check", str(table), "--out", str(tmp_path / "found")]) == 3
    shown = capsys.readouterr().out
    assert "24 masks: 20 usable, 4 not." in shown
    assert "24 images: 20 usable, 4 not." in shown
    listed = (tmp_path / "found" / "bad_files.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in listed[1:]] == ["1.png", "2.png", "4.png", "6.png"]
    assert '2.png,"its target: 40 x 36 pixels, the image 48 x 36 (row 4)"' in listed
    answer = told([str(table)], capsys, 3)
    found = kinds(answer)
    assert found == {
        "cannot_be_trained_on": [],
        "unreadable_masks": ["1.png"],
        "mask_size_mismatch": ["2.png"],
        "mask_values_out_of_range": ["5.png"],
        "empty_masks": ["2.png"],
        "mask_values_unknown_to_training": ["4.png"],
    }
    masks = answer["check"]["masks"]
    assert masks["found"] == masks["usable"] + masks["bad"] == 24
    assert "its target" in (tmp_path / "found" / "check.html").read_text()


def test_a_mask_that_declares_too_many_pixels_is_named(tmp_path: Path, capsys: Output) -> None:
    table = masked(tmp_path / "m")
    answer = told([str(table), "--max-pixels", str(36 * 48)], capsys)
    assert kinds(answer) == {}
    Image.new("L", (480, 360)).save(tmp_path / "m" / "3_mask.png")
    answer = told([str(table), "--max-pixels", str(36 * 48)], capsys, 3)
    assert kinds(answer) == {"cannot_be_trained_on": [], "unreadable_masks": ["3.png"]}


def test_every_number_that_cannot_be_used_is_named_not_the_first_alone(tmp_path: Path, capsys: Output) -> None:
    root = tmp_path / "n"
    root.mkdir()
    lines = ["image,value"]
    for i in range(30):
        draw(i).save(root / f"{i}.png")
        lines.append(f"{i}.png,{i / 10 + 20}")
    (root / "t.csv").write_text("\n".join(lines))
    assert kinds(told([str(root / "t.csv")], capsys)) == {}
    for row, cell in ((3, ""), (4, "nan"), (5, "n/a"), (6, "inf"), (7, "4e6")):
        lines[row] = f"{row - 1}.png,{cell}"
    (root / "t.csv").write_text("\n".join(lines))
    answer = told([str(root / "t.csv"), "--task", "regress"], capsys, 3)
    assert kinds(answer) == {
        "cannot_be_trained_on": [],
        "missing_numbers": ["2.png"],
        "infinite_numbers": ["5.png"],
        "outlying_numbers": ["6.png"],
    }
    missing = next(f for f in answer["check"]["findings"] if f["kind"] == "missing_numbers")
    assert [case["files"] for case in missing["cases"]] == [["2.png"], ["3.png"], ["4.png"]]
    assert "row 4" in answer["check"]["problems"][0]


def test_groups_of_a_table_that_leak_are_found(tmp_path: Path, capsys: Output) -> None:
    root = tmp_path / "g"
    root.mkdir()
    lines = ["image,label,group,split"]
    for i in range(48):
        draw(i).save(root / f"{i}.png")
        lines.append(f"{i}.png,{'cat' if i % 2 else 'dog'},patient {i // 4},{'train' if i // 4 % 2 else 'val'}")
    (root / "t.csv").write_text("\n".join(lines))
    assert kinds(told([str(root / "t.csv")], capsys)) == {}
    lines[1] = lines[1].replace("val", "train")
    (root / "t.csv").write_text("\n".join(lines))
    answer = told([str(root / "t.csv")], capsys)
    assert list(kinds(answer)) == ["groups_across_splits"]
    assert "group 'patient 0': 1 in train, 3 in val" in json.dumps(answer)


def test_check_says_what_is_there_and_that_it_can_be_used(photos: Path, capsys: Output) -> None:
    assert main(["check", str(photos)]) == 0
    out = capsys.readouterr().out
    assert "28 images in 2 classes: 28 usable, 0 not." in out
    assert "Can be trained on." in out
    assert out.splitlines()[-1] == f"Next    vitrail train {photos}"
    red = next(line.split() for line in out.splitlines() if line.startswith("red"))
    assert int(red[1]) == sum(map(int, red[3:6])) == 14


def test_check_names_every_bad_file_odd_file_duplicate_and_leak(tmp_path: Path, capsys: Output) -> None:
    root = tmp_path / "p"
    for split, images in (("train", 12), ("val", 4)):
        draw_photos(root / split, {"a": images, "b": images})
    (root / "train" / "a" / "empty.jpg").write_bytes(b"")
    (root / "train" / "a" / "notes.txt").write_text("x")
    shutil.copy(root / "train" / "b" / "0.png", root / "train" / "b" / "really.jpg")
    shutil.copy(root / "train" / "a" / "1.png", root / "train" / "b" / "copy.png")
    shutil.copy(root / "train" / "a" / "2.png", root / "val" / "a" / "copy.png")
    assert main(["check", str(root), "--out", str(tmp_path / "found")]) == 3
    out = capsys.readouterr().out
    assert "train/a/empty.jpg: " in out
    assert "train/b/really.jpg: named .jpg but its content is PNG" in out
    assert "train/a/notes.txt: not an image file (.txt)" in out
    assert "train/b/0.png = train/b/really.jpg" in out
    assert "error: 1 set of identical files with different labels" in out
    assert "       train/a/1.png = train/b/copy.png = val/a/1.png (a / b)" in out
    assert "sets of identical files in more than one split" in out
    assert "       train/a/0.png = val/a/0.png (train / val)" in out
    assert "Cannot be trained on: 1 of 36 images (2.8%) cannot be used, more than the 1.0% allowed" in out
    with (tmp_path / "found" / "bad_files.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["train/a/empty.jpg"]


def test_check_for_scripts_has_counts_that_add_up(tmp_path: Path, capsys: Output) -> None:
    root = draw_photos(tmp_path / "p", {"a": 5, "b": 200})
    (root / "a" / "x.png").write_bytes(b"\x89PNG")
    assert main(["check", str(root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = told["check"]
    assert found["trainable"] is True
    assert found["found"] == found["usable"] + found["bad"] == 206
    assert sum(c["usable"] + c["bad"] for c in found["classes"].values()) == 206
    assert told["warnings"] == [
        "1 class has fewer than 10 usable images: 'a' has 5: a/0.png, a/1.png, a/2.png, a/3.png and 1 more ('a': 5)",
        "1 image cannot be used (0.5% of all): a/x.png (damaged: it begins almost like a PNG, but not quite "
        "(a transfer in text mode does this))",
    ]


def test_check_looks_at_a_folder_that_has_no_classes(tmp_path: Path, capsys: Output) -> None:
    draw_photos(tmp_path, {"p": 3})
    (tmp_path / "p" / "bad.png").write_bytes(b"x")
    assert main(["check", str(tmp_path / "p")]) == 3
    out = capsys.readouterr().out
    assert "bad.png: " in out
    assert "4 images: 3 usable, 1 not." in out
    assert "no class folders" in out


def test_check_lists_all_bad_files_before_it_says_no(tmp_path: Path, capsys: Output) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(50):
            (tmp_path / "p" / name / f"{i}.jpg").write_bytes(b"")
    assert main(["check", str(tmp_path / "p")]) == 3
    out = capsys.readouterr().out
    assert len(re.findall(r"^  [abc]/\d+\.jpg: empty file$", out, re.MULTILINE)) == 150
    assert "Cannot be trained on: none of the 150 images can be used" in out


@pytest.mark.data
def test_check_of_the_malformed_files_names_each(shared_data: Path, capsys: Output) -> None:
    folder = shared_data / "malformed_mini"
    assert main(["check", str(folder)]) == 3
    shown = capsys.readouterr().out
    assert main(["check", str(folder), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)["check"]
    refused = found["bad_files"] + found["ignored_files"]
    assert len(refused) >= 60
    for entry in refused:
        assert f"  {entry['path']}: {entry['reason']}\n" in shown


# ---------------------------------------------------------------------------------------------------- before training


def test_what_is_found_before_training_stands_in_the_report(tmp_path: Path, capsys: Output) -> None:
    root = clean(tmp_path / "p")
    draw(0).point(lambda v: v * 9 // 10).save(root / "val" / "dog" / "near.png")
    assert main(["train", str(root), "--out", str(tmp_path / "run"), *TINY]) == 0
    report = (tmp_path / "run" / "report.html").read_text()
    assert "1 set of near duplicates in more than one split" in report
    assert "1 set of near duplicates with different labels" in report
    assert "train/cat/0.png = val/dog/near.png" in report
