"""`vitrail explain` at work on small runs: the files it writes, what it refuses, and what its page carries."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.assemble import create_model
from vitrail.cli.explained import choose, sheet_words
from vitrail.cli.main import main
from vitrail.explain import explainer, layer_grid
from vitrail.explain.question import NotHere, Question

Output = pytest.CaptureFixture[str]


def carried(page: Path) -> dict[str, Any]:
    """What the page carries, without its attention."""
    told: dict[str, Any] = json.loads(page.read_text().partition('id="data">')[2].partition("</script>")[0])
    return told


@pytest.fixture
def picture(photos: Path) -> str:
    return str(photos / "red" / "0.png")


def test_a_picture_per_image_and_method_one_of_all_methods_and_one_page(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    inputs = [str(photos / "red" / "0.png"), str(photos / "green" / "0.png"), str(tmp_path / "bad.png")]
    assert main(["explain", str(finished_run), *inputs, "--method", "all", "--out", str(tmp_path / "e"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = sorted(path.name for path in (tmp_path / "e").iterdir())
    assert {"0-rollout.png", "0-rollout-2.png", "0-relevance.png", "0-grad_cam.png", "0-occlusion.png"} <= set(names)
    assert {"0-side-by-side.png", "0-side-by-side-2.png", "explain.html"} <= set(names)
    assert sorted(map(Path, told["outputs"])) == sorted((tmp_path / "e").iterdir())
    rows = told["explain"]["rows"]
    assert [row["status"] for row in rows] == ["ok"] * (len(names) - 3) + ["failed"]
    assert all(Path(row["picture"]).exists() for row in rows[:-1])
    assert sum("side_by_side" in row for row in rows) == 2
    page = carried(tmp_path / "e" / "explain.html")
    assert [image["source"] for image in page["images"]] == inputs[:2]
    methods = page["images"][0]["methods"]
    assert {method["name"] for method in methods} == {row["method"] for row in rows[:-1]}
    assert [method["name"] for method in methods if method["layers"]] == ["attention_gradient"]


def test_of_all_methods_those_are_left_out_that_cannot_be_asked_so(
    finished_run: Path, picture: str, tmp_path: Path
) -> None:
    def made(*words: str) -> set[str]:
        folder = tmp_path / "-".join(words)
        assert main(["explain", str(finished_run), picture, "--method", "all", *words, "--out", str(folder)]) == 0
        return {path.name.removeprefix("0-").removesuffix(".png") for path in folder.glob("*.png")} - {"side-by-side"}

    assert made("--head", "1") == {"raw_attention", "attention_gradient"}
    assert made("--cell", "0,1") == {"raw_attention", "rollout"}
    of_class = made("--target-class", "green")
    assert {"relevance", "grad_cam", "integrated_gradients"} <= of_class
    assert not {"raw_attention", "rollout"} & of_class


def test_a_class_is_asked_of_a_method_that_tells_classes_apart(
    finished_run: Path, picture: str, tmp_path: Path, capsys: Output
) -> None:
    words = ["explain", str(finished_run), picture, "--out", str(tmp_path / "e"), "--json"]
    assert main([*words, "--target-class", "green", "--against", "red"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["explain"]["rows"]
    assert row["method"] == "relevance"
    (image,) = carried(tmp_path / "e" / "explain.html")["images"]
    assert image["methods"][0]["caption"].endswith("for class green and not red")
    assert main([*words, "--target-class", "1"]) == 0
    (image,) = carried(tmp_path / "e" / "explain.html")["images"]
    assert image["methods"][0]["caption"].endswith("for class red"), "the place of a class will do"


def test_every_layer_and_head_on_one_picture(finished_run: Path, picture: str, tmp_path: Path) -> None:
    words = ["explain", str(finished_run), picture, "--grid", "--out"]
    assert main([*words, str(tmp_path / "e")]) == 0
    assert (tmp_path / "e" / "0-raw_attention-heads.png").exists()
    assert main([*words, str(tmp_path / "f"), "--method", "attention_gradient", "--target-class", "red"]) == 0
    assert (tmp_path / "f" / "0-attention_gradient-heads.png").exists()
    assert main([*words, str(tmp_path / "g"), "--target-class", "red"]) == 0
    assert (tmp_path / "g" / "0-raw_attention-heads.png").exists()


def test_a_sheet_says_of_what_it_is() -> None:
    beginning = "attention gradient: a row a layer, a column a head"
    assert sheet_words("attention_gradient", Question(target="cat"), "cat") == f"{beginning}, for class cat"
    asked = Question(reader="dist", against="dog")
    assert sheet_words("attention_gradient", asked, "cat and not dog") == (
        f"{beginning}, read from dist, for class cat and not dog"
    )
    raw = "raw attention: a row a layer, a column a head"
    assert sheet_words("raw_attention", Question(cell=(3, 4)), "") == f"{raw}, gaze of patch 3,4"
    assert sheet_words("raw_attention", Question(target="sky", region="answer"), "") == (
        f"{raw}, read where the answer is sky"
    )


def test_a_sheet_is_told_the_class_that_it_explains(
    finished_run: Path, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(layer_grid, "layer_grid", lambda *a: told.append(a[3][0]) or Image.new("RGB", (4, 4)))
    words = ["--method", "attention_gradient", "--target-class", "green", "--grid", "--out", str(tmp_path / "e")]
    assert main(["explain", str(finished_run), picture, *words]) == 0
    assert told == ["attention gradient: a row a layer, a column a head, for class green"]


def test_models_are_set_beside_one_another(finished_run: Path, picture: str, tmp_path: Path, capsys: Output) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    words = ["explain", str(finished_run), picture, "--beside", str(other), "--out", str(tmp_path / "e"), "--json"]
    assert main(words) == 0
    rows = json.loads(capsys.readouterr().out)["explain"]["rows"]
    labels = [f"vit_tiny of {finished_run.name}", "vit_tiny of other"]
    assert [row["model"] for row in rows] == labels
    assert len({row["picture"] for row in rows}) == 2
    page = carried(tmp_path / "e" / "explain.html")
    assert [model["name"] for model in page["models"]] == labels
    assert [image["model"] for image in page["images"]] == [0, 1]
    with Image.open(tmp_path / "e" / "0-side-by-side.png") as sheet:
        assert sheet.width > 400


def test_the_sliders_begin_where_the_explanation_was_asked_for(
    finished_run: Path, picture: str, tmp_path: Path
) -> None:
    words = ["--method", "raw_attention", "--layer", "-1", "--head", "-1", "--out", str(tmp_path / "e")]
    assert main(["explain", str(finished_run), picture, *words]) == 0
    (image,) = carried(tmp_path / "e" / "explain.html")["images"]
    assert (image["layer"], image["head"]) == (0, 1)


def test_the_page_stays_below_what_it_may_weigh_and_says_what_it_leaves_out(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    words = ["explain", str(finished_run), str(photos / "red"), "--out", str(tmp_path / "e"), "--viewer-mb"]
    assert main([*words, "0.06"]) == 0
    err = capsys.readouterr().err
    page = tmp_path / "e" / "explain.html"
    assert page.stat().st_size <= 60_000
    assert "explain.html is kept below 0.06 MB: " in err
    assert "This page is kept below 0.06 MB: " in page.read_text()
    assert main([*words, "0"]) == 2
    assert "--viewer-mb takes a number of megabytes above 0, not 0" in capsys.readouterr().err


def test_what_the_model_is_like_on_the_whole_is_drawn_and_said(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output
) -> None:
    words = ["explain", str(finished_run), str(photos / "red"), "--statistics", "--out", str(tmp_path / "e")]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (found,) = told["explain"]["statistics"]
    assert found["images"] == 14
    assert np.shape([layer["distance"] for layer in found["layers"]]) == (1, 2)
    for name, text in found["words"].items():
        path = tmp_path / "e" / f"{name}.png"
        assert str(path) in told["outputs"]
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 1
        assert text
    assert set(found["words"]) == {
        "attention_distance", "attention_entropy", "position_similarity", "patch_filters",
    }  # fmt: skip
    assert main(words) == 0
    assert "attention_distance.png: How far each head looks on the mean over 14 images" in capsys.readouterr().out


def test_an_image_without_such_an_answer_fails_alone(
    finished_run: Path, photos: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lacking = explainer.explain, str(photos / "green" / "1.png")

    def explain(artifact: Any, pixels: Any, source: str, **asked: Any) -> Any:
        if source == lacking:
            raise NotHere("the answer is 'cat' nowhere on this image")
        return real(artifact, pixels, source, **asked)

    monkeypatch.setattr(explainer, "explain", explain)
    inputs = [str(photos / "red" / "1.png"), lacking, str(photos / "red" / "2.png")]
    words = ["explain", str(finished_run), *inputs, "--out", str(tmp_path / "e")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert f"{lacking}: the answer is 'cat' nowhere on this image" in said.err
    assert "2 pictures in " in said.out
    assert "; 1 of 3 images failed, for the reasons above" in said.out
    assert main(["explain", str(finished_run), lacking, *words[2:]]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Next    vitrail predict '{finished_run}' {inputs[0]}"
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["explain"]["rows"]
    assert [(row["path"], row["status"]) for row in rows] == list(zip(inputs, ["ok", "failed", "ok"], strict=True))
    assert rows[1]["reason"] == "the answer is 'cat' nowhere on this image"
    assert main(["explain", str(finished_run), lacking, "--out", str(tmp_path / "f")]) == 3
    assert "nothing could be explained: the reasons stand above" in capsys.readouterr().err


def test_an_answer_cannot_be_set_against_itself_whatever_the_image(
    finished_run: Path, picture: str, tmp_path: Path, capsys: Output
) -> None:
    assert main(["predict", str(finished_run), picture, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["predict"]["predictions"][0]["label"]
    words = ["explain", str(finished_run), picture, "--out", str(tmp_path / "e")]
    assert main([*words, "--against", answer]) == 3
    assert f"{picture}: the answer is '{answer}' itself" in capsys.readouterr().err
    other = {"red": "green", "green": "red"}[answer]
    assert main([*words, "--against", other]) == 0


def test_from_a_token_that_the_head_does_not_read_only_attention_is_followed() -> None:
    model = create_model("vit_tiny", "classify", 2, image_size=16, patch_size=8, depth=1, pooling="mean", cls=True)
    asked = Question(reader="cls")
    assert choose(model, "all", asked, None, None) == ["raw_attention", "rollout"]
    assert choose(model, None, replace(asked, target=1), None, None) == ["rollout"]  # which says why it cannot
    read = create_model("vit_tiny", "classify", 2, image_size=16, patch_size=8, depth=1)
    assert {"occlusion", "relevance"} < {*choose(read, "all", asked, None, None)}


def test_what_the_default_method_cannot_be_asked_is_asked_of_one_that_can(
    finished_run: Path, picture: str, tmp_path: Path, capsys: Output
) -> None:
    words = ["explain", str(finished_run), picture, "--out", str(tmp_path / "e"), "--json"]
    assert main([*words, "--head", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["explain"]["rows"][0]["method"] == "raw_attention"
    assert main([*words, "--head", "1", "--method", "rollout"]) == 2
    assert "leave the head out, or use attention_gradient or raw_attention" in capsys.readouterr().err


def test_a_region_is_read_from_a_mask_and_an_image_of_another_size_fails_alone(tmp_path: Path, capsys: Output) -> None:
    small = ["model.options.depth=1", "model.options.width=16", "model.options.heads=2", "model.options.hidden=16"]
    drawn = ["data.shapes.length=40", "data.shapes.size=32", "--image-size", "32", "task.decoder=linear", "threads=1"]
    run = str(tmp_path / "run")
    assert main(["train", "shapes", "--target", "mask", *small, *drawn, "--epochs", "1", "--out", run]) == 0
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise[:, :20]).save(tmp_path / "b.png")
    left, right = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    left[:, :8], right[:, 24:] = 7, 255
    maps = []
    for name, mask in (("left", left), ("right", right)):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
        sources = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
        asked = ["--target-class", "ring", "--region", str(tmp_path / f"{name}.png"), "--out", str(tmp_path / name)]
        capsys.readouterr()
        assert main(["explain", run, *sources, "--method", "input_gradient", *asked, "--json"]) == 0
        told = capsys.readouterr()
        assert [row["status"] for row in json.loads(told.out)["explain"]["rows"]] == ["ok", "failed"]
        assert "b.png: a region says of each pixel of the image whether it is in it" in told.err
        maps.append(np.asarray(Image.open(tmp_path / name / "a-input_gradient.png")).astype(int))
    assert np.abs(maps[0] - maps[1]).max() > 50
    assert sheet_words("raw_attention", Question(region=left > 0), "").endswith(", read in a region")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cell", "3"], "--cell takes a row and a column of patches, such as 3,4, not '3'"),
        (["--cell", "9,0"], "no patch 9,0"),
        (["--target-class", "gren"], "unknown class 'gren': did you mean 'green'?"),
        (["--against", "green", "--target-class", "green"], "cannot be set against itself"),
        (["--method", "all", "--head", "0", "--cell", "0,0", "--target-class", "red"], "leave some of it out"),
        (["--reader", "dist"], "no token 'dist'"),
        (["--region", "answer"], "this model answers once for the whole image"),
        (["--region", "absent.png"], "--region takes 'answer' or a mask file, and there is no file 'absent.png'"),
        (["--region", __file__], "test_explain_verb.py' is no mask: "),
        (["--beside", "absent"], "absent"),
    ],
)
def test_what_cannot_be_asked_is_said(
    words: list[str], message: str, finished_run: Path, picture: str, tmp_path: Path, capsys: Output
) -> None:
    assert main(["explain", str(finished_run), picture, "--out", str(tmp_path / "e"), *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words", [["--grid"], ["--cell", "0,0"], ["--beside", "x"], ["--viewer-mb", "3"], ["--statistics"]]
)
def test_what_goes_with_pictures_does_not_go_with_a_score(
    words: list[str], finished_run: Path, photos: Path, capsys: Output
) -> None:
    assert main(["explain", str(finished_run), "--score", str(photos), *words]) == 2
    assert f"leave {words[0]} out" in capsys.readouterr().err
