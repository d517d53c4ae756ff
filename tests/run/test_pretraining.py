"""`vitrail pretrain` from images to a model folder, and training from it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_settings import TINY

import vitrail
from vitrail import artifact
from vitrail.cli.main import main
from vitrail.errors import DataError, Interrupted, TrainingError, UsageError
from vitrail.models import create_backbone
from vitrail.run import pretraining
from vitrail.run.training import resume as resume_training
from vitrail.run.weights import open_weights

VIT: dict[str, Any] = {**TINY, "pretrain.decoder_width": 16, "pretrain.decoder_depth": 1, "threads": 1}
THIN: dict[str, dict[str, Any]] = {
    "swin_tiny": {"depths": [1, 1, 1, 1], "width": 12, "heads": [1, 1, 1, 1]},
    "pvt_v2_b0": {"depths": [1, 1, 1, 1], "widths": [8, 8, 8, 8], "heads": [1, 1, 1, 1]},
    "resnet18": {"depths": [1, 1, 1, 1], "width": 4},
}


def draw_images(root: Path, names: list[str]) -> Path:
    draw = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (20, 18, 3), dtype=np.uint8)).save(root / name)
    return root


def read_rows(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [
        {key: value for key, value in row.items() if key not in ("time", "images_per_s", "memory_mb")} for row in rows
    ]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes, enough for a split."""
    root = tmp_path_factory.mktemp("photos")
    return draw_images(root, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(12)])


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> vitrail.Run:
    """A run on them, three epochs, with a moving average."""
    stated = {**VIT, "data.source": str(photos), "train.epochs": 3, "train.ema": 0.5}
    return pretraining.start(stated, out=tmp_path_factory.mktemp("runs") / "run", quiet=True)


def test_a_run_leaves_what_every_run_leaves_and_a_backbone(run: vitrail.Run) -> None:
    assert run.status == "finished"
    assert run.verb == "pretrain"
    names = ("args.yaml", "data.json", "results.csv", "metrics.jsonl", "report.html", "figures/loss.png")
    assert all((run.folder / name).is_file() for name in names)
    assert [row["epoch"] for row in read_rows(run.folder)] == ["1", "2", "3"]
    assert list(read_rows(run.folder)[0]) == ["epoch", "train/loss", "val/loss", "lr"]
    assert run.metrics["val"].keys() == {"loss", "loss_of_guess"}
    assert run.data["images"] == {"train": 16, "val": 4, "test": 4}
    for which in ("best", "last"):
        folder = run.folder / "model" / which
        assert json.loads((folder / "labels.json").read_text()) == {}
        assert json.loads((folder / "config.json").read_text())["config"]["task"]["name"] == "none"
        tensors = load_file(folder / "model.safetensors")
        plain = create_backbone("vit_tiny", image_size=16, patch_size=4, depth=1, width=16, heads=2, hidden=32)
        assert tensors.keys() == {f"backbone.{name}" for name in plain.state_dict()}
    trunk = artifact.load_backbone(run.folder)
    assert trunk.preprocessor.size == (16, 16)
    best = load_file(run.folder / "model" / "best" / "model.safetensors")
    assert all(torch.equal(tensor, best[f"backbone.{name}"]) for name, tensor in trunk.backbone.state_dict().items())
    losses = [float(row["val/loss"]) for row in read_rows(run.folder)]
    assert run.metrics["val"]["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_the_report_shows_what_was_filled_in_and_asks_nothing_of_a_network(run: vitrail.Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert page.count("what the model saw") >= 4
    assert "12 of 16 squares of 4 px were left out" in page
    assert f"vitrail train DATA --from {run.folder}" in page
    assert "://" not in page


def test_what_has_no_head_answers_nothing(run: vitrail.Run) -> None:
    with pytest.raises(UsageError, match=r"has no head to answer with:\n.*vitrail train DATA --from"):
        vitrail.load(run.folder)
    assert main(["predict", str(run.folder), "x.png"]) == 2
    with pytest.raises(UsageError, match="settings of `vitrail pretrain`"):
        vitrail.train("digits", quiet=True, pretrain__mask_ratio=0.5)


def test_a_run_that_is_broken_off_and_gone_on_with_ends_with_the_same_bits(
    run: vitrail.Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitrail.training import checkpoint

    real, saved = checkpoint.save, []

    def once(*args: Any) -> Path:
        saved.append(real(*args))
        if len(saved) == 3:
            raise KeyboardInterrupt
        return saved[-1]

    stated = {**VIT, "data.source": str(photos), "train.epochs": 3, "train.ema": 0.5, "train.checkpoint_seconds": 1e-9}
    monkeypatch.setattr(checkpoint, "save", once)
    with pytest.raises(
        Interrupted, match=r"after its newest checkpoint\.\nGo on with: vitrail pretrain --resume"
    ) as end:
        pretraining.start(stated, out=tmp_path / "run", quiet=True)
    assert end.value.code == 130
    monkeypatch.undo()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
    with pytest.raises(UsageError, match=r"is a run of pretrain, not of train; .*: vitrail pretrain --resume"):
        resume_training(tmp_path / "run", quiet=True)
    again = pretraining.resume(tmp_path / "run", quiet=True)
    assert read_rows(again.folder) == read_rows(run.folder)
    for which in ("best", "last"):
        ours, theirs = (load_file(r.folder / "model" / which / "model.safetensors") for r in (again, run))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(UsageError, match="is finished"):
        pretraining.resume(tmp_path / "run", quiet=True)


@pytest.mark.parametrize("name", list(THIN))
def test_every_other_family_learns_from_painted_images_and_is_trained_from_it(
    name: str, photos: Path, tmp_path: Path
) -> None:
    own = {f"model.options.{key}": value for key, value in THIN[name].items()}
    stated = {"data.source": str(photos), "model.name": name, "model.image_size": 32, "train.batch_size": 8}
    stated |= {**own, "train.epochs": 1, "device": "cpu", "threads": 1}
    run = pretraining.start(stated, out=tmp_path / "run", quiet=True)
    assert run.config.pretrain.decoder_width is None
    assert "painted over" in (run.folder / "report.html").read_text()
    fine = {"data.source": str(photos), "model.weights": str(run.folder), "train.epochs": 1, "train.lr": 1e-12}
    fine |= {"train.batch_size": 8, "train.weight_decay": 0.0, "train.ema": 0.0, "device": "cpu", "threads": 1}
    from vitrail.run import start

    trained = start(fine, out=tmp_path / "trained", quiet=True)
    assert trained.config.model.name.startswith(name)
    before = artifact.load_backbone(run.folder).backbone
    after = artifact.load(trained.folder).model.backbone
    for key, tensor in before.named_parameters():
        torch.testing.assert_close(after.get_parameter(key), tensor, atol=1e-6, rtol=1e-5)


def test_a_vit_is_trained_from_it(run: vitrail.Run, photos: Path, tmp_path: Path) -> None:
    trained = vitrail.train(
        photos, from_=str(run.folder), out=tmp_path / "trained", quiet=True, epochs=1, batch_size=8, lr=1e-12,
        train__ema=0.0, train__weight_decay=0.0, device="cpu",
    )  # fmt: skip
    assert trained.config.model.options["width"] == 16
    assert trained.config.recipe == "small"
    why = {reason["field"]: reason["why"] for reason in trained.data["reasons"]}["recipe"]
    assert "some 48 images without targets" in why  # three epochs of sixteen
    for copied in (run.folder / "model" / "best", shutil.copytree(run.folder / "model" / "best", tmp_path / "alone")):
        origin = open_weights({"data.source": "x", "model.weights": str(copied)})
        assert origin is not None
        assert origin.pretrained(False).seen == (48 if copied.is_relative_to(run.folder) else 0)
    before, after = artifact.load_backbone(run.folder).backbone, artifact.load(trained.folder).model
    assert type(after.head.fc).__name__ == "Linear"
    for key, tensor in before.named_parameters():
        torch.testing.assert_close(after.backbone.get_parameter(key), tensor, atol=1e-6, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------- images


def test_bad_files_count_against_what_may_fail_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `train`: of fourteen images, three may be bad, and two are already: one more, no second."""
    images = draw_images(tmp_path / "images", [f"{i}.png" for i in range(12)])
    for name in ("broken.png", "cut.png"):
        (images / name).write_bytes(b"no image")
    real = pretraining.make_reconstructor

    def spoil(config: Any) -> Any:
        for name in ("0.png", "1.png", "2.png", "3.png"):
            (images / name).write_bytes((images / name).read_bytes()[:200])
        return real(config)

    monkeypatch.setattr(pretraining, "make_reconstructor", spoil)
    stated = {**VIT, "data.source": str(images), "data.max_bad_fraction": 0.25}
    with pytest.raises(TrainingError, match=r"[234] images failed after the audit, more than .* allows \(1\)"):
        pretraining.start(stated, out=tmp_path / "run", quiet=True)


def test_a_plain_folder_without_labels_will_do_and_no_test_is_cut_off(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", [f"{i}.png" for i in range(10)] + ["deep/er/a.png", "deep/b.png"])
    (images / "broken.png").write_bytes(b"no image")
    run = pretraining.start(
        {**VIT, "data.source": str(images), "data.max_bad_fraction": 0.5}, out=tmp_path / "run", quiet=True
    )
    assert run.data["images"] == {"train": 10, "val": 2, "test": 0}
    assert "broken.png" in (run.folder / "bad_files.csv").read_text()


def test_a_table_without_targets_will_do_and_its_splits_are_obeyed(tmp_path: Path) -> None:
    images = draw_images(tmp_path, [f"{i}.png" for i in range(12)])
    rows = [f"{i}.png,{'val' if i > 9 else 'train'},{i},x" for i in range(12)]
    (images / "all.csv").write_text("\n".join(["image,split,a,b", *rows]) + "\n")
    run = pretraining.start({**VIT, "data.source": str(images / "all.csv")}, out=tmp_path / "run", quiet=True)
    assert run.data["images"] == {"train": 10, "val": 2, "test": 0}


def test_labels_change_the_split_alone(photos: Path, tmp_path: Path) -> None:
    """Images of the test split that `train` makes are not seen."""
    from vitrail.run.images import open_images, split_images
    from vitrail.run.prepare import divide, read_audit
    from vitrail.settings import DataConfig
    from vitrail.training.journal import Journal

    config, quiet = DataConfig(source=str(photos)), Journal(quiet=True)
    source = open_images(config)
    audit = read_audit(source, config, quiet)
    ours, task = split_images(source, audit, config)
    theirs = divide(source, audit, config, quiet, "classify").split
    assert task == "classify"
    assert ours.fingerprint == theirs.fingerprint


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"data.source": "no/such/folder"}, "no such folder"),
        ({"augment.mixup": 0.5}, "two images in one"),
        ({"model.patch_size": 16}, "leaves too few"),
        ({"model.options.depht": 3}, "depth"),
        ({"train.batch_size": 6, "train.accumulate": 4}, "not a multiple"),
        ({"train.batch_size": 4096}, "more than the"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_before_anything_is_written(
    stated: dict[str, Any], told: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        pretraining.start({**VIT, "data.source": str(photos), **stated}, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        pretraining.start({**VIT, "data.source": str(tmp_path / "empty")}, out=tmp_path / "run", quiet=True)


# -------------------------------------------------------------------------------------------------------- from outside


def test_the_command_prints_one_object_and_says_what_is_next(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in VIT.items()]
    assert main(["pretrain", str(photos), "--out", str(tmp_path / "run"), "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == str(tmp_path / "run")
    assert told["metrics"]["val"].keys() == {"loss", "loss_of_guess"}
    assert main(["pretrain", str(photos), "--epochs", "1", "--time", "1m"]) == 2
    assert "--time and --epochs" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(tmp_path / "run"), "--lr", "1"]) == 2
    assert main(["train", "--config", str(tmp_path / "run" / "args.yaml"), "--out", str(tmp_path / "other")]) == 2
    assert "settings of `vitrail pretrain`" in capsys.readouterr().err


def test_a_limit_on_the_time_chooses_the_epochs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial measures this very training; how many epochs fit is tested with the trial's own arithmetic."""
    seen: list[Any] = []

    def fitting(deadline: Any, part: Any) -> tuple[float, None]:
        seen.append(part)
        return 2.0, None

    monkeypatch.setattr(pretraining, "fitting", fitting)
    fields = {key.replace(".", "__"): value for key, value in VIT.items() if key != "train.epochs"}
    run = vitrail.pretrain(photos, time="20s", out=tmp_path / "run", quiet=True, **fields)
    (part,) = seen
    assert (part.work.train, part.work.val, part.work.test, part.work.scored) == (16, 4, 0, 0)
    assert part.speed.image > 0
    assert part.speed.evaluation > 0
    assert run.config.train.epochs == 2
    assert run.record["time"]["asked"] == 20
    assert run.record["time"]["took"] > run.record["time"]["gone"]
    assert "in all, 20 s were asked for" in (run.folder / "train.log").read_text()
    assert "Time that was asked for" in (run.folder / "report.html").read_text()
    why = next(r["why"] for r in run.data["reasons"] if r["field"] == "train.epochs")
    assert why.startswith("as many as fit into 20s")
    assert not list(tmp_path.glob(".vitrail-trial-*"))
