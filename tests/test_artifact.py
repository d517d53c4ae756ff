"""The model folder: whole, equal after a round trip, closed to damage and to code, readable for ever."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vitrail import artifact, durable
from vitrail.assemble import build_model
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import create_backbone
from vitrail.settings import Config, build
from vitrail.tasks import create_task, list_tasks

GOLDEN = Path(__file__).parent / "golden"
STATED = {
    "data.source": "digits",
    "model.image_size": 8,
    "model.patch_size": 4,
    "model.options.depth": 1,
    "model.options.width": 8,
    "model.options.heads": 2,
    "model.options.hidden": 16,
}


def _save(folder: Path, seed: int = 0, **stated: object) -> tuple[Config, torch.nn.Module]:
    config = build({**STATED, "seed": seed, **stated})
    task = create_task("classify", ["one", "two", "three"])
    model = build_model(config, task).eval()
    card = {"run": "r", "data": "digits", "metrics": {"accuracy": 0.5}}
    artifact.save(folder, model, config, task, Preprocessor.from_config(config), card)
    return config, model


def _images() -> torch.Tensor:
    return torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


def test_a_model_comes_back_whole(tmp_path: Path) -> None:
    config, model = _save(tmp_path / "m")
    loaded = artifact.load(tmp_path / "m")
    assert (loaded.config, loaded.task.state()["labels"]) == (config, ["one", "three", "two"])
    assert loaded.preprocessor == Preprocessor.from_config(config)
    assert torch.equal(loaded.model(_images()), model(_images()))
    assert not loaded.model.training


def test_fixed_positions_which_no_file_holds_come_back(tmp_path: Path) -> None:
    _, model = _save(tmp_path / "m", **{"model.options.position": "sincos"})
    assert torch.equal(artifact.load(tmp_path / "m").model(_images()), model(_images()))


def test_a_model_on_a_backbone_of_ones_own_comes_back(tmp_path: Path) -> None:
    _, model = _save(tmp_path / "m")
    options = {"image_size": 8, "patch_size": 4, "depth": 1, "width": 8, "heads": 2, "hidden": 16}
    loaded = artifact.load(tmp_path / "m", backbone=create_backbone("vit_tiny", seed=5, **options))
    assert torch.equal(loaded.model(_images()), model(_images()))


def test_a_run_folder_means_its_best_model_else_its_last(tmp_path: Path) -> None:
    _save(tmp_path / "run" / "model" / "last")
    assert artifact.find(tmp_path / "run").name == "last"
    _save(tmp_path / "run" / "model" / "best")
    assert artifact.find(tmp_path / "run").name == "best"
    assert artifact.find(tmp_path / "run" / "model" / "last").name == "last"


def test_the_folder_one_stands_in_can_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path / "run" / "model" / "best")
    monkeypatch.chdir(tmp_path / "run")
    assert artifact.load(".").model.training is False


def test_a_reader_finds_the_previous_model_of_a_save_cut_off_and_moves_nothing(tmp_path: Path) -> None:
    _save(tmp_path / "run" / "model" / "best")
    (tmp_path / "run" / "model" / "best").rename(tmp_path / "run" / "model" / ".best.old")
    for meant in (tmp_path / "run", tmp_path / "run" / "model" / "best"):
        artifact.load(meant)
    assert [p.name for p in (tmp_path / "run" / "model").iterdir()] == [".best.old"]


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        artifact.find(tmp_path / "absent")
    with pytest.raises(UsageError, match="file name too long"):
        artifact.find("a" * 300)
    with pytest.raises(UsageError, match="neither a run folder nor a model folder"):
        artifact.find(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="has no model yet"):
        artifact.find(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor.json", "labels.json"])
def test_one_flipped_bit_in_any_file_is_found(tmp_path: Path, name: str) -> None:
    _save(tmp_path / "m")
    path = tmp_path / "m" / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")) as error:
        artifact.load(tmp_path / "m")
    assert error.value.exit_code == 5


def test_the_card_may_be_edited(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("mine")
    artifact.load(tmp_path / "m")


class Bomb:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return (Path.touch, (self.sentinel,))


def _reseal(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and the manifest with it, as someone hostile would."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / durable.MANIFEST).read_bytes())
    manifest["files"][name] = {"size": len(content), "blake2b": durable.digest(folder / name)}
    (folder / durable.MANIFEST).write_text(json.dumps(manifest))


def _config_with(folder: Path, **model: object) -> bytes:
    record = json.loads((folder / "config.json").read_bytes())
    record["config"]["model"] |= model
    return json.dumps(record).encode()


def test_a_hostile_folder_runs_no_code(tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    bomb = pickle.dumps(Bomb(sentinel))
    for name in ("model.safetensors", "config.json", "preprocessor.json", "labels.json"):
        folder = tmp_path / f"m-{name}"
        _save(folder)
        _reseal(folder, name, bomb)
        with pytest.raises(IntegrityError):
            artifact.load(folder)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "model",
    [
        {"name": "os.system"},
        {"name": "builtins.eval"},
        {"options": {"__class__": "os.system"}},
        {"options": {"image_size": 4}},
        {"options": {"seed": 1}},
        {"options": {"name": "vit_base"}},
        {"_target_": "x"},
    ],
)
def test_a_config_cannot_name_code(tmp_path: Path, model: dict) -> None:
    _save(tmp_path / "m")
    _reseal(tmp_path / "m", "config.json", _config_with(tmp_path / "m", **model))
    with pytest.raises(IntegrityError):
        artifact.load(tmp_path / "m")


def test_a_config_cannot_ask_for_memory_that_the_weights_do_not_fill(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    options = {"width": 65_536, "heads": 1, "hidden": 65_536, "depth": 100}  # 5 TB of parameters
    _reseal(tmp_path / "m", "config.json", _config_with(tmp_path / "m", options=options))
    with pytest.raises(IntegrityError, match=r"model\.safetensors does not fit"):
        artifact.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("preprocessor.json", {"size": [16, 16]}, r"which takes \(8, 8, 3\)"),
        ("preprocessor.json", {"size": "large"}, r"preprocessor\.json cannot be used: size"),
        ("labels.json", {"labels": ["one", "two"]}, r"head\.fc\.weight: 3 x 8 for 2 x 8"),
        ("labels.json", {"labels": ["one", "one", "two"]}, "stands twice"),
    ],
)
def test_files_that_do_not_fit_each_other_are_named(tmp_path: Path, name: str, change: dict, told: str) -> None:
    _save(tmp_path / "m")
    record = json.loads((tmp_path / "m" / name).read_bytes())
    _reseal(tmp_path / "m", name, json.dumps({**record, **change}).encode())
    with pytest.raises(IntegrityError, match=told):
        artifact.load(tmp_path / "m")


def test_a_folder_of_the_future_is_refused_in_words(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    record = json.loads((tmp_path / "m" / "config.json").read_bytes())
    _reseal(tmp_path / "m", "config.json", json.dumps({**record, "format": 99}).encode())
    with pytest.raises(IntegrityError, match="newer Vitrail"):
        artifact.load(tmp_path / "m")


def test_a_failed_save_leaves_the_model_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = _save(tmp_path / "m")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "_write_json", full)
    with pytest.raises(OSError, match="No space"):
        _save(tmp_path / "m", seed=1)
    assert torch.equal(artifact.load(tmp_path / "m").model(_images()), model(_images()))
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["m"]


@pytest.mark.parametrize("release", sorted(p.name for p in GOLDEN.iterdir() if p.is_dir()))
def test_models_of_every_release_stay_readable(release: str, tmp_path: Path) -> None:
    folder = tmp_path / release
    shutil.copytree(GOLDEN / release, folder)
    loaded = artifact.load(folder / "model")
    expected = load_file(folder / "expected.safetensors")
    torch.testing.assert_close(loaded.model(expected["images"]), expected["logits"], atol=1e-6, rtol=1e-5)
    assert loaded.task.state()["labels"] == ["one", "three", "two"]


def test_a_run_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="has reached no checkpoint; wait for it, or train anew"):
        artifact.find(run)
    (run / "checkpoints" / "step-3").mkdir(parents=True)
    with pytest.raises(UsageError, match=f"go on with vitrail train --resume '{run}'"):
        artifact.find(run)


def test_the_card_names_what_each_task_answers(tmp_path: Path) -> None:
    tasks = {
        "**Labels:** a, b": create_task("multilabel", [["a"], ["b"]]),
        "**Numbers:** mass (kg), age": create_task("regress", [(1, 2), (3, 5)], named=["mass [kg]", "age"]),
        "**Classes:** background, foreground": create_task("segment", [np.eye(4, dtype=np.uint8)]),
        "**Maps:** height (m)": create_task("depth", [np.eye(4)], named=["height [m]"]),
    }
    assert {task.name for task in tasks.values()} | {"classify"} == set(list_tasks())
    for number, (words, task) in enumerate(tasks.items()):
        config = build({**STATED, "model.pooling": "mean", "task.name": task.name})
        folder = tmp_path / str(number)
        artifact.save(
            folder, build_model(config, task), config, task, Preprocessor.from_config(config), {"metrics": {}}
        )
        assert words in (folder / "README.md").read_text()
