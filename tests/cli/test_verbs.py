"""The verbs at work on a small run: what they print, write and return."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from small_run import TINY, draw_photos

from vitrail.cli.main import main
from vitrail.settings import build, load

Output = pytest.CaptureFixture[str]


def rows(text: str) -> list[dict[str, str]]:
    """CSV as a list of records."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


# ------------------------------------------------------------------------------------------------------------ train


def test_train_says_last_where_the_report_is_and_what_to_do_next(tmp_path: Path, photos: Path, capsys: Output) -> None:
    assert main(["train", str(photos), "--out", str(tmp_path / "r"), *TINY]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-3] == f"Output  {tmp_path / 'r' / 'report.html'}"
    assert out.splitlines()[-2] == f"Next    vitrail predict {tmp_path / 'r'} IMAGE"


def test_train_for_scripts_is_one_object(tmp_path: Path, photos: Path, capsys: Output) -> None:
    assert main(["train", str(photos), "--out", str(tmp_path / "r"), "--json", *TINY]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert set(told) <= {"run", "metrics", "outputs", "warnings"}
    assert told["run"] == str(tmp_path / "r")
    assert set(told["metrics"]) == {"val", "test"}
    assert {"loss", "accuracy", "f1_macro", "auroc", "ece"} <= set(told["metrics"]["test"])
    assert all(Path(path).exists() for path in told["outputs"])
    assert "epoch 1/1" in err


def test_what_is_stated_is_what_args_yaml_says(finished_run: Path) -> None:
    config = build(load(finished_run / "args.yaml"))
    assert (config.model.name, config.model.image_size, config.train.epochs) == ("vit_tiny", 16, 1)
    assert config.model.options == {"depth": 1, "width": 16, "heads": 2, "hidden": 16}
    assert json.loads((finished_run / "run.json").read_text())["command"][:2] == ["vitrail", "train"]


def test_a_runs_config_repeats_it(finished_run: Path, tmp_path: Path) -> None:
    assert main(["train", "--config", str(finished_run / "args.yaml"), "--out", str(tmp_path / "again")]) == 0
    for name in ("args.yaml", "predictions.csv", "per_class.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (finished_run / name).read_bytes()


# ------------------------------------------------------------------------------------------- evaluate and predict


def test_evaluate_is_predict(finished_run: Path, photos: Path, capsys: Output) -> None:
    """The same images through both: the same labels, the same confidence."""
    assert main(["evaluate", str(finished_run), "--split", "val", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (table,) = told["outputs"]
    scored = rows(Path(table).read_text())
    assert set(told["metrics"]) == {"val"}
    assert len(scored) >= 4
    assert main(["predict", str(finished_run), *(str(photos / row["path"]) for row in scored)]) == 0
    said = rows(capsys.readouterr().out)
    assert [row["label"] for row in said] == [row["label"] for row in scored]
    for a, b in zip(said, scored, strict=True):
        assert float(a["confidence"]) == pytest.approx(float(b["confidence"]), abs=1e-4)
    right = sum(row["label"] == row["target"] for row in scored) / len(scored)
    assert told["metrics"]["val"]["accuracy"] == pytest.approx(right)


def test_predict_writes_a_row_per_input_and_the_rest_aside(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "bad, very.jpg").write_bytes(b"")
    inputs = [str(photos / "red" / "0.png"), str(tmp_path / "bad, very.jpg"), str(photos / "green")]
    assert main(["predict", str(finished_run), *inputs]) == 0
    out, err = capsys.readouterr()
    said = rows(out)
    assert list(said[0]) == ["path", "status", "reason", "label", "confidence"]
    assert [row["path"] for row in said[:2]] == inputs[:2]
    assert len(said) == 2 + 14
    assert (said[1]["status"], said[1]["label"]) == ("failed", "")
    assert said[1]["reason"]
    assert said[0]["label"] in ("red", "green")
    assert "16 images, 1 failed" in err
    assert "Next    vitrail explain" in err


@pytest.mark.parametrize("out", ["p.csv", "p.jsonl", "new"])
def test_predict_writes_where_it_is_told(
    finished_run: Path, photos: Path, tmp_path: Path, out: str, capsys: Output
) -> None:
    assert main(["predict", str(finished_run), str(photos), "--out", str(tmp_path / out), "--batch-size", "5"]) == 0
    path = tmp_path / (out if "." in out else "new/predictions.csv")
    text = path.read_text()
    made = [json.loads(line) for line in text.splitlines()] if out.endswith("jsonl") else rows(text)
    assert len(made) == 28
    assert f"Output  {path}" in capsys.readouterr().out


def test_predict_for_scripts_has_rows_or_the_file_they_are_in(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    words = ["predict", str(finished_run), str(photos / "red"), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)["predict"]
    assert (told["images"], told["failed"], len(told["predictions"])) == (14, 0, 14)
    assert main([*words, "--out", str(tmp_path / "p.csv")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outputs"] == [str(tmp_path / "p.csv")]
    assert "predictions" not in told["predict"]


def test_predict_of_nothing_usable_ends_with_3(finished_run: Path, capsys: Output) -> None:
    assert main(["predict", str(finished_run), "absent.jpg", "none*.png"]) == 3
    assert [row["reason"] for row in rows(capsys.readouterr().out)] == ["no such file", "no file matches"]


# ---------------------------------------------------------------------------------------------------------- explain


def test_explain_draws_a_picture_per_image_and_method_and_one_page(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    inputs = [str(photos / "red" / "0.png"), str(photos / "green" / "0.png"), str(tmp_path / "bad.png")]
    assert main(["explain", str(finished_run), *inputs, "--method", "all", "--out", str(tmp_path / "e"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        "0-raw_attention-2.png", "0-raw_attention.png", "0-rollout-2.png", "0-rollout.png", "explain.html",
    ]  # fmt: skip
    assert sorted(map(Path, told["outputs"])) == sorted((tmp_path / "e").iterdir())
    assert [row["status"] for row in told["explain"]["rows"]] == ["ok"] * 4 + ["failed"]
    assert (tmp_path / "e" / "explain.html").read_text().count("<img") >= 4


def test_explain_of_all_leaves_out_what_cannot_be_asked_so(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    words = [str(finished_run), str(photos / "red" / "0.png"), "--method", "all", "--head", "1"]
    assert main(["explain", *words, "--out", str(tmp_path / "e")]) == 0
    assert (tmp_path / "e" / "0-raw_attention.png").exists()
    assert not (tmp_path / "e" / "0-rollout.png").exists()


def test_explain_stands_in_the_run_by_default(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "r")
    assert main(["explain", str(tmp_path / "r"), str(photos / "red" / "0.png")]) == 0
    assert (tmp_path / "r" / "explained" / "explain.html").is_file()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--method", "rolout"], 2, "unknown method 'rolout': did you mean 'rollout'?"),
        (["--layer", "7"], 2, "no layer 7: this model has 1"),
        (["--method", "raw_attention", "--head", "2"], 2, "no head 2: this model has 2"),
        (["--head", "0"], 2, "rollout does not look at single heads"),
    ],
)
def test_what_explain_cannot_do_is_said(
    finished_run: Path, photos: Path, tmp_path: Path, words: list[str], code: int, message: str, capsys: Output
) -> None:
    picture = str(photos / "red" / "0.png")
    assert main(["explain", str(finished_run), picture, "--out", str(tmp_path / "e"), *words]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_explain_of_nothing_usable_ends_with_3(finished_run: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["explain", str(finished_run), "absent.png", "--out", str(tmp_path / "e")]) == 3
    assert "absent.png: no such file" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


# ------------------------------------------------------------------------------------------------------------ check


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
    out, err = capsys.readouterr()
    assert "train/a/empty.jpg: " in out
    assert "train/b/really.jpg: named .jpg but its content is PNG" in out
    assert "train/a/notes.txt: not an image file (.txt)" in out
    assert "train/b/0.png = train/b/really.jpg" in out
    assert "under more than one label: train/a/1.png = train/b/copy.png" in err
    assert "in more than one split, which flatters the scores: train/a/" in err
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
    assert told["warnings"] == ["1 class has fewer than 10 usable images: 'a' has 5"]


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
    assert sum(".jpg: " in line for line in out.splitlines() if line.startswith("  ")) == 150
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
