"""Every tensor stands in the account once; a partial load raises with counts and names, and changes nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))

from small import close, images, logits, needs, ours

import vitrail
from vitrail.checkpoints.conversion import convert, unique
from vitrail.errors import IntegrityError, UsageError


def _saved(folder: Path, case: str, layout: str, **options: object) -> Path:
    vitrail.save_weights(ours(case, **options), folder / "saved", layout)
    return folder / "saved"


def _edit(folder: Path, change) -> None:
    """Change the tensors of a folder's file."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("layout", ["timm", "huggingface"])
@pytest.mark.parametrize("fault", ["missing", "left over", "differs", "several"])
def test_a_partial_load_raises_and_changes_nothing(tmp_path: Path, layout: str, fault: str) -> None:
    source = _saved(tmp_path, "vit", layout)
    norm = "norm.weight" if layout == "timm" else "vit.layernorm.weight"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        if fault in ("missing", "several"):
            del tensors[norm]
        if fault in ("left over", "several"):
            tensors["extra.one"], tensors["extra.two"] = torch.zeros(1), torch.zeros(2)
        if fault == "differs":
            tensors[norm] = torch.zeros(7)

    _edit(source, change)
    model = ours("vit", seed=1)
    before = _state(model)
    with pytest.raises(IntegrityError, match="nothing was loaded") as error:
        vitrail.load_weights(model, source)
    said = str(error.value)
    assert error.value.exit_code == 5
    if fault in ("missing", "several"):
        assert "1 tensor of the model is not in the file (backbone.norm.weight" in said
        assert norm in said  # the name it was looked for under
    if fault in ("left over", "several"):
        assert "2 tensors of the file are not in the model (extra.one, extra.two)" in said
    if fault == "differs":
        assert "1 tensor differs in shape or kind (backbone.norm.weight: 7 for 192)" in said
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(IntegrityError):
        convert(source, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_two_of_many_tensors_are_no_success(tmp_path: Path) -> None:
    """The load that gave this test its reason: a file that shares two names with the model."""
    source = _saved(tmp_path, "vit", "timm")

    def keep_two(tensors: dict[str, torch.Tensor]) -> None:
        for name in [n for n in tensors if n not in ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight")]:
            del tensors[name]

    _edit(source, keep_two)
    with pytest.raises(IntegrityError, match="30 tensors of the model are not in the file"):
        vitrail.load_weights(ours("vit"), source)


def test_q_k_and_v_of_other_sizes_are_said(tmp_path: Path) -> None:
    source = _saved(tmp_path, "vit", "huggingface")
    name = "vit.encoder.layer.0.attention.attention.key.weight"
    _edit(source, lambda tensors: tensors.update({name: torch.zeros(3, 5)}))
    with pytest.raises(IntegrityError, match=r"encoder\.0\.attn\.qkv\.weight: .*3 x 5.* cannot be 3 tensors to 1"):
        vitrail.load_weights(ours("vit"), source)


# --------------------------------------------------------------------------------------------------------- the report


def test_the_report_names_every_tensor_once(tmp_path: Path) -> None:
    source = _saved(tmp_path, "swin_v2", "huggingface")
    model = ours("swin_v2", seed=1)
    report = vitrail.load_weights(model, source)
    ours_named = [name for entry in report.entries for name in entry.ours]
    theirs_named = [name for entry in report.entries for name in entry.theirs]
    assert sorted(ours_named) == sorted(model.state_dict())
    assert sorted(theirs_named) == sorted(load_file(source / "model.safetensors"))
    assert report.counts()["converted"] == 3  # q, k, v of each block
    assert report.layout == "huggingface"
    assert report.parameters == sum(tensor.numel() for tensor in model.state_dict().values())
    assert "3 tensors to 1" in {entry.note for entry in report.entries}


def test_the_report_is_short_in_words_whole_in_json_and_folded_on_screen(tmp_path: Path) -> None:
    from rich.console import Console

    model = ours("vit", seed=1)
    report = vitrail.load_weights(model, _saved(tmp_path, "vit", "timm"))
    assert str(report).startswith("32 of 32 tensors (")
    assert len(str(report).splitlines()) == 1
    told = json.loads(json.dumps(report.to_json()))
    assert len(told["tensors"]) == 32
    assert told["counts"] == {"used": 32}
    screen = Console(width=160, record=True, file=io.StringIO())
    screen.print(report)
    shown = screen.export_text()
    assert "backbone.encoder.N.attn.qkv.*" in shown
    assert "blocks.N.attn.qkv.*" in shown
    assert len(report.rows()) == 11  # both blocks, weight and bias, as one
    assert sum(int(row[0]) for row in report.rows()) == 32


def test_the_folded_report_shows_what_was_joined(tmp_path: Path) -> None:
    report = vitrail.load_weights(ours("vit", seed=1), _saved(tmp_path, "vit", "huggingface"))
    joined = "vit.encoder.layer.N.attention.attention.{query,key,value}.*"
    assert ("4", "converted", "backbone.encoder.N.attn.qkv.*", joined, "3 tensors to 1") in report.rows()


# --------------------------------------------------------------------------------------------------------- a new head


@pytest.mark.parametrize(("case", "layout"), [("vit", "timm"), ("deit-distilled", "huggingface"), ("vit", "vitrail")])
def test_a_new_head_is_said_and_is_all_that_is_left_out(tmp_path: Path, case: str, layout: str) -> None:
    source = tmp_path / ("w.safetensors" if layout == "vitrail" else "w")
    given = ours(case)
    vitrail.save_weights(given, source, layout)
    name, options = {"vit": ("vit_tiny_patch16_224", {}), "deit-distilled": ("deit_tiny_distilled_patch16_224", {})}[
        case
    ]
    model = vitrail.create_model(name, outputs=3, depth=2, image_size=64, **options)
    head = {n: t.clone() for n, t in model.state_dict().items() if n.startswith("head.")}
    with pytest.raises(IntegrityError, match="new_head=True"):
        vitrail.load_weights(model, source)
    report = vitrail.load_weights(model, source, new_head=True)
    state = model.state_dict()
    assert all(torch.equal(state[n], t) for n, t in head.items())
    assert all(torch.equal(state[n], t) for n, t in given.state_dict().items() if n.startswith("backbone."))
    assert (report.counts()["left out"], report.counts()["fresh"]) == (len(head), len(head))
    assert set(report.loaded) == {n for n in state if not n.startswith("head.")}


def test_a_new_head_excuses_nothing_else(tmp_path: Path) -> None:
    source = _saved(tmp_path, "vit", "timm")
    _edit(source, lambda tensors: tensors.pop("norm.bias"))
    with pytest.raises(IntegrityError, match=r"backbone\.norm\.bias"):
        vitrail.load_weights(ours("vit"), source, new_head=True)


def test_a_pooling_comes_along_where_both_have_it(tmp_path: Path) -> None:
    source = _saved(tmp_path, "vit-map", "timm")
    model = ours("vit-map", seed=1)
    report = vitrail.load_weights(model, source, new_head=True)
    assert torch.equal(model.head.pool.probe, ours("vit-map").head.pool.probe)
    assert report.counts()["fresh"] == 2


def test_convert_makes_a_head_of_so_many_outputs(tmp_path: Path) -> None:
    made = convert(_saved(tmp_path, "vit", "timm"), tmp_path / "made", new_head=7)
    model = vitrail.load(tmp_path / "made").artifact.model
    assert model(images(model)).shape == (2, 7)
    assert made.report.counts()["left out"] == 2
    assert list(model.task.labels) == [str(i) for i in range(7)]


# ------------------------------------------------------------------------------------------------------------ resized


def test_positions_are_resized_by_the_family(tmp_path: Path) -> None:
    """As when the model itself is set to the other size after loading."""
    source = _saved(tmp_path, "vit", "timm")
    same, other = ours("vit", seed=1), ours("vit", seed=2, image_size=96)
    vitrail.load_weights(same, source)
    report = vitrail.load_weights(other, source)
    same.backbone.set_image_size((96, 96))
    assert torch.equal(same.backbone.pos_embed, other.backbone.pos_embed)
    assert torch.equal(logits(same, images(other)), logits(other, images(other)))
    assert [entry.ours for entry in report.entries if entry.state == "resized"] == [("backbone.pos_embed",)]
    assert report.counts()["resized"] == 1


def test_convert_to_another_image_size(tmp_path: Path) -> None:
    report = convert(_saved(tmp_path, "pvt-one-epsilon", "huggingface"), tmp_path / "made", image_size=96).report
    artifact = vitrail.load(tmp_path / "made").artifact
    assert artifact.model.backbone.image_size == (96, 96)
    assert artifact.preprocessor.size == (96, 96)
    expected = ours("pvt-one-epsilon")
    expected.backbone.set_image_size((96, 96))
    assert close(logits(artifact.model, images(expected)), logits(expected, images(expected)))
    assert report.counts()["resized"] == 4


def test_a_patch_kernel_is_resized_and_a_finer_image_gives_the_same(tmp_path: Path) -> None:
    """FlexiViT: twice the patch on twice the image, resized without loss, says what the small one said."""
    source = _saved(tmp_path, "vit", "timm", image_size=32, patch_size=8)
    small, large = ours("vit", image_size=32, patch_size=8), ours("vit", seed=3, image_size=64, patch_size=16)
    report = vitrail.load_weights(large, source)
    assert [entry.ours for entry in report.entries if entry.state == "resized"] == [
        ("backbone.patch_embed.proj.weight",)
    ]
    pictures = images(small)
    patches = pictures.unfold(2, 8, 8).unfold(3, 8, 8).reshape(-1, 1, 8, 8)
    doubled = torch.nn.functional.interpolate(patches, size=(16, 16), mode="bicubic", antialias=True)
    finer = doubled.reshape(2, 3, 4, 4, 16, 16).permute(0, 1, 2, 4, 3, 5).reshape(2, 3, 64, 64)
    assert close(logits(large, finer), logits(small, pictures))


def test_a_bias_table_is_resized_for_another_window(tmp_path: Path) -> None:
    from vitrail.layers.position import resize_bias_table

    model, state = ours("swin", seed=1, window=14, image_size=112), ours("swin").state_dict()
    report = vitrail.load_weights(model, _saved(tmp_path, "swin", "timm"))
    name = "backbone.levels.1.blocks.0.attn.bias_table"
    assert torch.equal(model.state_dict()[name], resize_bias_table(state[name], 27 * 27))
    assert report.counts()["resized"] == 3


# ----------------------------------------------------------------------------------------- what no shape shows, and us


@pytest.mark.parametrize(
    ("written", "wanted", "said"),
    [
        ({"eps": 1e-12}, {}, "eps=1e-12, and yours has eps=1e-06"),
        ({"activation": "gelu_tanh"}, {}, "activation=gelu_tanh"),
        ({"heads": 6}, {}, "heads=6"),
    ],
)
def test_what_no_shape_shows_must_agree(tmp_path: Path, written: dict, wanted: dict, said: str) -> None:
    source = _saved(tmp_path, "vit", "huggingface", **written)
    model = ours("vit", seed=1, **wanted)
    before = _state(model)
    with pytest.raises(UsageError, match=said):
        vitrail.load_weights(model, source)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    vitrail.load_weights(ours("vit", seed=1, **written), source)


def test_another_family_is_said(tmp_path: Path) -> None:
    source = _saved(tmp_path, "vit", "timm")
    with pytest.raises(IntegrityError, match=r"of vit.*not swin"):
        vitrail.load_weights(ours("swin"), source)


def test_a_deit_takes_what_is_published_as_vit(tmp_path: Path) -> None:
    vitrail.save_weights(ours("vit"), tmp_path / "saved", "huggingface")
    vitrail.load_weights(ours("deit", seed=1), tmp_path / "saved")


def test_a_model_without_memory_gets_it_from_the_file(tmp_path: Path) -> None:
    source = _saved(tmp_path, "swin", "timm")
    with torch.device("meta"):
        model = ours("swin")
    vitrail.load_weights(model, source)
    assert torch.equal(logits(model, images(model)), logits(ours("swin"), images(model)))


def test_labels_that_stand_twice_get_their_number() -> None:
    assert unique(["crane", "cat", "crane"]) == ["crane (0)", "cat", "crane (2)"]


def test_resized_kernels_equal_timm_s() -> None:
    needs("timm")
    from timm.layers.patch_embed import resample_patch_embed

    from vitrail.layers.patch import resize_kernel

    kernel = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for side in [(8, 8), (32, 32), (14, 20)]:
        theirs = resample_patch_embed(kernel, list(side))
        assert float((resize_kernel(kernel, side) - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())
