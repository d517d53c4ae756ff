"""No file runs code, claims more memory than it has, or ends in a traceback: exit 5, no sentinel, nothing written."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

sys.path.insert(0, str(Path(__file__).parent))

from small import MODELS, ours

import vitrail
from vitrail.checkpoints import pickles, unpickle
from vitrail.checkpoints.door import of_one_layout
from vitrail.checkpoints.identify import identify
from vitrail.checkpoints.pickles import read_pickle
from vitrail.checkpoints.sources import open_source
from vitrail.checkpoints.tensorfile import read_npz, read_safetensors
from vitrail.cli.main import main
from vitrail.errors import IntegrityError, VitrailError


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.sentinel,))


def _plant(kind: str, folder: Path, sentinel: Path) -> Path:
    """A hostile file of a kind; every one would touch the sentinel if it were simply unpickled."""
    bomb = Bomb(sentinel)
    if kind == "zip.pt":
        torch.save({"model": bomb}, folder / kind)
    elif kind in ("legacy.pth", "checkpoint.tar"):
        torch.save(
            {"state_dict": {"x": torch.zeros(2), "y": bomb}}, folder / kind, _use_new_zipfile_serialization=False
        )
    elif kind in ("plain.bin", "model.safetensors"):
        (folder / kind).write_bytes(pickle.dumps(bomb))
    elif kind == "zip-as-model.safetensors":
        torch.save({"model": bomb}, folder / kind)
    elif kind == "objects.npz":
        np.savez(folder / kind, **{"embedding/kernel": np.array([bomb], dtype=object)})
    elif kind == "pickle-as.npz":
        (folder / kind).write_bytes(pickle.dumps(bomb))
    elif kind == "metadata.safetensors":
        said = pickle.dumps(bomb).hex()
        save_file({"backbone.x": torch.zeros(1)}, folder / kind, metadata={"vitrail": said})
    elif kind == "class-in-metadata.safetensors":
        said = {
            "model": {
                "name": "vit_tiny",
                "options": {"_target_": "pathlib.Path.touch", "activation": "os.system"},
                "labels": [],
            }
        }
        save_file({"backbone.x": torch.zeros(1)}, folder / kind, metadata={"vitrail": json.dumps(said)})
    elif kind == "folder":
        made = folder / kind
        made.mkdir()
        torch.save({"model": bomb}, made / "pytorch_model.bin")
        config = {"model_type": "vit", "auto_map": {"AutoModel": "evil.Model"}, "hidden_act": "os.system"}
        (made / "config.json").write_text(json.dumps(config))
        (made / "evil.py").write_text(f"open({str(sentinel)!r}, 'w')\nclass Model: pass\n")
    return folder / kind


KINDS = [
    "zip.pt", "legacy.pth", "checkpoint.tar", "plain.bin", "model.safetensors", "zip-as-model.safetensors",
    "objects.npz", "pickle-as.npz", "metadata.safetensors", "class-in-metadata.safetensors", "folder",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_runs_nothing_and_ends_with_5(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sentinel = tmp_path / "ran"
    source = _plant(kind, tmp_path, sentinel)
    assert main(["convert", str(source), str(tmp_path / "made")]) == 5
    assert not sentinel.exists()
    assert not (tmp_path / "made").exists()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 2


def test_the_bombs_are_live(tmp_path: Path) -> None:
    """Read carelessly, they do what they say: the tests above prove something."""
    sentinel = tmp_path / "ran"
    torch.load(_plant("zip.pt", tmp_path, sentinel), weights_only=False)
    assert sentinel.exists()


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    "content",
    ["{", "[]", "null", '{"model_type": ["vit"]}', '{"model_type": "vit", "hidden_size": {"a": 1}}', "[" * 100_000,
     '{"model_type": "vit", "image_mean": "os.system", "resample": {}}', '{"architecture": {}, "model_args": []}',
     '{"architecture": "vit_tiny_patch16_224", "model_args": {"depth": "__import__"}}',
     '{"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 1e30, "img_size": [1, 2, 3]}}',
     '{"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [[]], "std": 3, "crop_pct": "x"}}',
     '{"format": 1, "config": {"data": {"source": "!!python/object:os.system"}}}', "\xff\xfe"],
)  # fmt: skip
def test_a_config_that_makes_no_sense_is_said(tmp_path: Path, name: str, content: str) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    model = vitrail.create_model("vit_tiny", outputs=3, depth=1, image_size=32)
    vitrail.save_weights(model, tmp_path / "hf", "huggingface")
    for path in (tmp_path / "hf").iterdir():
        path.rename(folder / path.name)
    (folder / name).write_bytes(content.encode("latin-1"))
    code = main(["convert", str(folder), str(tmp_path / "made"), "--model", "vit_tiny_patch16_224"])
    assert code in (0, 2, 5)  # what is said of nothing that is computed is passed over


@pytest.mark.parametrize(
    ("case", "name", "shape"),
    [("vit", "backbone.pos_embed", ()), ("vit", "backbone.pos_embed", (17,)),
     ("vit", "backbone.patch_embed.proj.weight", (192,)), ("vit", "head.fc.weight", ()),
     ("swin", "backbone.levels.0.blocks.0.attn.bias_table", (507,)), ("pvt", "backbone.levels.0.pos_embed", ())],
)  # fmt: skip
@pytest.mark.parametrize("named", [True, False])
def test_a_tensor_of_too_few_dimensions_is_said(
    tmp_path: Path, case: str, name: str, shape: tuple[int, ...], named: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ours(case)
    save_file({**model.state_dict(), name: torch.zeros(shape)}, tmp_path / "bare.safetensors")
    words = ["--model", MODELS[case][0]] if named else []
    assert main(["convert", str(tmp_path / "bare.safetensors"), str(tmp_path / "made"), *words]) in (2, 5)
    assert "bug in Vitrail" not in capsys.readouterr().err
    with pytest.raises(IntegrityError):
        vitrail.load_weights(model, tmp_path / "bare.safetensors")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.sampled_from(["", "gelu", "bicubic", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["height", "shortest_edge", "0"]), inner)
    ),
    max_leaves=4,
)
KEYS = {
    "huggingface": ["model_type", "hidden_size", "depths", "image_size", "hidden_act", "id2label", "patch_size",
                    "hidden_sizes", "num_attention_heads", "layer_norm_eps", "qkv_bias", "num_channels"],
    "timm": ["architecture", "model_args", "pretrained_cfg", "label_names", "input_size", "mean", "crop_pct",
             "interpolation", "depth", "img_size", "global_pool", "act_layer", "init_values", "no_embed_class"],
    "processor": ["size", "crop_size", "do_center_crop", "resample", "image_mean", "image_std", "crop_pct"],
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind with its configs."""
    folder = tmp_path_factory.mktemp("written")
    model = vitrail.create_model("vit_tiny", outputs=3, depth=1, image_size=32)
    for layout in ("timm", "huggingface"):
        vitrail.save_weights(model, folder / layout, layout)
    return {layout: folder / layout for layout in ("timm", "huggingface")}


@settings(max_examples=150, deadline=None)
@given(layout=st.sampled_from(["timm", "huggingface"]), changes=st.data())
def test_any_value_in_a_config_is_no_traceback(written: dict[str, Path], layout: str, changes: st.DataObject) -> None:
    bundle = open_source(written[layout])
    config, processor = dict(bundle.config), dict(bundle.processor)
    inside = config["model_args"] = dict(config.get("model_args", {}))
    prepared = config["pretrained_cfg"] = dict(config.get("pretrained_cfg", {}))
    for key, value in changes.draw(st.dictionaries(st.sampled_from(KEYS[layout]), JSON, max_size=3)).items():
        where = inside if key in inside else prepared if key in prepared else config
        where[key] = value
    processor |= changes.draw(st.dictionaries(st.sampled_from(KEYS["processor"]), JSON, max_size=3))
    changed = replace(bundle, config=config, processor=processor)
    try:
        found, tensors, tables = of_one_layout(changed)
        identify(found, tables, tensors, found.claims(changed), "vit_tiny_patch16_224")
        said = ""
    except VitrailError as error:
        said = str(error)
    assert len(said) < 600


# ---------------------------------------------------------------------------------------------------- bombs of memory


def test_a_zip_bomb_in_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
        bomb.writestr("archive/data/9", b"\0" * (200 << 20), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 1 << 20
    with pytest.raises(IntegrityError, match="compressed"):
        read_pickle(tmp_path / "bomb.pt")


def test_a_tensor_that_repeats_one_value_for_ever_is_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1).expand(1 << 40)}, tmp_path / "wide.pt")
    with pytest.raises(IntegrityError, match="claims more values"):
        read_pickle(tmp_path / "wide.pt")


def test_a_zip_bomb_as_npz_is_refused_unread(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", **{"embedding/kernel": np.zeros((100 << 20) // 4, np.float32)})
    with pytest.raises(IntegrityError, match="would unpack"):
        read_npz(tmp_path / "bomb.npz")


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "wide.npz", "w") as archive:
        archive.writestr("embedding/kernel.npy", header.getvalue() + b"\0" * 64)
    with pytest.raises(IntegrityError, match="claims more"):
        read_npz(tmp_path / "wide.npz")


@pytest.mark.parametrize("length", [1 << 62, 200 << 20, 101 << 20, 9])
def test_an_oversized_header_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}" + b" " * 64)
    with pytest.raises(IntegrityError, match="no whole safetensors"):
        read_safetensors(tmp_path / "model.safetensors")


def test_a_shard_outside_its_folder_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "secret.safetensors")
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../secret.safetensors"}}))
    with pytest.raises(IntegrityError, match="outside its folder"):
        open_source(folder)


# ------------------------------------------------------------------------------------------------------ the child


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"x": torch.zeros(2)}, tmp_path / "w.pt")
    program = tmp_path / "hang.py"
    program.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(pickles, "PROGRAM", program)
    monkeypatch.setattr(pickles, "SECONDS", 0.5)
    with pytest.raises(IntegrityError, match="too long"):
        read_pickle(tmp_path / "w.pt")


@pytest.mark.parametrize("ends", ["os.kill(os.getpid(), 11)", "print('[[['); sys.exit(0)", "sys.exit(3)"])
def test_a_child_that_crashes_is_one_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    torch.save({"x": torch.zeros(2)}, tmp_path / "w.pt")
    program = tmp_path / "crash.py"
    program.write_text(f"import os, sys\n{ends}\n")
    monkeypatch.setattr(pickles, "PROGRAM", program)
    with pytest.raises(IntegrityError):
        read_pickle(tmp_path / "w.pt")


def test_the_child_is_limited_before_it_reads(tmp_path: Path) -> None:
    """Memory, processor time and what it may write; asked of a child that has limited itself."""
    import subprocess

    code = (
        f"import sys; sys.path.insert(0, {str(Path(unpickle.__file__).parent)!r}); import resource, unpickle;"
        "unpickle._limit(1000);"
        "names = ('RLIMIT_AS', 'RLIMIT_CPU', 'RLIMIT_FSIZE', 'RLIMIT_CORE');"
        "print([resource.getrlimit(getattr(resource, name))[0] for name in names])"
    )
    made = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    memory, seconds, written, core = json.loads(made.stdout)
    assert 0 < memory < 4 << 30
    assert 0 < seconds < 200
    assert 0 < written < 100 << 20
    assert core == 0


def test_the_environment_s_secrets_do_not_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert "SECRET_TOKEN" not in pickles.KEPT
    torch.save({"x": torch.zeros(2)}, tmp_path / "w.pt")
    program = tmp_path / "tell.py"
    program.write_text("import json, os\nprint(json.dumps({'refused': ' '.join(sorted(os.environ))}))\n")
    monkeypatch.setattr(pickles, "PROGRAM", program)
    with pytest.raises(IntegrityError) as error:
        read_pickle(tmp_path / "w.pt")
    assert "SECRET_TOKEN" not in str(error.value)


@pytest.mark.parametrize("wrapper", ["", "model", "state_dict"])
def test_an_honest_pickle_comes_back_as_it_was(tmp_path: Path, wrapper: str) -> None:
    """Shared, transposed, whole-number and half-precision tensors too."""
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": base, "b": base.T, "c": base[1:], "n": torch.tensor(7), "h": base.half(), "bf": base.bfloat16()}
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, tmp_path / "w.pth")
    read, found, beside = read_pickle(tmp_path / "w.pth")
    assert beside == ("epoch" if wrapper else "")
    assert found == wrapper
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


# ------------------------------------------------------------------------------------------------------- any bytes


ANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WHOLE = save({"backbone.norm.weight": torch.arange(8.0), "head.fc.bias": torch.zeros(3)}, metadata={"format": "pt"})


@ANY
@given(place=st.integers(0, len(WHOLE) - 1), put=st.binary(min_size=1, max_size=12), cut=st.integers(0, 40))
def test_a_corrupted_safetensors_header_is_no_traceback(tmp_path: Path, place: int, put: bytes, cut: int) -> None:
    raw = WHOLE[:place] + put + WHOLE[place + len(put) :]
    file = tmp_path / "model.safetensors"
    file.write_bytes(raw[: len(raw) - cut])
    model = torch.nn.Linear(2, 2)
    with pytest.raises(VitrailError):
        vitrail.load_weights(model, file)


@ANY
@given(header=st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["x", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4
    ),
    max_leaves=12,
))  # fmt: skip
def test_any_json_as_a_header_is_no_traceback(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 32)
    with pytest.raises(VitrailError):
        vitrail.load_weights(torch.nn.Linear(2, 2), file)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole .npz."""
    file = tmp_path_factory.mktemp("npz") / "w.npz"
    np.savez(file, **{"embedding/kernel": np.zeros((2, 2, 3, 4), np.float32), "head/bias": np.zeros(3)})
    return file.read_bytes()


@ANY
@given(data=st.data())
def test_a_corrupted_npz_is_no_traceback(tmp_path: Path, archive: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(archive) - 1))
    put = data.draw(st.binary(min_size=1, max_size=12))
    file = tmp_path / "w.npz"
    file.write_bytes(
        (archive[:place] + put + archive[place + len(put) :])[: len(archive) - data.draw(st.integers(0, 60))]
    )
    try:
        tensors = read_npz(file)
    except VitrailError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
