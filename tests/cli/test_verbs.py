"""The verbs at work on a small run: what they print, write and return."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from small_run import TINY

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
    assert main(["predict", str(finished_run), *inputs[1:]]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"Next    vitrail explain '{finished_run}' {inputs[2]}"


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
        (["--method", "rollout", "--head", "0"], 2, "rollout does not look at single heads"),
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
