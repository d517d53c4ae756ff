"""`explain --score`: the table in a file, on the screen and for scripts, and what cannot be asked for."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from vitrail import artifact
from vitrail.assemble import build_model
from vitrail.cli.layout import wrapped
from vitrail.cli.main import main
from vitrail.data.preprocess import Preprocessor
from vitrail.settings import build
from vitrail.tasks import create_task

Output = pytest.CaptureFixture[str]


def test_the_runs_own_data_are_scored_on_what_was_held_out(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    words = [str(finished_run), "--score", str(photos), "--method", "raw_attention", "--out", str(tmp_path / "e")]
    assert main(["explain", *words, "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    path = tmp_path / "e" / "faithfulness.csv"
    assert told["outputs"] == [str(path)]
    found = told["explain"]["faithfulness"]
    assert (found["images"], found["split"]) == (4, "test")
    assert found["answer"] == "the probability of the class that is said"
    assert found["verdict"] == ["4 test images are too few to say which method to believe on this model."]
    assert [row["name"] for row in found["methods"] if not row["control"]] == ["raw_attention"]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows[0]["method"] == "raw_attention"
    assert {row["method"] for row in rows[1:]} == {"centre prior", "random map"}
    raw = next(row for row in found["methods"] if row["name"] == "raw_attention")
    assert float(rows[0]["deletion"]) == pytest.approx(raw["deletion"]["value"], abs=1e-5)
    assert "low" not in raw["deletion"]  # of four images there is no interval
    assert rows[0]["sanity/all"]
    assert rows[0]["sanity/stem alone"]
    assert raw["sanity/head"]["value"] == pytest.approx(1)  # attention does not depend on the head
    assert "scoring raw_attention on 4 test images: up to" in said.err


def test_other_data_are_scored_whole_on_as_many_as_asked_for(
    finished_run: Path, tmp_path: Path, capsys: Output
) -> None:
    words = [str(finished_run), "--score", "shapes", "--images", "9", "--method", "rollout"]
    assert main(["explain", *words, "--out", str(tmp_path / "e")]) == 0
    out = capsys.readouterr().out
    assert "rollout" in out
    assert "centre prior" in out
    assert "On 9 images," in out
    assert "one part" in out
    assert "One part: the same with the weights of one part alone shuffled (stem, first block," in out
    assert "Pointing: the highest point lies on the object" in out  # shapes know where theirs stands
    assert out.splitlines()[-2] == f"Output  {tmp_path / 'e' / 'faithfulness.csv'}"
    again = (tmp_path / "e" / "faithfulness.csv").read_bytes()
    assert main(["explain", *words, "--out", str(tmp_path / "f")]) == 0
    assert (tmp_path / "f" / "faithfulness.csv").read_bytes() == again


def test_a_folder_that_is_no_data_of_the_task_is_taken_as_its_images(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    words = [str(finished_run), "--score", str(photos / "red"), "--method", "rollout", "--out", str(tmp_path / "e")]
    assert main(["explain", *words]) == 0
    out = capsys.readouterr().out
    assert "On 14 images," in out
    assert "Pointing" not in out


def test_images_that_cannot_be_read_are_named_and_not_counted(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    shutil.copytree(photos / "red", tmp_path / "mixed")
    (tmp_path / "mixed" / "empty.png").touch()
    words = [str(finished_run), "--score", str(tmp_path / "mixed"), "--method", "rollout", "--json"]
    assert main(["explain", *words, "--out", str(tmp_path / "e")]) == 0
    said = capsys.readouterr()
    assert "empty.png: empty file" in said.err
    found = json.loads(said.out)["explain"]["faithfulness"]
    assert found["unread"] == [{"path": "empty.png", "reason": "empty file"}]
    assert found["images"] == 14


def test_the_verdict_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "On 20 test images, " + "a word and another, " * 10
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert wrapped(text) == text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    lines = wrapped(text).splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
    assert " ".join(lines) == text.strip()


def test_a_method_that_does_not_fit_is_answered_with_those_that_do(tmp_path: Path, capsys: Output) -> None:
    stated = {"width": 8, "depths": [1, 1, 1, 1]}
    config = build({
        "data.source": "shapes", "model.name": "resnet18", "model.image_size": 32, "model.patch_size": 2,
        "model.pooling": "mean",
        **{f"model.options.{name}": value for name, value in stated.items()},
    })  # fmt: skip
    task = create_task("classify", ["circle", "square"])
    artifact.save(tmp_path / "m", build_model(config, task).eval(), config, task, Preprocessor.from_config(config), {})
    assert main(["explain", str(tmp_path / "m"), "--score", "shapes", "--images", "8", "--method", "rollout"]) == 2
    err = capsys.readouterr().err
    assert "rollout: ResNet has no attention" in err
    assert "methods that do: grad_cam, input_gradient" in err


def test_where_the_table_cannot_be_written_is_said_in_words(finished_run: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "taken").touch()
    words = ["explain", str(finished_run), "--score", "shapes", "--images", "2", "--method", "raw_attention"]
    assert main([*words, "--out", str(tmp_path / "taken")]) == 2
    assert "is a file: name a folder" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "taken" / "below")]) == 4
    err = capsys.readouterr().err
    assert "cannot write" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "SOURCE is missing: expected RUN SOURCE..."),
        (["a.png", "--score", "shapes"], "unexpected 'a.png': with --score the images are those of its DATA"),
        (["--score", "shapes", "--layer", "0"], "leave --layer out"),
        (["--score", "shapes", "--images", "0"], "--images must be at least 1, not 0"),
        (["--score", "shapes", "--method", "rolout"], "did you mean 'rollout'?"),
        (["--score", "nowhere"], "no such folder, table or built-in set: 'nowhere'"),
        (["a.png", "--images", "3"], "--images goes with --score DATA"),
    ],
)
def test_what_cannot_be_scored_is_said(
    words: list[str], message: str, finished_run: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["explain", str(finished_run), *words, "--out", str(tmp_path / "e")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "e").exists()
