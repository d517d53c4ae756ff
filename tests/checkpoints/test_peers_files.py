"""Files that timm, torchvision and transformers write are read by `vitrail convert` and compute the same here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from small import close, logits, needs, shake

import vitrail
from vitrail.checkpoints.conversion import convert
from vitrail.cli.main import main
from vitrail.errors import UsageError

Options = Mapping[str, Any]


def _agrees(theirs: nn.Module, source: Path, *words: str) -> vitrail.Predictor:
    """Convert with the command, and compare logits; returns the predictor of the model folder."""
    dest = source.parent / "made"
    assert main(["convert", str(source), str(dest), *words]) == 0
    predictor = vitrail.load(dest)
    height, width = predictor.artifact.preprocessor.size
    pictures = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))
    assert close(logits(predictor.artifact.model, pictures), logits(theirs.eval(), pictures))
    return predictor


# ------------------------------------------------------------------------------------------------------------- timm


TIMM: list[tuple[str, Options]] = [
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"depth": 1, "img_size": (32, 32), "act_layer": "gelu_tanh", "num_heads": 6}),
    ("vit_tiny_patch16_224", {"depth": 1, "img_size": 64, "class_token": False, "global_pool": "map"}),
    (
        "vit_tiny_patch16_224",
        {"depth": 1, "img_size": 64, "class_token": False, "global_pool": "avg", "fc_norm": False},
    ),
    ("vit_tiny_patch16_224", {"depth": 1, "img_size": 64, "reg_tokens": 4}),
    ("vit_tiny_patch16_224", {"depth": 1, "img_size": 64, "reg_tokens": 4, "no_embed_class": True}),
    ("vit_tiny_patch16_224", {"depth": 1, "img_size": 64, "qk_norm": True, "qkv_bias": False}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("deit3_small_patch16_224", {"depth": 2}),
    ("swin_tiny_patch4_window7_224", {}),
    ("swinv2_tiny_window8_256", {"depths": (1, 1, 2, 1)}),
    ("swinv2_base_window12to24_192to384", {"depths": (1, 1, 1, 1), "embed_dim": 32, "num_heads": (1, 2, 4, 8)}),
    ("pvt_v2_b0", {}),
    ("pvt_v2_b2_li", {"depths": (1, 1, 1, 1)}),
    ("resnet18", {}),
    ("convnext_tiny", {"depths": (1, 1, 1, 1)}),
]


@pytest.mark.parametrize(("name", "options"), TIMM, ids=[f"{name}{i}" for i, (name, _) in enumerate(TIMM)])
def test_a_folder_of_timm(tmp_path: Path, name: str, options: Options) -> None:
    timm = needs("timm")
    from timm.models._hub import save_for_hf

    theirs = timm.create_model(name, **{"num_classes": 7, **options})
    shake(theirs)
    labels = [f"class {i}" for i in range(7)]
    save_for_hf(theirs, tmp_path / "source", {"label_names": labels}, safe_serialization=True)
    predictor = _agrees(theirs, tmp_path / "source")
    preprocessor, config = predictor.artifact.preprocessor, theirs.pretrained_cfg
    assert preprocessor.mean == tuple(config["mean"])
    assert preprocessor.crop_fraction == config["crop_pct"]
    assert preprocessor.interpolation == config["interpolation"]
    assert list(predictor.artifact.task.labels) == labels


@pytest.mark.parametrize(("file", "wrapper"), [("w.safetensors", ""), ("w.pth", ""), ("w.pth", "state_dict")])
def test_a_bare_file_of_timm_leaves_vit_and_deit_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, wrapper: str
) -> None:
    theirs, source = needs("timm").create_model("vit_tiny_patch16_224", num_classes=7), tmp_path / file
    shake(theirs)
    tensors = theirs.state_dict()
    save_file(tensors, source) if "safe" in file else torch.save({wrapper: tensors} if wrapper else tensors, source)
    assert main(["convert", str(source), str(tmp_path / "made")]) == 2
    said = capsys.readouterr().err
    assert "may be those of vit_tiny_patch16_224, deit_tiny_patch16_224;" in said
    assert "say which with --model" in said
    assert not (tmp_path / "made").exists()
    predictor = _agrees(theirs, source, "--model", "deit_tiny_patch16_224")
    assert predictor.artifact.preprocessor.mean == (0.485, 0.456, 0.406)
    read = convert(source, tmp_path / "other", model="vit_tiny_patch16_224").report
    assert (read.model, read.layout) == ("vit_tiny_patch16_224", "timm")


@pytest.mark.parametrize(
    ("name", "wrapper", "layout"),
    [("deit_tiny_patch16_224", "model", "official"), ("deit_tiny_distilled_patch16_224", "", "timm"),
     ("deit3_small_patch16_224", "", "official")],
)  # fmt: skip
def test_what_tells_a_deit_in_a_pickle(tmp_path: Path, name: str, wrapper: str, layout: str) -> None:
    """The wrapper of its repository, its distillation token, or the names that its LayerScale has there."""
    theirs = needs("timm").create_model(name, num_classes=7)
    shake(theirs)
    renamed = {key.replace(".ls1.gamma", ".gamma_1").replace(".ls2.gamma", ".gamma_2"): value
               for key, value in theirs.state_dict().items()}  # fmt: skip
    torch.save({wrapper: renamed} if wrapper else renamed, tmp_path / "w.pth")
    report = convert(tmp_path / "w.pth", tmp_path / "made").report
    assert (report.model, report.layout) == (name, layout)
    pictures = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    assert close(logits(vitrail.load(tmp_path / "made").artifact.model, pictures), logits(theirs.eval(), pictures))


def test_timm_s_own_pickle(tmp_path: Path) -> None:
    theirs = needs("timm").create_model("pvt_v2_b0")
    shake(theirs)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "pvt.pth")
    _agrees(theirs, tmp_path / "pvt.pth")  # only one model of the catalogue has these shapes


SMALL_V2 = {"depths": (1, 2), "embed_dim": 32, "num_heads": (1, 2), "window_size": 8, "num_classes": 7}


def _small_v2(folder: Path) -> tuple[nn.Module, nn.Module]:
    """A Swin V2 of timm for 32 px, written to `folder`, whose second level is one window of 4 cells a side, and the
    same weights at 64 px, where that window has 8: the bias network is still asked in the scale it was trained with."""
    timm = needs("timm")
    from timm.models._hub import save_for_hf

    made = [
        timm.create_model("swinv2_tiny_window8_256", img_size=size, pretrained_window_sizes=windows, **SMALL_V2)
        for size, windows in ((32, (0, 0)), (64, (8, 4)))
    ]
    shake(made[0])
    learned = [name for name, _ in made[0].named_parameters()]
    made[1].load_state_dict({name: made[0].state_dict()[name] for name in learned}, strict=False)
    save_for_hf(made[0], folder, model_args={**SMALL_V2, "img_size": 32}, safe_serialization=True)
    return made[0].eval(), made[1].eval()


def test_a_swin_v2_set_to_another_size_measures_offsets_as_before(tmp_path: Path) -> None:
    theirs, larger = _small_v2(tmp_path / "source")
    _agrees(theirs, tmp_path / "source")
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    expected = logits(larger, pictures)
    size = ("--image-size", "64")
    for source, dest, words in (
        ("source", "set", size), ("made", "own", size), ("source", "file.safetensors", size),
        ("file.safetensors", "back", ()),
    ):  # fmt: skip
        assert main(["convert", str(tmp_path / source), str(tmp_path / dest), *words]) == 0
    for folder in ("set", "own", "back"):
        assert close(logits(vitrail.load(tmp_path / folder).artifact.model, pictures), expected)
    assert main(["convert", str(tmp_path / "source"), str(tmp_path / "timm"), "--to", "timm", *size]) == 0
    again = needs("timm").create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    assert close(logits(again, pictures), expected)
    assert main(["convert", str(tmp_path / "source"), str(tmp_path / "w.pth"), "--to", "official", *size]) == 2


def test_weights_into_a_swin_v2_of_another_size_must_be_measured_as_they_were(tmp_path: Path) -> None:
    _, larger = _small_v2(tmp_path / "source")
    shape = {"depths": (1, 2), "width": 32, "heads": (1, 2), "image_size": 64, "outputs": 7}
    model = vitrail.create_model("swinv2_tiny_window8_256", **shape)
    with pytest.raises(UsageError, match=r"create it with pretrained_window=\(8, 4\)"):
        vitrail.load_weights(model, tmp_path / "source")
    model = vitrail.create_model("swinv2_tiny_window8_256", **shape, pretrained_window=(8, 4)).eval()
    vitrail.load_weights(model, tmp_path / "source")
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert close(logits(model, pictures), logits(larger, pictures))


# ------------------------------------------------------------------------------------------------------ transformers


def _transformers() -> dict[str, tuple[str, str, Options]]:
    plain = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "image_size": 64,
    }
    swin = {"embed_dim": 32, "depths": [1, 2], "num_heads": [1, 2]}
    pvt = {"depths": [1, 1, 2, 1], "hidden_sizes": [16, 32, 64, 64], "num_attention_heads": [1, 2, 2, 2]}
    basic = {"depths": [1, 1, 1, 1], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
    tanh = {"layer_norm_eps": 1e-3, "hidden_act": "gelu_pytorch_tanh"}
    return {
        "vit": ("ViT", "ForImageClassification", plain),
        "vit-eps": ("ViT", "ForImageClassification", {**plain, **tanh}),
        "vit-no-bias": ("ViT", "ForImageClassification", {**plain, "qkv_bias": False}),
        "deit": ("DeiT", "ForImageClassificationWithTeacher", {**plain, "layer_norm_eps": 1e-6}),
        "swin": ("Swin", "ForImageClassification", {**swin, "image_size": 56}),
        "swinv2": ("Swinv2", "ForImageClassification", {**swin, "image_size": 64, "window_size": 8}),
        "swinv2-from-6": (
            "Swinv2", "ForImageClassification",
            {**swin, "image_size": 64, "window_size": 8, "pretrained_window_sizes": [6, 6]},
        ),
        "pvt": ("Pvt", "ForImageClassification", {**pvt, "image_size": 64}),
        "pvt_v2": ("PvtV2", "ForImageClassification", {**pvt, "image_size": 64}),
        "pvt_v2-linear": ("PvtV2", "ForImageClassification", {**pvt, "image_size": 64, "linear_attention": True}),
        "resnet": ("ResNet", "ForImageClassification", basic),
        "resnet-bottleneck": ("ResNet", "ForImageClassification", {"depths": [1, 1, 1, 1]}),
        "convnext": ("ConvNext", "ForImageClassification", {"depths": [1, 1, 2, 1], "hidden_sizes": [16, 32, 64, 128]}),
    }  # fmt: skip


def _theirs(case: str) -> nn.Module:
    transformers = needs("transformers")
    name, head, options = _transformers()[case]
    config = getattr(transformers, f"{name}Config")(**options, num_labels=5)
    theirs: nn.Module = getattr(transformers, f"{name}{head}")(config)
    shake(theirs)
    return theirs


@pytest.mark.parametrize("case", _transformers())
def test_a_folder_of_transformers(tmp_path: Path, case: str) -> None:
    theirs = _theirs(case)
    theirs.config.id2label = {0: "crane", 1: "cat", 2: "dog", 3: "owl", 4: "crane"}
    theirs.save_pretrained(tmp_path / "source")
    side = theirs.config.image_size if hasattr(theirs.config, "image_size") else 224
    side = side if isinstance(side, int) else side[0]
    processor = needs("transformers").ViTImageProcessor(
        size={"height": side, "width": side}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=2
    )
    processor.save_pretrained(tmp_path / "source")
    predictor = _agrees(theirs, tmp_path / "source")
    preprocessor = predictor.artifact.preprocessor
    assert (preprocessor.mean, preprocessor.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (preprocessor.resize, preprocessor.interpolation) == ("squash", "bilinear")
    assert list(predictor.artifact.task.labels) == ["crane (0)", "cat", "dog", "owl", "crane (4)"]


@pytest.mark.parametrize("case", ["vit", "deit", "swin"])
def test_names_of_transformers_5_in_memory(tmp_path: Path, case: str) -> None:
    """The same file with the names of the modules themselves."""
    theirs = _theirs(case)
    theirs.save_pretrained(tmp_path / "source")
    on_disk = set(load_file(tmp_path / "source" / "model.safetensors"))
    state = {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    assert on_disk != set(state)
    save_file(state, tmp_path / "source" / "model.safetensors", metadata={"format": "pt"})
    _agrees(theirs, tmp_path / "source", *(["--model", "vit_tiny_patch16_224"] if case == "vit" else []))


def test_a_model_of_transformers_without_a_head(tmp_path: Path) -> None:
    """ViTModel's file lacks the name in front and has a pooler, which a new head replaces."""
    transformers = needs("transformers")
    theirs = transformers.ViTModel(_theirs("vit").config)
    shake(theirs)
    theirs.save_pretrained(tmp_path / "source")
    words = ["convert", str(tmp_path / "source"), str(tmp_path / "made"), "--model", "vit_tiny_patch16_224"]
    assert main(words) == 5
    assert main([*words, "--new-head", "3"]) == 0
    model = vitrail.load(tmp_path / "made").artifact.model
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert close(model.backbone(pictures).prefix[:, 0], theirs.eval()(pictures).last_hidden_state[:, 0])
    assert model(pictures).shape == (2, 3)


# ------------------------------------------------------------------------------------------- torchvision, papers, JAX


@pytest.mark.parametrize(
    ("name", "model"),
    [("resnet18", "resnet18"), ("swin_t", "swin_tiny_patch4_window7_224"), ("swin_v2_t", "swinv2_tiny_window8_256"),
     ("convnext_tiny", "convnext_tiny")],
)  # fmt: skip
def test_a_state_dict_of_torchvision(tmp_path: Path, name: str, model: str) -> None:
    theirs = getattr(needs("torchvision").models, name)(num_classes=6)
    shake(theirs)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    # of Swin V2 with windows of 8 and 16 the shapes are one
    _agrees(theirs, tmp_path / "weights.pth", *(["--model", model] if "v2" in name else []))


def test_a_vit_of_torchvision(tmp_path: Path) -> None:
    theirs = needs("torchvision").models.VisionTransformer(64, 16, 2, 3, 192, 768, num_classes=6)
    shake(theirs)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    _agrees(theirs, tmp_path / "weights.pth", "--model", "vit_tiny_patch16_224")


def _as_google(theirs: nn.Module, big_vision: bool, prefix: str = "", stacked: bool = False) -> dict[str, np.ndarray]:
    """timm's tensors as JAX keeps them, written by the table of names alone (reference table 5.1)."""
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    attention, norm2, mlp = (f"MultiHeadDotProductAttention_{int(not big_vision)}",
                             "LayerNorm_1" if big_vision else "LayerNorm_2",
                             "MlpBlock_0" if big_vision else "MlpBlock_3")  # fmt: skip
    heads = theirs.blocks[0].attn.num_heads
    made = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "cls": state["cls_token"],
        ("pos_embedding" if big_vision else "Transformer/posembed_input/pos_embedding"): state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    blocks: list[dict[str, np.ndarray]] = []
    for i in range(len(theirs.blocks)):
        own = f"blocks.{i}."
        block = {}
        width = state[f"{own}norm1.weight"].size
        for jax, name in (("LayerNorm_0", "norm1"), (norm2, "norm2")):
            block |= {f"{jax}/scale": state[f"{own}{name}.weight"], f"{jax}/bias": state[f"{own}{name}.bias"]}
        for index, part in enumerate(("query", "key", "value")):
            rows = slice(index * width, (index + 1) * width)
            block[f"{attention}/{part}/kernel"] = state[f"{own}attn.qkv.weight"][rows].T.reshape(width, heads, -1)
            block[f"{attention}/{part}/bias"] = state[f"{own}attn.qkv.bias"][rows].reshape(heads, -1)
        block[f"{attention}/out/kernel"] = state[f"{own}attn.proj.weight"].T.reshape(heads, -1, width)
        block[f"{attention}/out/bias"] = state[f"{own}attn.proj.bias"]
        for jax, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            block[f"{mlp}/{jax}/kernel"] = state[f"{own}mlp.{name}.weight"].T
            block[f"{mlp}/{jax}/bias"] = state[f"{own}mlp.{name}.bias"]
        blocks.append(block)
    for name in blocks[0]:
        if stacked:
            made[f"Transformer/encoderblock/{name}"] = np.stack([block[name] for block in blocks])
        else:
            made |= {f"Transformer/encoderblock_{i}/{name}": block[name] for i, block in enumerate(blocks)}
    return {prefix + name: np.ascontiguousarray(array) for name, array in made.items()}


@pytest.mark.parametrize(
    ("big_vision", "prefix", "stacked", "compressed"),
    [(False, "", False, False), (False, "opt/target/", False, True), (True, "params/", False, False),
     (True, "params/img/", True, False), (True, "", True, True)],
)  # fmt: skip
@pytest.mark.parametrize("placed", [True, False])
def test_an_npz_of_google(
    tmp_path: Path, big_vision: bool, prefix: str, stacked: bool, compressed: bool, placed: bool
) -> None:  # fmt: skip
    theirs = needs("timm").create_model(
        "vit_tiny_patch16_224", depth=2, img_size=64, num_classes=7, act_layer="gelu_tanh", no_embed_class=not placed
    )
    shake(theirs)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "weights.npz", **_as_google(theirs, big_vision, prefix, stacked))
    predictor = _agrees(theirs, tmp_path / "weights.npz", "--model", "vit_tiny_patch16_224")
    assert predictor.artifact.model.backbone.config.activation == "gelu_tanh"


def test_a_bfloat16_array_of_jax(tmp_path: Path) -> None:
    """NumPy keeps JAX's bfloat16 as two bytes without a meaning."""
    theirs = needs("timm").create_model(
        "vit_tiny_patch16_224", depth=1, img_size=64, num_classes=7, act_layer="gelu_tanh"
    )
    shake(theirs)
    theirs.load_state_dict({name: tensor.bfloat16().float() for name, tensor in theirs.state_dict().items()})
    arrays = _as_google(theirs, big_vision=False)
    halves = {name: (a.view(np.uint32) >> 16).astype(np.uint16).view("V2") for name, a in arrays.items()}
    np.savez(tmp_path / "weights.npz", **halves)
    _agrees(theirs, tmp_path / "weights.npz", "--model", "vit_tiny_patch16_224")


def test_the_papers_swin_with_its_buffers(tmp_path: Path) -> None:
    """The official file keeps the index and the mask, which are computed; merging ends a stage there."""
    theirs = needs("timm").create_model("swin_tiny_patch4_window7_224", depths=(2, 2, 2, 2), num_classes=7)
    shake(theirs)
    state: dict[str, Tensor] = {}
    for name, tensor in theirs.state_dict().items():
        if "downsample" in name:
            level = int(name.split(".")[1])
            name = name.replace(f"layers.{level}.", f"layers.{level - 1}.", 1)
        state[name.replace("head.fc.", "head.")] = tensor
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    torch.save({"model": state}, tmp_path / "swin.pth")
    _agrees(theirs, tmp_path / "swin.pth", "--model", "swin_tiny_patch4_window7_224")
    report = convert(tmp_path / "swin.pth", tmp_path / "again", model="swin_tiny_patch4_window7_224").report
    assert (report.layout, report.counts()["derived"]) == ("official", 2)


def test_a_model_cut_into_shards(tmp_path: Path) -> None:
    theirs = _theirs("vit")
    theirs.save_pretrained(tmp_path / "source", max_shard_size="100kB")
    listed = json.loads((tmp_path / "source" / "model.safetensors.index.json").read_text())
    assert len(set(listed["weight_map"].values())) > 1
    _agrees(theirs, tmp_path / "source", "--model", "vit_tiny_patch16_224")


def test_half_precision_is_said(tmp_path: Path) -> None:
    theirs = needs("timm").create_model("pvt_v2_b0").half()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    report = convert(tmp_path / "weights.safetensors", tmp_path / "made").report
    assert {entry.note for entry in report.entries} == {"float16 to float32"}
    assert set(report.counts()) == {"converted"}
