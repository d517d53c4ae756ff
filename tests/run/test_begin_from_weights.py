"""`--from`: a run that begins with the weights of another, or of a published checkpoint, each accounted for."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import vitrail
from vitrail import artifact
from vitrail.assemble import VisionModel, attach_head, build_model, build_trunk
from vitrail.cli.main import main
from vitrail.contracts import Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, TrainingError, UsageError
from vitrail.pretraining.reconstruction import no_targets
from vitrail.run import Run, resume, start, training
from vitrail.settings import NO_TASK, Config, build, load
from vitrail.tasks.classify import Classify
from vitrail.tasks.multilabel import MultiLabel
from vitrail.tasks.regress import Regress
from vitrail.tasks.segment import Segment
from vitrail.training import optimizer

SMALL: dict[str, Any] = {
    "model.name": "vit_tiny", "model.image_size": 16, "model.patch_size": 8, "model.options.depth": 2,
    "model.options.width": 24, "model.options.heads": 2, "model.options.hidden": 32,
    "preprocess.mean": (0.4, 0.5, 0.6), "preprocess.std": (0.2, 0.25, 0.3),
}  # fmt: skip
QUICK: dict[str, Any] = {"train.epochs": 1, "train.batch_size": 8, "device": "cpu"}


def shaken(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model with weights that no default hides."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


def folder_of(root: Path, task: Task, **more: Any) -> tuple[Path, VisionModel]:
    """A model folder for a task, inside of a run's folder, and the model in it."""
    config = build({**SMALL, "data.source": "photos", "task.name": task.name, **more})
    model = shaken(build_model(config, task)).eval()
    artifact.save(root / "model" / "best", model, config, task, Preprocessor.from_config(config), {"run": "old"})
    return root, model


def draw(root: Path, *classes: str, images: int = 10, mode: str = "RGB") -> Path:
    """A folder for each class, of images of noise."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(images):
            noise = np.random.default_rng((number, i)).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).convert(mode).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of photos. Read only."""
    return draw(tmp_path_factory.mktemp("photos") / "photos", "cat", "dog", "owl")


@pytest.fixture(autouse=True)
def scanned_once(
    private_cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cache for all of these tests."""
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path_factory.getbasetemp() / "cache of begun runs"))


Began = Callable[..., tuple[VisionModel, Config, dict[str, Any]]]


@pytest.fixture
def began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Began:
    """Starts a run and gives the model that would be trained, the config, and run.json."""

    def begin(data: Path | str, source: Path | str, **more: Any) -> tuple[VisionModel, Config, dict[str, Any]]:
        kept: list[Any] = []
        monkeypatch.setattr(training, "_go", lambda run, config, reasons, data, model, *rest, **_: kept.append(model))
        stated = {"data.source": str(data), "model.weights": str(source), **QUICK, **more}
        run = start(stated, out=tmp_path / "new", quiet=True)
        return kept[0].eval(), run.config, run.record["weights"]

    return begin


def pictures(size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def answers(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model(images)


# ------------------------------------------------------------------------------------------------------ a run of ours


def test_a_run_goes_on_with_its_classes_in_another_order(began: Began, photos: Path, tmp_path: Path) -> None:
    source, old = folder_of(tmp_path / "old", Classify(["owl", "cat", "dog"]))
    model, config, record = began(photos, source)
    assert model.task.labels == ("cat", "dog", "owl")
    assert torch.allclose(answers(model, pictures()), answers(old, pictures())[:, [1, 2, 0]], atol=1e-6)
    assert record["head"] == "kept, 3 rows by name, in another order"
    assert record["counts"] == {"used": len(old.state_dict()) - 2, "converted": 2}
    assert config.model.weights == str(source)
    assert (config.model.name, config.model.image_size, config.model.patch_size) == ("vit_tiny", 16, 8)
    assert config.preprocess.mean == (0.4, 0.5, 0.6)
    assert config.model.options == {"depth": 2, "width": 24, "heads": 2, "hidden": 32}


def test_a_few_of_its_classes_keep_their_rows(began: Began, photos: Path, tmp_path: Path) -> None:
    source, old = folder_of(tmp_path / "old", Classify(["ape", "owl", "bee", "dog", "cat"]))
    model, _, record = began(photos, source / "model" / "best")
    assert torch.allclose(answers(model, pictures()), answers(old, pictures())[:, [4, 3, 1]], atol=1e-6)
    assert record["head"] == "kept, 3 rows by name, in another order"


@pytest.mark.parametrize(
    ("labels", "stated", "head"),
    [
        (["cat", "dog", "bee"], {}, "a new one of 3 outputs, since its 3 classes have 2 of the 3 names here"),
        (["cat", "dog", "owl"], {"model.new_head": True}, "a new one of 3 outputs, as stated"),
    ],
)
def test_a_new_head_is_the_one_a_run_from_scratch_begins_with(
    began: Began, photos: Path, tmp_path: Path, labels: list[str], stated: dict[str, Any], head: str
) -> None:
    source, old = folder_of(tmp_path / "old", Classify(labels))
    model, config, record = began(photos, source, seed=3, **stated)
    assert record["head"] == head
    assert record["counts"] == {"used": len(old.state_dict()) - 2, "fresh": 2, "left out": 2}
    scratch = build_model(config, model.task)
    for name, tensor in model.state_dict().items():
        expected = scratch if name.startswith("head.") else old
        assert torch.equal(tensor, expected.state_dict()[name]), name


def test_numbers_of_classes_are_no_names_but_those_that_data_gave_are(began: Began, tmp_path: Path) -> None:
    data = draw(tmp_path / "photos", "0", "1", "2")
    nameless, old = folder_of(tmp_path / "nameless", Classify(["0", "1", "2"], named=False))
    _, _, record = began(data, nameless)
    assert record["head"] == "a new one of 3 outputs, since its 3 classes have no names, only numbers"
    (tmp_path / "new").rename(tmp_path / "first")
    named, _ = folder_of(tmp_path / "named", Classify(["0", "1", "2"]))
    model, _, record = began(data, named)
    assert record["head"] == "kept, 3 rows by name"
    assert torch.equal(answers(model, pictures()), answers(old, pictures()))


def test_another_image_size_has_its_positions_resized(began: Began, photos: Path, tmp_path: Path) -> None:
    source, old = folder_of(tmp_path / "old", Classify(["cat", "dog", "owl"]))
    model, config, record = began(photos, source, **{"model.image_size": 32})
    old.backbone.set_image_size((32, 32))
    assert torch.equal(answers(model, pictures(32)), answers(old, pictures(32)))
    assert config.model.image_size == 32
    assert record["counts"]["resized"] == 1
    assert {"tensors": "1", "state": "resized", "ours": "backbone.pos_embed", "theirs": "backbone.pos_embed",
            "how": "5 to 17 positions"} in record["tensors"]  # fmt: skip


def test_another_patch_has_its_kernel_resized(began: Began, photos: Path, tmp_path: Path) -> None:
    source, _ = folder_of(tmp_path / "old", Classify(["cat", "dog", "owl"]))
    model, config, record = began(photos, source, **{"model.patch_size": 4})
    assert (config.model.patch_size, config.model.image_size) == (4, 16)
    assert model.backbone.patch_embed.proj.weight.shape[-1] == 4
    assert record["counts"]["resized"] == 2  # and the positions of 4 x 4 cells


def test_a_distilled_head_is_kept_whole(began: Began, photos: Path, tmp_path: Path) -> None:
    named = {"model.name": "deit_tiny_distilled_patch16_224"}
    source, old = folder_of(tmp_path / "old", Classify(["owl", "dog", "cat"]), **named)
    model, config, _ = began(photos, source)
    assert config.model.name == "deit_tiny_distilled_patch16_224"
    for said, before in zip(
        model.head.both(model.features(pictures())), old.head.both(old.features(pictures())), strict=True
    ):
        assert torch.allclose(said, before[:, [2, 1, 0]], atol=1e-6)


def test_grey_weights_are_trained_on_grey_images(began: Began, photos: Path, tmp_path: Path) -> None:
    grey = {"data.channels": 1, "preprocess.mean": (0.4,), "preprocess.std": (0.2,)}
    source, _ = folder_of(tmp_path / "old", Classify(["cat", "dog", "owl"]), **grey)
    model, config, _ = began(photos, source)
    assert (config.data.channels, model.backbone.in_channels, config.preprocess.mean) == (1, 1, (0.4,))


def test_numbers_are_rescaled_to_what_they_were(began: Began, tmp_path: Path) -> None:
    draw(tmp_path / "images", ".")
    rows = "".join(f"images/{i}.png,{1000 + i}\n" for i in range(10))
    (tmp_path / "weights.csv").write_text(f"path,mass (kg)\n{rows}")
    theirs = Regress(["mass"], ["kg"], [3.0], [0.5])
    source, old = folder_of(tmp_path / "old", theirs, **{"model.pooling": "mean", "preprocess.resize": "squash"})
    model, config, record = began(tmp_path / "weights.csv", source, **{"task.name": "regress", "train.batch_size": 2})
    assert record["head"] == "kept, 1 rows by name, rescaled to the units here"
    assert config.model.pooling == "mean"  # the head's, whatever the task would choose
    assert config.preprocess.resize == "squash"
    assert model.task.mean[0] > 1000
    said = model.task.values(answers(model, pictures()).numpy())
    assert said == pytest.approx(theirs.values(answers(old, pictures()).numpy()), abs=1e-3)


def test_a_decoder_is_kept_with_its_kind(began: Began, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for i in range(12):
        noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "data" / "images" / f"{i}.png")
        Image.fromarray(noise[..., 0] % 3).save(tmp_path / "data" / "masks" / f"{i}.png")
    source, old = folder_of(tmp_path / "old", Segment(["2", "1", "0"], [2, 1, 0], decoder="linear"))
    model, config, record = began(tmp_path / "data", source, **{"train.batch_size": 4})
    assert config.task.decoder == "linear"
    assert torch.allclose(answers(model, pictures()), answers(old, pictures())[:, [2, 1, 0]], atol=1e-5)
    assert record["head"] == "kept, 3 rows by name, in another order"


def test_what_was_pretrained_on_images_alone_gets_a_head(began: Began, photos: Path, tmp_path: Path) -> None:
    config = build({**SMALL, "data.source": "photos", "task.name": NO_TASK})
    trunk = shaken(build_trunk(config))
    prepared = Preprocessor.from_config(config)
    artifact.save(tmp_path / "old" / "model" / "best", trunk, config, no_targets(), prepared, {"run": "old"})
    model, config, record = began(photos, tmp_path / "old")
    assert record["head"] == "a new one of 3 outputs, since the weights come without one"
    assert record["counts"] == {"used": len(trunk.state_dict()), "fresh": 2}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in trunk.state_dict().items())
    assert (config.model.image_size, config.model.pooling, config.task.name) == (16, "cls", "classify")
    assert config.preprocess.mean == (0.4, 0.5, 0.6)
    with pytest.raises(UsageError, match=r"its model is vit_tiny, not vit_small: leave --model out"):
        start({"data.source": "p", "model.weights": str(tmp_path / "old"), "model.name": "vit_small"}, quiet=True)


def test_another_task_keeps_the_backbone(began: Began, photos: Path, tmp_path: Path) -> None:
    source, old = folder_of(tmp_path / "old", MultiLabel(["cat", "dog", "owl"]), **{"preprocess.resize": "squash"})
    model, config, record = began(photos, source)
    assert record["head"] == "a new one of 3 outputs, since theirs is for the task multilabel"
    assert torch.equal(model.features(pictures()).tokens, old.features(pictures()).tokens)
    assert config.preprocess.resize == "crop"
    assert config.preprocess.mean == (0.4, 0.5, 0.6)


def test_a_backbone_from_python_takes_its_own_weights(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from vitrail.models import create_backbone

    def mine(seed: int) -> Any:
        sizes = {"depth": 1, "width": 16, "heads": 2, "hidden": 16, "image_size": 16, "patch_size": 8}
        return create_backbone("vit_tiny", seed=seed, **sizes)

    task = Classify(["cat", "dog", "owl"])
    config = build({"data.source": "photos", "model.name": "custom", "model.image_size": 16})
    old = shaken(attach_head(mine(0), task, "cls", seed=0)).eval()
    artifact.save(tmp_path / "old", old, config, task, Preprocessor.from_config(config), {"run": "old"})
    kept: list[Any] = []
    monkeypatch.setattr(training, "_go", lambda run, config, reasons, data, model, *rest, **_: kept.append(model))
    options = {"out": tmp_path / "new", "quiet": True, "from_": tmp_path / "old", "device": "cpu", "batch_size": 8}
    vitrail.train(str(photos), mine(5), **options)
    assert torch.equal(answers(kept[0].eval(), pictures()), answers(old, pictures()))
    save_file(old.state_dict(), tmp_path / "weights.safetensors")
    options["out"] = tmp_path / "other"
    with pytest.raises(UsageError, match=r"of no backbone from Python: fill yours by vitrail\.load_weights"):
        vitrail.train(str(photos), mine(5), **{**options, "from_": tmp_path / "weights.safetensors"})


# ------------------------------------------------------------------------------------------------ published checkpoints


def test_a_vit_that_timm_wrote(began: Began, photos: Path, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose file this is")
    theirs = shaken(timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=7)).eval()
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    model, config, record = began(photos, tmp_path / "vit.safetensors", **{"model.name": "vit_tiny_patch16_224"})
    with torch.no_grad():
        cls = theirs.forward_features(pictures(32))[:, 0]
        assert torch.allclose(model.features(pictures(32)).prefix[:, 0], cls, atol=1e-5)
    assert config.model.image_size == 32
    assert config.preprocess.mean == (0.5,)
    assert record["layout"] == "timm"
    assert record["head"] == "a new one of 3 outputs, since its 7 classes have no names, only numbers"
    assert record["counts"]["left out"] == record["counts"]["fresh"] == 2
    assert sum(int(row["tensors"]) for row in record["tensors"]) == len(model.state_dict()) + 2


def test_a_folder_of_timm_with_the_names_of_its_classes(began: Began, photos: Path, tmp_path: Path) -> None:
    config = build({**SMALL, "data.source": "photos", "model.options.width": 192, "model.options.heads": 3,
                    "model.options.hidden": 768, "model.patch_size": 16, "model.image_size": 32})  # fmt: skip
    old = shaken(build_model(config, Classify(["owl", "dog", "cat"]))).eval()
    vitrail.save_weights(old, tmp_path / "timm", "timm")
    model, _, record = began(photos, tmp_path / "timm")
    assert torch.allclose(answers(model, pictures(32)), answers(old, pictures(32))[:, [2, 1, 0]], atol=1e-5)
    assert record["head"] == "kept, 3 rows by name, in another order"


def test_a_resnet_of_torchvision(began: Began, photos: Path, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=4)
    with torch.no_grad():
        theirs(torch.randn(8, 3, 32, 32))  # running statistics
    torch.save(theirs.eval().state_dict(), tmp_path / "resnet18.pth")
    model, config, record = began(photos, tmp_path / "resnet18.pth", **{"model.image_size": 32})
    body = torch.nn.Sequential(*list(theirs.children())[:-2])
    with torch.no_grad():
        maps = body(pictures(32)).flatten(2).transpose(1, 2)
        assert torch.allclose(model.features(pictures(32)).tokens, maps, atol=1e-5)
    assert (config.model.name, config.model.patch_size) == ("resnet18", 4)
    assert config.preprocess.mean == (0.485, 0.456, 0.406)
    assert record["head"].startswith("a new one of 3 outputs, since its 4 classes have no names")


def test_a_file_without_a_head(began: Began, photos: Path, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose file this is")
    theirs = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=0)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    _, _, record = began(photos, tmp_path / "vit.safetensors", **{"model.name": "vit_tiny_patch16_224"})
    assert record["head"] == "a new one of 3 outputs, since the weights come without one"
    assert "left out" not in record["counts"]


# --------------------------------------------------------------------------------------------------------- whole runs


def test_a_published_folder_of_timm_is_fine_tuned_for_other_classes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As users do it: the folder that timm itself writes, the command, one epoch."""
    timm = pytest.importorskip("timm", reason="needs timm, whose folder this is")
    from timm.models._hub import save_for_hf

    seen = {"input_size": (3, 32, 32), "mean": (0.3, 0.4, 0.5), "std": (0.2, 0.25, 0.35)}
    theirs = timm.create_model(
        "vit_tiny_patch16_224", depth=2, img_size=32, num_classes=7, pretrained_cfg_overlay=seen
    )  # fmt: skip
    shaken(theirs)
    save_for_hf(theirs, tmp_path / "timm", {"label_names": list("abcdefg")}, safe_serialization=True)
    began_with: dict[str, torch.Tensor] = {}
    rates: dict[str, float] = {}
    go, groups = training._go, optimizer.groups

    def remembered(
        run: Run, config: Config, reasons: Any, data: Any, model: VisionModel, *rest: Any, **more: Any
    ) -> None:
        began_with.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        go(run, config, reasons, data, model, *rest, **more)

    def grouped(model: torch.nn.Module, *rest: Any) -> list[dict[str, Any]]:
        made = groups(model, *rest)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        rates.update({names[id(parameter)]: group["share"] for group in made for parameter in group["params"]})
        return made

    monkeypatch.setattr(training, "_go", remembered)
    monkeypatch.setattr(optimizer, "groups", grouped)
    words = ["--from", str(tmp_path / "timm"), "--out", str(tmp_path / "new"), "--epochs", "1", "--batch-size", "8"]
    assert main(["train", str(photos), *words, "--recipe", "fine_tune", "--device", "cpu"]) == 0

    run = Run.open(tmp_path / "new")
    assert run.config.model.name == "vit_tiny_patch16_224"
    assert (run.config.preprocess.mean, run.config.preprocess.std) == (seen["mean"], seen["std"])
    assert (run.config.model.image_size, run.config.model.options["depth"]) == (32, 2)
    for name, tensor in theirs.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(began_with[f"backbone.{name.replace('blocks.', 'encoder.')}"], tensor), name
    assert run.record["weights"]["head"].startswith("a new one of 3 outputs, since its 7 classes have none of the 3")
    shares = [rates[f"backbone.{name}"] for name in ("pos_embed", "encoder.0.norm1.bias", "encoder.1.norm1.bias")]
    assert shares == [0.65**3, 0.65**2, 0.65]
    assert rates["head.fc.weight"] == 1
    ended = vitrail.load(tmp_path / "new").artifact
    assert ended.task.labels == ("cat", "dog", "owl")
    assert (ended.preprocessor.mean, ended.preprocessor.size) == (seen["mean"], (32, 32))
    moved = {name for name, tensor in ended.model.state_dict().items() if not torch.equal(tensor, began_with[name])}
    assert moved == set(began_with)


def test_nothing_learned_scores_what_its_source_does(photos: Path, tmp_path: Path, began: Began) -> None:
    """With the head kept: weights, preprocessing and the order of the classes all arrive. Its args.yaml repeats it."""
    seen = {"preprocess.crop_fraction": 0.8, "preprocess.interpolation": "bilinear"}
    source, _ = folder_of(tmp_path / "old", Classify(["owl", "cat", "dog"]), **seen)
    still = {"train.lr": 1e-12, "train.min_lr": 0.0, "train.ema": 0.0, **QUICK}
    run = start({"data.source": str(photos), "model.weights": str(source), **still}, out=tmp_path / "run", quiet=True)
    with (run.folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    before = vitrail.load(source).predict([photos / row["path"] for row in rows])
    assert len(before) > 8
    for row, answer in zip(rows, before, strict=True):
        assert row["label"] == answer.label
        assert float(row["confidence"]) == pytest.approx(answer.confidence, abs=1e-5)
    stated = load(run.folder / "args.yaml")
    _, config, record = began(photos, source, **{k: v for k, v in stated.items() if k != "model.weights"})
    assert config == run.config
    assert record == run.record["weights"]


def test_a_run_goes_on_when_what_it_began_with_is_gone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = folder_of(tmp_path / "old", Classify(["cat", "dog", "owl"]))

    def fail(*args: Any, **options: Any) -> None:
        raise TrainingError("stopped here")

    stated = {"data.source": str(photos), "model.weights": str(source), **QUICK, "train.epochs": 2}
    with monkeypatch.context() as patch:
        patch.setattr(training.finish, "finish", fail)
        with pytest.raises(TrainingError, match="stopped here"):
            start(stated, out=tmp_path / "new", quiet=True)
    before = losses(tmp_path / "new")
    newest = max((tmp_path / "new" / "checkpoints").iterdir(), key=lambda step: int(step.name.removeprefix("step-")))
    shutil.rmtree(newest)  # so that an epoch is left to do
    shutil.rmtree(source)
    run = resume(tmp_path / "new", quiet=True)
    assert losses(run.folder) == before
    assert len(before) == 2
    assert run.record["weights"]["head"] == "kept, 3 rows by name"


def losses(run: Path) -> list[str]:
    """Of each epoch."""
    with (run / "results.csv").open() as file:
        return [row["val/loss"] for row in csv.DictReader(file)]


# ----------------------------------------------------------------------------------------------------------- refusals


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and message of `vitrail train`."""
    code = main(["train", *words])
    return code, capsys.readouterr().err.strip().removeprefix("vitrail train: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--new-head",), "--new-head is about the head of what --from names: say what to begin with"),
        (("--from", "{tmp}/nothing"), "{tmp}/nothing: no weights there; expected a file, a model or run folder,"),
        (("--from", "{tmp}"), "{tmp}: no weights there; expected one of model.safetensors,"),
        (("--from", "{old}", "--model", "vit_small"), "its model is vit_tiny, not vit_small: leave --model out"),
        (("--from", "{tmp}/runs/young"), "{tmp}/runs/young has no model yet: its run has reached no checkpoint"),
        (("--from", "{old}", "--model", "swin_tiny"), "says that its model is vit_tiny, not swin_tiny"),
        (("--from", "{old}", "model.options.depth=3"),
         "model.options.depth=3: the weights are of a model with depth=2; leave it out"),
        (("--from", "{old}", "model.options.qk_norm=true"), "the weights are of a model with qk_norm=False"),
        (("--from", "{old}", "model.options.dept=3"), "unknown vit option 'dept'"),
        (("--from", "{old}", "data.channels=1"),
         "data.channels=1: the weights are for images of 3 channels; leave it out"),
        (("--from", "{old}", "--image-size", "30"), "not divisible by the patch size 8"),
        (("--from", "{timm}", "--model", "deit_tiny"), "is of the family deit, and the tensors are those of vit"),
        (("--from", "{timm}", "--model", "vit_small"), "is of vit_tiny_patch16_224 with depth=2, image_size=32, not"),
        (("--from", "hf-hub:nobody"), "expected hf-hub:ORG/NAME"),
    ],
)  # fmt: skip
def test_what_cannot_begin_is_said_in_a_line_before_the_data_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    old, _ = folder_of(tmp_path / "runs" / "old", Classify(["cat", "dog"]))
    (tmp_path / "runs" / "young").mkdir()
    (tmp_path / "runs" / "young" / "run.json").touch()
    small = vitrail.create_model("vit_tiny_patch16_224", outputs=3, depth=2, image_size=32)
    vitrail.save_weights(small, tmp_path / "timm", "timm")
    places = {"{tmp}": str(tmp_path), "{old}": str(old), "{timm}": str(tmp_path / "timm")}

    def filled(text: str) -> str:
        for place, path in places.items():
            text = text.replace(place, path)
        return text

    code, said = refused(capsys, str(tmp_path / "no data"), *map(filled, words))
    assert code == 2, said
    assert filled(message) in said
    assert len(said.splitlines()) <= 2


def test_what_several_models_fit_must_be_named(tmp_path: Path, photos: Path, began: Began) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose file this is")
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(UsageError, match="say which with --model"):
        began(photos, tmp_path / "vit.safetensors")
    _, config, _ = began(photos, tmp_path / "vit.safetensors", **{"model.name": "deit_tiny_patch16_224"})
    assert config.preprocess.mean == (0.485, 0.456, 0.406)


def test_damage_is_refused_for_integrity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, _ = folder_of(tmp_path / "old", Classify(["cat", "dog"]))
    file = old / "model" / "best" / "model.safetensors"
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    code, said = refused(capsys, str(tmp_path / "no data"), "--from", str(old))
    assert code == 5
    assert "model.safetensors" in said


def test_a_patch_that_only_a_plain_vit_could_take_is_refused(photos: Path, tmp_path: Path, began: Began) -> None:
    pvt = {"model.name": "pvt_tiny", "model.image_size": 32, "model.patch_size": 4, "model.pooling": "mean"}
    options = {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "heads": (1, 1, 1, 1)}
    config = build({"data.source": "p", **pvt, **{f"model.options.{name}": value for name, value in options.items()}})
    task = Classify(["cat", "dog", "owl"])
    artifact.save(tmp_path / "old", build_model(config, task), config, task, Preprocessor.from_config(config), {})
    with pytest.raises(UsageError, match=r"^--patch-size 8: the weights are for patch 4, and only .*: leave it out$"):
        began(photos, tmp_path / "old", **{"model.patch_size": 8})
    assert not (tmp_path / "new").exists()


def test_missing_tensors_are_refused_and_nothing_is_begun(photos: Path, tmp_path: Path, began: Began) -> None:
    timm = pytest.importorskip("timm", reason="needs timm, whose file this is")
    tensors = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=3).state_dict()
    del tensors["blocks.1.norm2.bias"]
    save_file(tensors, tmp_path / "vit.safetensors")
    with pytest.raises(
        IntegrityError, match=r"1 tensor of the model is not in the file \(backbone\.encoder\.1\.norm2\.bias"
    ):
        began(photos, tmp_path / "vit.safetensors", **{"model.name": "vit_tiny_patch16_224"})
    assert not (tmp_path / "new").exists()


def test_the_account_is_on_the_screen_and_in_the_log(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = folder_of(tmp_path / "old", Classify(["cat", "dog", "bee"]))
    monkeypatch.setattr(training, "_go", lambda *args, **options: None)
    start({"data.source": str(photos), "model.weights": str(source), **QUICK}, out=tmp_path / "new")
    said = "".join(capsys.readouterr())
    lines = [line for line in said.splitlines() if line.startswith(("from:", "weights:", "head:"))]
    assert lines[0] == f"from: vit_tiny in {source}"
    assert lines[1].startswith("weights: 30 of 32 tensors (")
    assert lines[1].endswith("layout vitrail; 2 left out, 2 fresh")
    assert lines[2] == "head: a new one of 3 outputs, since its 3 classes have 2 of the 3 names here"
    assert lines[2] in (tmp_path / "new" / "train.log").read_text()
    assert json.loads((tmp_path / "new" / "run.json").read_text())["weights"]["head"] == lines[2].removeprefix("head: ")
    assert Run.open(tmp_path / "new").config.model.weights == str(source)
