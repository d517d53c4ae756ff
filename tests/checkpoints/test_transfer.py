"""From one model of ours into another of the same family: other images, another patch, other answers."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small import MODELS, images, ours, shake

import vitrail
from vitrail.assemble import VisionModel
from vitrail.checkpoints.account import expected
from vitrail.checkpoints.report import Entry, LoadReport
from vitrail.checkpoints.transfer import transfer, unlike
from vitrail.contracts import Measured, Rows
from vitrail.errors import IntegrityError, UsageError
from vitrail.layers.patch import resize_kernel
from vitrail.tasks.classify import Classify
from vitrail.tasks.regress import Regress

SIZES = {"swin": 84, "swin_v2": 128}
"""Other image sizes; for the rest 96."""
FAMILIES = ("vit", "vit-registers", "deit-distilled", "deit3", "swin", "swin_v2", "pvt", "pvt_v2", "resnet", "convnext")
SAME = Rows(tuple(range(5)), (1.0,) * 5, (0.0,) * 5)


def account(model: VisionModel) -> LoadReport:
    """That of a model that was read as it stands."""
    entries = tuple(Entry((name,), (f"their.{name}",), "used") for name in expected({"": model}))
    return LoadReport(Path("file"), "some", entries, 0, "a model")


def target(case: str, **options: Any) -> VisionModel:
    """A fresh model of a case, for five outputs unless said otherwise."""
    name, reduced = MODELS[case]
    return vitrail.create_model(name, **{"outputs": 5, **reduced, "seed": 7, **options}).eval()


@pytest.mark.parametrize("case", FAMILIES)
def test_a_backbone_computes_what_it_did_set_to_the_same_size(case: str) -> None:
    """Also where a window was smaller than its like, of a larger image (Swin V2 measures offsets by it)."""
    source, size = ours(case), SIZES.get(case, 96)
    options = dict(source.backbone.measures()) if isinstance(source.backbone, Measured) else {}
    model = target(case, image_size=size, **options)
    report = transfer(model, source, account(source), SAME)
    resized = copy.deepcopy(source)
    resized.backbone.set_image_size((size, size))
    pictures = images(model)
    with torch.no_grad():
        assert torch.equal(model(pictures), resized(pictures))
    assert {e.state for e in report.entries} <= {"used", "resized"}
    assert ("resized" in report.counts()) == (case in ("vit", "vit-registers", "deit-distilled", "deit3", "pvt"))
    assert sorted(report.loaded) == sorted(model.state_dict())
    assert report.parameters == sum(t.numel() for t in model.state_dict().values())


def test_offsets_are_measured_by_the_windows_they_were_trained_with() -> None:
    """Without that the same tensors are another function: what the test above would miss if nothing were measured."""
    source = ours("swin_v2", image_size=32)
    measured = source.backbone.measures()
    larger = target("swin_v2", image_size=128).backbone.measures()
    assert (measured["pretrained_window"], larger["pretrained_window"]) == ((8, 4), (8, 8))
    resized = copy.deepcopy(source)
    resized.backbone.set_image_size((128, 128))
    plain, kept = target("swin_v2", image_size=128), target("swin_v2", image_size=128, **measured)
    with torch.no_grad():
        for model in (plain, kept):
            transfer(model, source, account(source), SAME)
        pictures = images(kept)
        assert torch.equal(kept(pictures), resized(pictures))
        assert not torch.equal(plain(pictures), resized(pictures))


def test_the_kernel_of_another_patch_is_resized_and_each_position_stays_with_its_cell() -> None:
    source = ours("vit")
    model = target("vit", image_size=32, patch_size=8)
    report = transfer(model, source, account(source), SAME)
    own, theirs = model.state_dict(), source.state_dict()
    kernel = "backbone.patch_embed.proj.weight"
    assert torch.equal(own[kernel], resize_kernel(theirs[kernel], (8, 8)))
    assert torch.equal(own["backbone.pos_embed"], theirs["backbone.pos_embed"])
    assert report.counts() == {"used": len(own) - 1, "resized": 1}


@pytest.mark.parametrize("case", ["pvt", "resnet"])
def test_a_patch_that_cannot_be_resized_is_said(case: str) -> None:
    source, patch = ours(case), 8 if case == "pvt" else 1
    model = target(case, patch_size=patch)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        UsageError, match=rf"^--patch-size {patch}: the weights are for patch \d, and only .* leave it out$"
    ):
        transfer(model, source, account(source), SAME)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_window_of_another_side_has_its_bias_table_resized() -> None:
    source = ours("swin")
    report = transfer(target("swin", window=4), source, account(source), SAME)
    assert report.counts()["resized"] == 3  # blocks


@pytest.mark.parametrize("case", ["vit", "deit-distilled", "vit-map"])
def test_rows_of_the_head_go_by_name(case: str) -> None:
    source, model = ours(case), target(case, outputs=3)
    report = transfer(model, source, account(source), Rows((4, 0, 2), (1.0,) * 3, (0.0,) * 3))
    pictures = images(model)
    with torch.no_grad():
        assert torch.allclose(model(pictures), source(pictures)[:, [4, 0, 2]], atol=1e-5)
    for name in ("head.fc.weight", "head.fc.bias"):
        assert torch.equal(model.state_dict()[name], source.state_dict()[name][[4, 0, 2]])
    moved = [e for e in report.entries if e.state == "converted"]
    assert {e.note for e in moved} == {"rows by name"}
    assert len(moved) == (4 if case == "deit-distilled" else 2)


@pytest.mark.parametrize("case", ["vit", "deit-distilled", "vit-map"])
def test_a_fresh_head_is_that_of_a_model_from_scratch_and_keeps_what_stands_before_it(case: str) -> None:
    source, model = ours(case), target(case, outputs=3)
    fresh = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    report = transfer(model, source, account(source), None)
    for name, tensor in model.head.state_dict().items():
        assert torch.equal(tensor, source.head.state_dict()[name] if name.startswith("pool.") else fresh[name]), name
    last = 4 if case == "deit-distilled" else 2
    assert report.counts()["fresh"] == report.counts()["left out"] == last
    assert len(report.loaded) + last == len(model.state_dict())
    assert {theirs for e in report.entries for theirs in e.theirs} == {f"their.{name}" for name in source.state_dict()}


def test_a_head_that_pools_otherwise_is_fresh_altogether() -> None:
    source, model = ours("vit"), target("vit", pooling="map")
    assert unlike(model, source) == "it pools by cls, and map is asked for"
    report = transfer(model, source, account(source), None)
    assert report.counts()["fresh"] == len(model.head.state_dict())
    assert report.counts()["left out"] == 2


def test_a_head_of_another_kind_cannot_stand_there() -> None:
    assert unlike(target("vit"), ours("deit-distilled")) == "it is a DistilledHead, and a LinearHead is needed"
    assert unlike(target("vit"), ours("vit")) == ""


@pytest.mark.parametrize("decoder", ["linear", "pyramid"])
@pytest.mark.parametrize("case", ["vit", "swin"])
def test_maps_stay_what_they_are_in_their_units(case: str, decoder: str) -> None:
    from vitrail.tasks.depth import Depth

    theirs = Depth(["near", "far"], ["m", "m"], [3.0, 40.0], [0.7, 9.0], decoder=decoder)
    here = Depth(["far", "near"], ["m", "m"], [55.0, 2.0], [4.0, 1.1], decoder=decoder)
    source, model = target(case, task=theirs, image_size=56 if case == "swin" else 64), target(case, task=here)
    shake(source)
    rows = here.inherited(theirs)
    assert isinstance(rows, Rows)
    transfer(model, source, account(source), rows)
    pictures = images(model)
    with torch.no_grad():
        said, before = here.values(model(pictures).numpy()), theirs.values(source(pictures).numpy())
    assert said == pytest.approx(before[:, ::-1], rel=1e-4, abs=1e-4)


def test_numbers_stay_what_they_are_in_their_units() -> None:
    theirs, here = Regress(["mass"], ["kg"], [1000.0], [0.5]), Regress(["mass"], ["kg"], [-3.0], [20.0])
    source, model = target("vit", task=theirs), target("vit", task=here)
    shake(source)
    report = transfer(model, source, account(source), here.inherited(theirs))
    pictures = images(model)
    with torch.no_grad():
        assert here.values(model(pictures).numpy()) == pytest.approx(theirs.values(source(pictures).numpy()), abs=1e-4)
    assert "rescaled" in "".join(e.note for e in report.entries)


def test_other_shapes_are_refused_and_nothing_is_loaded() -> None:
    source, model = ours("vit"), target("vit", width=96, hidden=96)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(IntegrityError, match=r"does not fit a model, nothing was loaded: \d+ tensors differ"):
        transfer(model, source, account(source), SAME)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_two_steps_make_one_account() -> None:
    """A tensor that was joined when it was read, and resized now, is both."""
    source = ours("vit")
    read = account(source)
    position = next(e for e in read.entries if e.ours == ("backbone.pos_embed",))
    joined = Entry(position.ours, ("a", "b"), "converted", "2 tensors to 1")
    derived = Entry((), ("index",), "derived", "computed, ours has its own")
    entries = (joined, derived, *(e for e in read.entries if e is not position))
    report = transfer(target("vit", image_size=96), source, LoadReport(Path("file"), "some", entries, 0, "m"), SAME)
    assert Entry(("backbone.pos_embed",), ("a", "b"), "resized", "2 tensors to 1, 17 to 37 positions") in report.entries
    assert derived in report.entries


def test_classes_are_matched_however_they_are_ordered() -> None:
    rows = Classify(["b", "a"]).inherited(Classify(["a", "b"]))
    assert isinstance(rows, Rows)
    assert rows.places == (1, 0)
