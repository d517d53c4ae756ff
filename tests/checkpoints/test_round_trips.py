"""Ours -> each layout -> ours is bit-equal; what a layout cannot express is refused in words and leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small import MODELS, PAIRS, WRITABLE, destination, images, logits, needs, ours

import vitrail
from vitrail.checkpoints.conversion import convert
from vitrail.checkpoints.layout import all_layouts
from vitrail.errors import UsageError
from vitrail.models import families, variant


@pytest.mark.parametrize(("layout", "case"), PAIRS)
def test_a_round_trip_is_bit_equal(tmp_path: Path, layout: str, case: str) -> None:
    model, other = ours(case), ours(case, seed=1)
    vitrail.save_weights(model, destination(tmp_path, layout), layout)
    report = vitrail.load_weights(other, destination(tmp_path, layout))
    mine, theirs = model.state_dict(), other.state_dict()
    assert set(report.loaded) == set(mine)
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert torch.equal(logits(model, images(model)), logits(other, images(model)))
    assert not report.counts().keys() & {"missing", "left over", "differs", "resized"}


SLOW_TO_READ = {"torchvision": ("vit", "swin_v2", "resnet"), "official": ("deit3", "pvt", "pvt_v2-linear")}
"""Each .pth starts a process: a few of them stand for all here, and all were read above."""


@pytest.mark.parametrize(
    ("layout", "case"), [(layout, case) for layout, case in PAIRS if case in SLOW_TO_READ.get(layout, MODELS)]
)
def test_convert_finds_the_layout_and_the_model(tmp_path: Path, layout: str, case: str) -> None:
    """A name, and a size where no position shows it, are needed only where the files leave them open."""
    model = ours(case)
    source, made = destination(tmp_path, layout), tmp_path / "made"
    vitrail.save_weights(model, source, layout)
    says_it_all = layout in ("vitrail", "timm", "huggingface")
    name, size = (None, None) if says_it_all else (MODELS[case][0], model.backbone.image_size[0])
    report = convert(source, made, model=name, image_size=size).report
    found = vitrail.load(made).artifact.model
    published_as = "vit" if (layout, case) == ("huggingface", "deit") else variant(MODELS[case][0]).family
    assert variant(report.model.split()[0]).family == published_as
    assert torch.equal(logits(found, images(model)), logits(model, images(model)))


def test_a_model_of_timm_s_own_stays_in_our_layout(tmp_path: Path) -> None:
    """timm:NAME has no rows in the catalogue: its config names it."""
    needs("timm")
    model, other = (vitrail.create_model("timm:test_vit", outputs=3, seed=seed).eval() for seed in (0, 1))
    vitrail.save_weights(model, tmp_path / "w.safetensors")
    vitrail.load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(logits(model, images(model)), logits(other, images(model)))
    report = convert(tmp_path / "w.safetensors", tmp_path / "made").report
    assert report.model == "timm:test_vit"
    assert torch.equal(
        logits(vitrail.load(tmp_path / "made").artifact.model, images(model)), logits(model, images(model))
    )


@pytest.mark.parametrize(
    ("layout", "case"), [(layout, case) for layout in WRITABLE for case in MODELS if case not in WRITABLE[layout]]
)
def test_what_a_layout_cannot_express_is_refused(tmp_path: Path, layout: str, case: str) -> None:
    with pytest.raises(UsageError, match=f"the {layout} layout (cannot express|has no place for)"):
        vitrail.save_weights(ours(case), destination(tmp_path, layout), layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layout", "case", "options", "said"),
    [
        ("timm", "vit", {"eps": 1e-12}, "eps=1e-12"),
        ("torchvision", "vit", {"eps": 1e-12}, "eps=1e-12"),
        ("torchvision", "vit", {"activation": "gelu_tanh"}, "activation=gelu_tanh"),
        ("official", "deit3", {"registers": 2}, "registers=2"),
        ("huggingface", "vit", {"layer_scale": 0.1}, "layer_scale=0.1"),
        ("huggingface", "swin", {"image_size": 64}, "image_size=64"),
        ("google", "vit-tanh", {"pooling": "mean"}, "pooling=mean"),
    ],
)
def test_the_refusal_says_what_it_is(tmp_path: Path, layout: str, case: str, options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=f"the {layout} layout cannot express.*{said}"):
        vitrail.save_weights(ours(case, **options), destination(tmp_path, layout), layout)


def test_every_layout_and_every_family_is_tried() -> None:
    assert WRITABLE.keys() == all_layouts().keys()
    assert {variant(name).family for name, _ in MODELS.values()} == {
        f for f, module in families().items() if module.VARIANTS
    }
    declared = {
        (layout.name, table.family)
        for layout in all_layouts().values()
        for table in layout.tables
        if families()[table.family].VARIANTS  # the others are of another library and stay in our own layout
    }
    assert declared == {(layout, variant(MODELS[case][0]).family) for layout, case in PAIRS}


@pytest.mark.parametrize("layout", WRITABLE)
def test_nothing_is_overwritten_and_the_form_is_checked(tmp_path: Path, layout: str) -> None:
    model, dest = ours(WRITABLE[layout][0]), destination(tmp_path, layout)
    dest.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        vitrail.save_weights(model, dest, layout)
    assert dest.read_bytes() == b"mine"
    with pytest.raises(UsageError, match="layout is a"):
        vitrail.save_weights(model, tmp_path / "weights.bin", layout)
    assert [path.name for path in tmp_path.iterdir()] == [dest.name]
