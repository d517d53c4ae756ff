"""What people get wrong: each ends in one or two plain lines, the right exit code, and no traceback.

(A loss that is not finite and a full disk are tested with the run.)
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from small_run import TINY, draw_photos

from vitrail.cli.main import main

Output = pytest.CaptureFixture[str]


def refused(words: list[str], code: int, capsys: Output) -> str:
    """Run the command, hold what every refusal promises, and return its message."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = err[err.index(f"vitrail {words[0]}: ") :].splitlines()
    assert 1 <= len(lines) <= 2
    return " ".join(lines)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def own_run(finished_run: Path, here: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished_run, here / "run"))


def flip_a_bit(path: Path) -> None:
    """The smallest damage there is."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


# ------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("verb", ["train", "check"])
def test_no_such_folder(verb: str, here: Path, capsys: Output) -> None:
    draw_photos(here / "photos", {"a": 1})
    assert refused([verb, "photo"], 2, capsys) == (
        f"vitrail {verb}: no such folder, table or built-in set: 'photo': did you mean 'photos'?"
    )


@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_folder_without_images(verb: str, here: Path, capsys: Output) -> None:
    (here / "photos" / "a").mkdir(parents=True)
    (here / "photos" / "a" / "readme.txt").write_text("soon")
    assert "holds no images" in refused([verb, "photos"], 3, capsys)


@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_file_instead_of_a_folder(verb: str, here: Path, capsys: Output) -> None:
    draw_photos(here / "photos", {"a": 1})
    message = refused([verb, "photos/a/0.png"], 2, capsys)
    assert "photos/a/0.png is a file: give the folder of images around it, a table (" in message


def test_one_class(here: Path, capsys: Output) -> None:
    draw_photos(here / "photos", {"cats": 12})
    message = refused(["train", "photos", *TINY], 3, capsys)
    assert "has one class, 'cats': a classifier needs two or more" in message
    assert main(["check", "photos"]) == 3
    assert "has one class, 'cats'" in capsys.readouterr().out


def test_a_class_with_one_image(here: Path, capsys: Output) -> None:
    draw_photos(here / "photos", {"cats": 12, "dogs": 1})
    message = refused(["train", "photos", *TINY], 3, capsys)
    assert "class 'dogs' has one usable image" in message


def test_too_many_bad_files(here: Path, capsys: Output) -> None:
    root = draw_photos(here / "photos", {"cats": 12, "dogs": 12})
    (root / "cats" / "x.jpg").write_bytes(b"")
    message = refused(["train", "photos", *TINY], 3, capsys)
    assert "cats/x.jpg" in message
    assert "data.max_bad_fraction=" in message
    assert message.endswith("Every one is named in runs/train/photos/bad_files.csv.")


def test_images_in_no_class_folder(here: Path, capsys: Output) -> None:
    draw_photos(here, {"photos": 3})
    assert "holds 3 images but no class folders" in refused(["train", "photos"], 3, capsys)


# ---------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("verb", ["train", "models"])
def test_an_unknown_model(verb: str, photos: Path, capsys: Output) -> None:
    words = ["train", str(photos), "--model", "vit_tinny"] if verb == "train" else ["models", "vit_tinny"]
    assert refused(words, 2, capsys) == f"vitrail {verb}: unknown model 'vit_tinny': did you mean 'vit_tiny'?"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "unknown option 'epoch': did you mean 'epochs'?"),
        (["--learning-rate", "1"], "unknown option 'learning-rate'"),
        (["train.wieght_decay=1"], "unknown option 'train.wieght_decay': did you mean 'train.weight_decay'?"),
        (["model.options.dpeth=1"], "did you mean 'depth'?"),
        (["--epochs", "0"], "train.epochs: input should be greater than 0 (got 0.0)"),
        (["--lr", "nan"], "train.lr: "),
        (["--batch-size", "two"], "--batch-size takes a whole number, not 'two'"),
        (["--task", "cluster"], "--task takes one of classify, multilabel, regress, segment, depth, not 'cluster'"),
        (["--recipe", "atuo"], "unknown recipe 'atuo': did you mean 'auto'?"),
        (["--config", "absent.yaml"], "cannot read config absent.yaml: no such file or directory"),
        (["--epochs", "2", "train.epochs=3"], "--epochs and train.epochs are the same field: state one"),
        (["--name", "a", "--out", "b"], "--name and --out both say where the run goes: leave one out"),
        (["--split-file", "absent.csv"], "absent.csv"),
        (["second"], "unexpected 'second': expected DATA only"),
    ],
)
def test_options_that_cannot_be_obeyed(
    words: list[str], message: str, photos: Path, here: Path, capsys: Output
) -> None:
    assert message in refused(["train", str(photos), *words], 2, capsys)
    assert not (here / "runs").exists()  # nothing was begun


def test_no_data_at_all(capsys: Output) -> None:
    assert "DATA is missing" in refused(["train"], 2, capsys)


def test_a_device_that_is_not_there(photos: Path, capsys: Output) -> None:
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("this machine has an Apple GPU")
    assert "device 'mps' is not available here" in refused(["train", str(photos), "--device", "mps"], 2, capsys)


def test_an_image_size_that_the_patch_does_not_divide(photos: Path, here: Path, capsys: Output) -> None:
    message = refused(["train", str(photos), "--image-size", "30", "--patch-size", "4"], 2, capsys)
    assert "image size 30 x 30 is not divisible by the patch size 4; use 28 or 32" in message
    assert not (here / "runs").exists()


def test_an_out_that_exists(photos: Path, here: Path, capsys: Output) -> None:
    (here / "r").mkdir()
    message = refused(["train", str(photos), "--out", "r", *TINY], 2, capsys)
    assert "--out r exists already: a run folder is never overwritten" in message


def test_a_config_that_is_none(here: Path, photos: Path, capsys: Output) -> None:
    for text, message in (
        ("- 1", "holds no fields"),
        ("train: {epoch: 3}", "'train.epochs'"),
        ("a: [", "not valid YAML"),
    ):
        (here / "c.yaml").write_text(text)
        assert message in refused(["train", str(photos), "--config", "c.yaml"], 2, capsys)


# --------------------------------------------------------------------------------------------------- runs and models


def test_resume_of_a_folder_that_is_no_run(here: Path, capsys: Output) -> None:
    assert "r is no run folder: no such folder" in refused(["train", "--resume", "r"], 2, capsys)
    (here / "r").mkdir()
    assert "r is no run folder" in refused(["train", "--resume", "r"], 2, capsys)


def test_resume_of_a_finished_run(own_run: Path, capsys: Output) -> None:
    assert "is finished: nothing to resume" in refused(["train", "--resume", str(own_run)], 2, capsys)


def test_resume_with_what_would_change_the_result(own_run: Path, capsys: Output) -> None:
    message = refused(["train", "digits", "--resume", str(own_run), "--lr", "1", "train.beta1=0.8"], 2, capsys)
    assert "leave out digits, --lr, train.beta1" in message


@pytest.mark.parametrize("verb", ["predict", "explain", "evaluate"])
def test_a_folder_that_is_no_run(verb: str, here: Path, photos: Path, capsys: Output) -> None:
    words = [verb, str(photos)] if verb == "evaluate" else [verb, str(photos), "x.jpg"]
    assert "run folder" in refused(words, 2, capsys)


@pytest.mark.parametrize("verb", ["predict", "explain", "evaluate"])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "labels.json", "preprocessor.json"])
def test_a_model_with_one_bit_flipped(verb: str, file: str, own_run: Path, photos: Path, capsys: Output) -> None:
    flip_a_bit(own_run / "model" / "best" / file)
    words = [verb, str(own_run)] if verb == "evaluate" else [verb, str(own_run), str(photos)]
    message = refused(words, 5, capsys)
    assert file in message
    assert "changed after it was written (checksum differs)" in message


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{"), ("run.json", "[]"), ("args.yaml", "train: ["), ("args.yaml", "train: {epochs: many}"),
        ("data.json", "{}"), ("model/best/MANIFEST.json", "{}"), ("model/best/model.safetensors", ""),
    ],
)  # fmt: skip
def test_a_run_damaged_by_hand(file: str, content: str, own_run: Path, capsys: Output) -> None:
    (own_run / file).write_text(content)
    assert file in refused(["evaluate", str(own_run)], 5, capsys)


def test_a_missing_model_file(own_run: Path, photos: Path, capsys: Output) -> None:
    (own_run / "model" / "best" / "model.safetensors").unlink()
    message = refused(["predict", str(own_run), str(photos)], 5, capsys)
    assert "model.safetensors is missing" in message


def interrupt(run: Path) -> list[Path]:
    """Make a finished run look interrupted; returns its checkpoints, oldest first."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "state": "interrupted"}))
    return sorted((run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))


def test_every_checkpoint_with_one_bit_flipped(own_run: Path, capsys: Output) -> None:
    for checkpoint in interrupt(own_run):
        flip_a_bit(max(checkpoint.iterdir(), key=lambda path: path.stat().st_size))
    message = refused(["train", "--resume", str(own_run)], 5, capsys)
    assert "checkpoint" in message


def test_a_run_whose_data_changed(here: Path, capsys: Output) -> None:
    root = draw_photos(here / "photos", {"a": 14, "b": 14})
    assert main(["train", "photos", "--out", "r", *TINY]) == 0
    capsys.readouterr()
    (root / "a" / "0.png").unlink()
    assert "are not those that" in refused(["evaluate", "r"], 3, capsys)


def test_a_split_that_the_run_does_not_have(here: Path, capsys: Output) -> None:
    draw_photos(here / "photos" / "train", {"a": 12, "b": 12})
    draw_photos(here / "photos" / "val", {"a": 4, "b": 4})
    assert main(["train", "photos", "--out", "r", *TINY]) == 0
    capsys.readouterr()
    assert "r has no test split: its splits are train, val" in refused(["evaluate", "r"], 3, capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(finished_run: Path, photos: Path, here: Path, capsys: Output) -> None:
    here.chmod(0o500)
    try:
        message = refused(["predict", str(finished_run), str(photos), "--out", "p.csv"], 4, capsys)
        assert "cannot write p.csv: permission denied" in message
    finally:
        here.chmod(0o700)


@pytest.mark.parametrize("out", ["p.txt", "p.csv/x.csv"])
def test_an_out_that_cannot_be(out: str, finished_run: Path, photos: Path, here: Path, capsys: Output) -> None:
    (here / "p.csv").write_text("")
    code = 2 if out == "p.txt" else 4
    assert out in refused(["predict", str(finished_run), str(photos), "--out", out], code, capsys)


def test_a_batch_of_none(finished_run: Path, photos: Path, capsys: Output) -> None:
    message = refused(["predict", str(finished_run), str(photos), "--batch-size", "0"], 2, capsys)
    assert "--batch-size must be at least 1, not 0" in message


def test_a_loss_that_is_not_finite_is_said_once(here: Path, capsys: Output) -> None:
    small = ("model.options.depth=1", "model.options.width=12", "model.options.hidden=12")
    assert main(["train", "digits", "--out", "r", "--lr", "1e30", "train.clip=0", "--epochs", "1", *small]) == 4
    err = capsys.readouterr().err
    assert err.count("updates in a row were not finite") == 1
    assert err.splitlines()[-1] == "The weights before them are in r/checkpoints; lower --lr."
    assert "failed: 3 updates in a row" in (here / "r" / "train.log").read_text()
