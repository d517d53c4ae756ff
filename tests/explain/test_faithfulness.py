"""Whole methods scored on models whose truth is known: one that looks at one patch, and a small transformer."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vitrail.assemble import create_model
from vitrail.data.builtin import ShapesSource
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain import faithfulness
from vitrail.explain.faithfulness import Plan, fitting, score
from vitrail.explain.methods import Method
from vitrail.explain.target import Target
from vitrail.explain.trust.answers import ask, words
from vitrail.explain.trust.samples import Sample, nowhere, samples
from vitrail.explain.trust.sanity import randomised
from vitrail.explain.trust.table import ALONE, CASCADE, CENTRE, RANDOM
from vitrail.explain.trust.words import believed, verdict
from vitrail.settings import ShapesConfig
from vitrail.tasks.classify import Classify
from vitrail.tasks.depth import Depth
from vitrail.tasks.multilabel import MultiLabel
from vitrail.tasks.regress import Regress

SIDE, GRID = 32, (8, 8)
ROW, COLUMN = 1, 6
"""The patch that is looked at, far from the middle."""


class OnePatch(nn.Module):
    """Says "lit" by the brightness of one patch of 8 x 8 and looks at nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(30.0))
        self.backbone = nn.Module()
        self.backbone.stages = lambda: [SimpleNamespace(grid=GRID)]  # type: ignore[assignment]
        self.backbone.blocks = list  # type: ignore[assignment]
        self.head = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lit = images[:, :, 4 * ROW : 4 * ROW + 4, 4 * COLUMN : 4 * COLUMN + 4].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(lit), self.weight * (lit - 0.5)], dim=1)


def shown(where: tuple[int, int]) -> Any:
    """A map that is 1 on one cell, of every image."""

    def compute(
        model: Any, images: torch.Tensor, target: Target, *, layer: int | None, head: int | None
    ) -> torch.Tensor:
        maps = torch.zeros(len(images), SIDE, SIDE)
        maps[:, 4 * where[0] : 4 * where[0] + 4, 4 * where[1] : 4 * where[1] + 4] = model.weight.detach()
        return maps

    return compute


def method(name: str, where: tuple[int, int], why: str = "") -> Method:
    """A made-up method."""
    return Method(name, "", "", shown(where), lambda *_: "", lambda _: why, "gradient")


METHODS = {
    "right": method("right", (ROW, COLUMN)),
    "wrong": method("wrong", (5, 1)),
    "unfit": method("unfit", (0, 0), "it has no attention"),
}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """METHODS in the place of the catalogue."""
    monkeypatch.setattr(faithfulness, "get_method", METHODS.__getitem__)
    monkeypatch.setattr(faithfulness, "list_methods", lambda: tuple(METHODS))


def lit(count: int) -> list[Sample]:
    """Images that are dark but for grain and the one patch, which is known to be the object."""
    region = np.zeros((SIDE, SIDE), bool)
    region[4 * ROW : 4 * ROW + 4, 4 * COLUMN : 4 * COLUMN + 4] = True
    made = []
    for n in range(count):
        image = np.random.default_rng(n).random((3, SIDE, SIDE)).astype(np.float32) * 0.1
        image[:, region] += 0.9
        made.append(Sample(f"image {n}", image, lambda output: region if output == 1 else None))
    return made


def test_the_map_of_the_one_patch_is_near_the_ideal_and_told_from_the_controls(made_up: None) -> None:
    trust = score(OnePatch(), Classify(("dark", "lit")), lit(24), Plan(("right", "wrong"), levels=()))
    right, wrong, centre = (trust.of(name) for name in ("right", "wrong", CENTRE))
    # the first step hides one of 64 cells: half of it is the area of a curve that falls at once
    assert right.deletion.mean() < 0.5 / 64 + 0.01
    assert right.insertion.mean() > 1 - 0.5 / 64 - 0.01
    assert right.gain.mean() > 0.95
    assert wrong.gain.mean() == pytest.approx(trust.of(RANDOM).gain.mean(), abs=0.35)
    assert trust.over(right, CENTRE, 0.999).low > 0.3
    assert trust.over(right, RANDOM, 0.999).low > 0.3
    assert right.pointing.mean() == right.energy.mean() == 1
    assert wrong.pointing.mean() == centre.pointing.mean() == 0
    assert believed(trust) == "right"
    told = " ".join(verdict(trust))
    assert "On 24 images, the method to believe on this model is right" in told
    assert "lies on the object in 100% of the 24 images" in told


def test_the_mark_at_the_centre_is_not_beaten_by_a_map_that_is_wrong(made_up: None) -> None:
    trust = score(OnePatch(), Classify(("dark", "lit")), lit(24), Plan(("wrong",), levels=()))
    assert believed(trust) is None
    assert (
        "the one method compared does not beat both a mark at the image's centre and a random map"
        in (verdict(trust)[0])
    )
    few = score(OnePatch(), Classify(("dark", "lit")), lit(3), Plan(("right",), levels=()))
    assert verdict(few) == ["3 images are too few to say which method to believe on this model."]


def test_a_model_that_hardly_looks_has_no_method_to_believe(made_up: None) -> None:
    blind = OnePatch()
    with torch.no_grad():
        blind.weight.fill_(0.04)
    trust = score(blind, Classify(("dark", "lit")), lit(24), Plan(("right",), levels=()))
    assert 0 < trust.drop < 0.02
    assert trust.over(trust.of("right"), CENTRE).low > 0  # by next to nothing, and surely
    assert believed(trust) is None
    (told,) = verdict(trust)
    assert "with all of it hidden, the probability of the class that is said changes by no more than 0.01" in told


def test_maps_that_do_not_change_with_the_weights_are_not_believed(made_up: None) -> None:
    trust = score(OnePatch(), Classify(("dark", "lit")), lit(24), Plan(("right",), levels=("all",)))
    assert trust.of("right").sanity["all"].shape == (16,)
    assert all(len(row.sanity) == 0 for row in trust.rows[1:])
    assert trust.of("right").sanity["all"].min() == pytest.approx(1)
    assert believed(trust) is None
    told = verdict(trust)
    assert "On 24 images, right is ahead on this model, to be believed with a doubt (below)." in told[0]
    assert "Maps of right (1.00) stay much the same when all weights are shuffled" in told[-1]


def test_a_method_that_does_not_fit_is_left_out_with_its_reason(made_up: None) -> None:
    able, refused = fitting(OnePatch())
    assert (able, refused) == (["right", "wrong"], {"unfit": "it has no attention"})
    trust = score(OnePatch(), Classify(("dark", "lit")), lit(8), Plan(("right", "unfit"), levels=()))
    assert trust.refused == {"unfit": "it has no attention"}
    assert [row.name for row in trust.rows] == ["right", CENTRE, RANDOM]
    with pytest.raises(UsageError, match="unfit: it has no attention"):
        score(OnePatch(), Classify(("dark", "lit")), lit(8), Plan(("unfit",), levels=()))
    with pytest.raises(UsageError, match="no image"):
        score(OnePatch(), Classify(("dark", "lit")), [], Plan(("right",), levels=()))


def test_an_image_s_figures_do_not_depend_on_the_others(made_up: None) -> None:
    plan = Plan(("right", "wrong"), levels=())
    whole = score(OnePatch(), Classify(("dark", "lit")), lit(11), plan)
    last = score(OnePatch(), Classify(("dark", "lit")), lit(11)[9:], plan)
    for name in ("right", "wrong", RANDOM, CENTRE):
        assert np.allclose(whole.of(name).deletion[9:], last.of(name).deletion, atol=1e-6)
        assert np.array_equal(whole.of(name).pointing[9:], last.of(name).pointing)


def test_the_table_has_every_column_with_its_interval_and_controls_last(made_up: None) -> None:
    trust = score(OnePatch(), Classify(("dark", "lit")), lit(9), Plan(("wrong", "right"), levels=("head", "all")))
    assert [summary.name for summary in trust.summaries][:1] == ["right"]
    assert [summary.control for summary in trust.summaries] == [False, False, True, True]
    header, *rows = trust.csv()
    assert header[:5] == ["method", "images", "deletion", "deletion_low", "deletion_high"]
    assert header[-6:] == ["sanity/head", "sanity/head_low", "sanity/head_high", "sanity/all", "sanity/all_low",
                           "sanity/all_high"]  # fmt: skip
    assert {len(row) for row in rows} == {len(header)}
    assert rows[-1][-1] == ""  # a control has no weights to shuffle
    record = trust.summaries[0].record()
    assert record["gain"]["images"] == 9
    assert record["gain"]["low"] <= record["gain"]["value"] <= record["gain"]["high"]
    unknown = [replace(sample, where=nowhere) for sample in lit(9)]
    nowhere_known = score(OnePatch(), Classify(("dark", "lit")), unknown, Plan(("right",), levels=()))
    assert "pointing" not in nowhere_known.summaries[0].record()
    assert math.isnan(nowhere_known.summaries[0].pointing.value)


# ------------------------------------------------------------------------------------------------------ real models


def test_a_real_model_is_scored_by_every_cheap_method_and_left_as_it_was(small: Any) -> None:
    source = ShapesSource(ShapesConfig(size=SIDE, length=20))
    model = small.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    able, _ = fitting(model)
    cheap = [name for name in able if name in ("rollout", "raw_attention", "grad_cam", "input_gradient", "relevance")]
    chosen = Plan(cheap, sanity=8)
    task = Classify(("circle", "cross", "ring"))
    trust = score(model, task, samples(source, range(10), small.preprocessor, task), chosen)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    for row in trust.rows:
        assert row.deletion.shape == row.insertion.shape == (10, 2)
        assert np.isfinite(row.deletion).all()
        assert (row.deletion >= 0).all()
        assert (row.deletion <= 1).all()
        assert np.isfinite(row.pointing).all()  # shapes know where the object stands
    for name in cheap:
        assert [len(found) for found in trust.of(name).sanity.values()] == [8] * 8
        assert list(trust.of(name).sanity) == [*CASCADE, *ALONE]
        assert (np.abs(trust.of(name).sanity["all"]) <= 1).all()
    alone = chosen.passes(model)
    assert alone > 200
    assert 10 * chosen.passes(model, 1) > chosen.passes(model, 10) > 8 * alone  # two images are not explained shuffled
    assert verdict(trust)


def test_weights_are_shuffled_from_the_head_down_and_keep_their_values(model: Any) -> None:
    changed = {}
    for level in CASCADE:
        other = randomised(model, level)
        assert not other.training
        changed[level] = set()
        for (name, old), (_, new) in zip(model.named_parameters(), other.named_parameters(), strict=True):
            assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
            if not torch.equal(old, new):
                changed[level].add(name)
    assert changed["head"] < changed["last block"] < changed["half"] < changed["all"]
    assert all(name.startswith("head.") for name in changed["head"])
    assert not any("encoder.0" in name or "encoder_layer_0" in name for name in changed["half"])
    pairs = zip(randomised(model, "all").parameters(), randomised(model, "all").parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_one_part_alone_is_shuffled_and_the_rest_stays_as_trained(model: Any) -> None:
    changed = {}
    for level in ALONE:
        pairs = zip(model.named_parameters(), randomised(model, level).named_parameters(), strict=True)
        changed[level] = {name for (name, old), (_, new) in pairs if not torch.equal(old, new)}
    parts = {"stem alone": model.backbone.stem()} | dict(zip(ALONE[1:], model.backbone.blocks(), strict=True))
    for level, part in parts.items():  # three blocks: the first, the one in the middle, the last
        own = {id(parameter) for parameter in part.parameters()}
        assert changed[level]
        assert changed[level] <= {name for name, parameter in model.named_parameters() if id(parameter) in own}
    assert sum(map(len, changed.values())) == len(set().union(*changed.values()))


def test_on_what_part_of_the_model_maps_depend_is_said(made_up: None) -> None:
    trust = score(OnePatch(), Classify(("dark", "lit")), lit(24), Plan(("right",), levels=()))
    figures = {"stem alone": 0.2, "first block alone": 0.4, "last block alone": 0.9, "head": 1.0, "all": 0.1}
    measured = replace(trust.of("right"), sanity={level: np.full(16, rho) for level, rho in figures.items()})
    told = verdict(replace(trust, rows=[measured, *trust.rows[1:]]))
    assert (
        "With one part of the model shuffled at a time and the rest as trained, the maps of right change most with the "
        "weights of the stem (rank correlation 0.20) and least with those of the head (1.00, that is, not at all)."
    ) in told
    rows = [measured, *trust.rows[1:]]
    (summary,) = (each for each in replace(trust, rows=rows).summaries if each.name == "right")
    assert summary.alone == {"stem": 0.2, "first block": 0.4, "last block": 0.9, "head": 1.0}
    assert not any("one part" in sentence for sentence in verdict(trust))


def test_the_answer_of_each_task_is_whole_at_first_and_less_later() -> None:
    whole = torch.tensor([[2.0, 0.0, 5.0], [1.0, 3.0, 0.0]])
    rows, other = torch.arange(2), torch.zeros(2, 3)
    asked = ask(Classify(("a", "b", "c")), whole)
    assert asked.target.output.tolist() == [2, 1]
    assert torch.allclose(asked.left(whole, rows), whole.softmax(dim=1).amax(dim=1))
    assert torch.allclose(asked.left(other, rows), torch.full((2,), 1 / 3))
    assert torch.allclose(ask(MultiLabel(("a", "b", "c")), whole).left(other, rows), torch.full((2,), 0.5))
    numbers = Regress(("x", "y", "z"), ("", "", ""), (0.0,) * 3, (1.0,) * 3, loss="nll")
    uncertain = torch.cat([torch.tensor([[2.0, -6.0, 5.0]]), torch.full((1, 3), 99.0)], dim=1)
    far = ask(numbers, uncertain)
    assert far.target.output.tolist() == [1]  # the farthest from the mean; variances are no answer
    assert far.left(uncertain, torch.tensor([0])).tolist() == [0]
    assert far.left(torch.zeros(1, 6), torch.tensor([0])).tolist() == [-6]
    assert "standard deviations" in words("regress") == words("depth")


def test_of_a_mask_the_largest_object_is_explained_where_it_is_said() -> None:
    segment: Any = SimpleNamespace(name="segment", state=lambda: {"labels": ["ground", "a", "b"], "values": [0, 5, 6]})
    said = torch.zeros(2, 3, 4, 4)
    said[:, 0] = 1.0  # the ground, most of both images
    said[0, 1, 0, 0] = said[0, 2, 1, :2] = 2.0
    asked = ask(segment, said)
    assert asked.target.output.tolist() == [2, 0]  # the second shows nothing but ground
    region = asked.target.region
    assert region is not None
    assert region.sum(dim=(1, 2)).tolist() == [2, 16]
    expected = said[0, :, 1, 0].softmax(dim=0)[2]
    assert asked.left(said[:1], torch.tensor([0])).item() == pytest.approx(expected.item())
    depth = Depth(("d",), ("m",), (0.0,), (1.0,))
    near = ask(depth, torch.ones(1, 1, 4, 4))
    assert near.left(torch.ones(1, 1, 4, 4) * 3, torch.tensor([0])).tolist() == [-2]


def test_a_sample_knows_where_its_object_stands_in_the_model_s_pixels() -> None:
    source = ShapesSource(ShapesConfig(size=48, length=6))
    task = Classify(("circle", "cross", "ring", "square", "star", "triangle"))
    (sample,) = samples(source, [4], Preprocessor(size=(24, 24)), task)
    assert (sample.key, sample.image.shape) == ("shapes/4", (3, 24, 24))
    region = sample.where(2)
    assert region is not None
    assert region.shape == (24, 24)
    left, top, right, bottom = (side / 2 for side in source.truth(4)["box"])
    rows, columns = np.nonzero(region)
    assert (columns.min(), rows.min()) == (pytest.approx(left, abs=1), pytest.approx(top, abs=1))
    assert (columns.max() + 1, rows.max() + 1) == (pytest.approx(right, abs=1), pytest.approx(bottom, abs=1))


def test_a_model_of_windows_is_scored_on_the_one_at_the_centre() -> None:
    source = ShapesSource(ShapesConfig(size=64, length=6), "mask")
    names = ("background", "circle", "cross", "ring", "square", "star", "triangle")
    task = create_model("vit_tiny", "segment", 7, image_size=32, patch_size=8, width=24, heads=3, depth=1).task
    (sample,) = samples(source, [0], Preprocessor(size=(32, 32), resize="tile"), task)
    assert sample.image.shape == (3, 32, 32)
    truth = source.truth(0)["mask"][16:48, 16:48]
    for place in range(len(names)):
        region = sample.where(place)
        there = 0 < (truth == place).mean() <= 0.5
        assert (region is not None) == there
        if region is not None:
            assert np.array_equal(region, truth == place)
