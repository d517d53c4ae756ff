"""What a source may be, and what is said where a library, the network or a name is missing."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small import images, logits, needs, ours

import vitrail
from vitrail.checkpoints.conversion import convert
from vitrail.checkpoints.sources import DOWNLOADED, open_source
from vitrail.errors import IntegrityError, UsageError


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """The hub as a folder on this disk; what was asked of it."""
    library = needs("huggingface_hub")
    vitrail.save_weights(ours("vit"), tmp_path / "repository", "timm")
    asked: list[tuple[str, str | None, tuple[str, ...]]] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, tuple(allow_patterns)))
        return str(tmp_path / "repository")

    monkeypatch.setattr(library, "snapshot_download", download)
    return asked


def test_a_repository_of_the_hub(hub: list, tmp_path: Path) -> None:
    model = ours("vit", seed=1)
    vitrail.load_weights(model, "hf-hub:timm/vit_tiny@main")
    assert torch.equal(logits(model, images(model)), logits(ours("vit"), images(model)))
    assert hub == [("timm/vit_tiny", "main", DOWNLOADED)]
    convert("hf-hub:timm/vit_tiny", tmp_path / "made")
    assert hub[1][:2] == ("timm/vit_tiny", None)


def test_no_code_is_asked_for() -> None:
    assert not [pattern for pattern in DOWNLOADED if pattern.endswith((".py", ".bin", "*"))]


def test_a_pickle_is_fetched_only_where_nothing_else_is(
    hub: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    folder = tmp_path / "repository"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        hub.append((repository, revision, tuple(allow_patterns)))
        if "pytorch_model.bin" in allow_patterns:
            torch.save(tensors, folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    vitrail.load_weights(ours("vit", seed=1), "hf-hub:timm/vit_tiny")
    assert [asked[2][-1] for asked in hub] == [DOWNLOADED[-1], "pytorch_model.bin"]


def test_a_name_of_timm_leads_to_its_repository(hub: list, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = needs("timm")
    vitrail.load_weights(ours("vit", seed=1), "timm:vit_tiny_patch16_224")
    assert hub[0][0] == timm.get_pretrained_cfg("vit_tiny_patch16_224").hf_hub_id
    with pytest.raises(UsageError, match=r"knows no such model"):
        open_source("timm:vit_nothing")
    elsewhere = SimpleNamespace(hf_hub_id="", url="https://example.org/w.pth")
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: elsewhere)
    with pytest.raises(UsageError, match=r"its file is at https://example\.org/w\.pth"):
        open_source("timm:vit_tiny_patch16_224")


def test_the_best_of_a_run_is_found_while_a_better_one_takes_its_place(tmp_path: Path) -> None:
    """Between two renames the old one stands aside."""
    model = ours("vit")
    vitrail.save_weights(model, tmp_path / "w.safetensors")
    convert(tmp_path / "w.safetensors", tmp_path / "run" / "model" / "best")
    (tmp_path / "run" / "model" / "best").rename(tmp_path / "run" / "model" / ".best.old")
    other = ours("vit", seed=1)
    vitrail.load_weights(other, tmp_path / "run")
    assert torch.equal(logits(other, images(other)), logits(model, images(model)))


def test_a_run_without_a_model_yet_is_told_from_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no weights there; expected one of .*, or a run folder$"):
        open_source(tmp_path)
    (tmp_path / "run.json").touch()
    with pytest.raises(UsageError, match=r"has no model yet: its run has reached no checkpoint"):
        vitrail.load_weights(ours("vit"), tmp_path)


@pytest.mark.parametrize("error", [OSError("no route to host"), ValueError("repository not found"), RuntimeError()])
def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*words: object, **options: object) -> str:
        raise error

    monkeypatch.setattr(needs("huggingface_hub"), "snapshot_download", download)
    with pytest.raises(UsageError, match=r"could not be fetched .*check the name and the network, or download it"):
        open_source("hf-hub:timm/vit_tiny")


@pytest.mark.parametrize(("scheme", "package"), [("hf-hub:a/b", "huggingface_hub"), ("timm:vit_tiny", "timm")])
def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:  # fmt: skip
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == package:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=f"pip install {package}"):
        open_source(scheme)


@pytest.mark.parametrize("name", ["hf-hub:vit", "hf-hub:a/b/c", "hf-hub:../etc/passwd", "hf-hub:"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected hf-hub:ORG/NAME"):
        open_source(name)


def test_a_file_in_a_folder_with_its_config_is_the_folder(tmp_path: Path) -> None:
    vitrail.save_weights(ours("vit", eps=1e-3), tmp_path / "saved", "huggingface")
    assert open_source(tmp_path / "saved" / "model.safetensors").config["layer_norm_eps"] == 1e-3


@pytest.mark.parametrize("name", ["weights.onnx", "weights", "weights.json"])
def test_a_file_of_another_kind_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="no known kind of weights"):
        open_source(tmp_path / name)


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights there"):
        open_source(tmp_path)


def test_tensors_of_no_known_layout_are_said(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.zeros(2), "b": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(IntegrityError, match=r"2 tensors of no known layout \(b, conv\.weight\)"):
        convert(tmp_path / "w.safetensors", tmp_path / "made")
