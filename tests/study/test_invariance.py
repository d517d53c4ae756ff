"""What of an answer stays: models made to be invariant, and models made not to be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitrail.artifact import Artifact
from vitrail.assemble import build_model
from vitrail.contracts import Pixels
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.run import Run
from vitrail.settings import build
from vitrail.study.claims import NOT, SHOWN, UNKNOWN
from vitrail.study.invariance import words
from vitrail.study.invariance.conditions import CIRCULAR, EDGE, FLIP, PATCHES, ROTATION, Condition, conditions
from vitrail.study.invariance.consistency import MOVED, STAYS, alike, compare, spread
from vitrail.study.invariance.measured import Found, Measured, Row, measure
from vitrail.study.statistics.intervals import Interval
from vitrail.study.subjects import State, Subject, open_subjects
from vitrail.tasks import create_task
from vitrail.training.journal import Journal

CLASSES = create_task("classify", ["a", "b", "c"])
WAYS = conditions({16}, {4})


def photos(count: int = 12, side: int = 16) -> list[tuple[str, Pixels]]:
    """Noise with a brightness of its own: the mean tells images apart, and so does each pixel."""
    draw = np.random.default_rng(0)
    shades = np.linspace(0, 150, count).astype(np.uint8)
    return [
        (f"{i}.png", draw.integers(0, 100, (side, side, 3), dtype=np.uint8) + shade) for i, shade in enumerate(shades)
    ]


class Made(nn.Module):
    """Answers from one number of the image."""

    def __init__(self, read: Any) -> None:
        super().__init__()
        self.read = read
        self.none = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        value = self.read(images)[:, None]
        return torch.cat([value, 2 * value, -value], dim=1)


class Handmade(Subject):
    """A subject that is a module made here, as if it were trained."""

    def states(self, seeds: int) -> list[State]:
        """That one alone."""
        return [State(None)]

    @property
    def cell(self) -> int:
        """A patch of 4."""
        return 4


def measured_of(module: nn.Module) -> Measured:
    """The one state of a module made by hand, under all conditions."""
    config, preprocessor = build({"data.source": "x", "model.image_size": 16}), Preprocessor(size=(16, 16))
    artifact = Artifact(Path("made"), module, config, CLASSES, preprocessor)  # type: ignore[arg-type]
    return measure(Handmade("made", artifact, config, CLASSES, preprocessor), photos(), WAYS, 1, "cpu").states[0]


def row_of(state: Measured, family: str, amount: float | None = None) -> Row:
    """A row that must be there."""
    row = state.of(family, amount)
    assert row is not None
    return row


# ----------------------------------------------------------------------------------------------------- made models


def test_the_mean_of_all_pixels_does_not_care_where_they_are() -> None:
    found = measured_of(Made(lambda images: images.double().mean(dim=(1, 2, 3))))
    exact = [condition for condition in WAYS if condition.family in (CIRCULAR, FLIP, PATCHES)]
    assert exact
    for condition in [*exact, Condition(ROTATION, 90)]:
        values = row_of(found, condition.family, condition.amount).values
        assert values[STAYS].value == 1
        assert values[STAYS].low == 1
        assert values["cosine"].value == pytest.approx(1)
        assert values["variation"].value == pytest.approx(0, abs=1e-6)
        assert values[MOVED].value == pytest.approx(0, abs=1e-5)


def test_a_model_that_reads_one_pixel_cares() -> None:
    found = measured_of(Made(lambda images: images[:, 0, 3, 3]))
    for family in (CIRCULAR, EDGE, FLIP, PATCHES):
        assert row_of(found, family).values[MOVED].value > 0.2
        assert row_of(found, family).values["cosine"].value < 0.95
    assert row_of(found, CIRCULAR, 1).values[STAYS].value < 1


def test_a_bag_of_patches_keeps_its_answer_where_whole_patches_move() -> None:
    def brightest_patch(images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 4).flatten(1).amax(dim=1)

    found = measured_of(Made(brightest_patch))
    for grid in (2, 4):
        assert row_of(found, PATCHES, grid).values[MOVED].value == pytest.approx(0, abs=1e-6)
    assert row_of(found, CIRCULAR, 4).values[MOVED].value == pytest.approx(0, abs=1e-6)
    assert row_of(found, CIRCULAR, 2).values[MOVED].value > 1e-3
    assert row_of(found, PATCHES, 8).values[MOVED].value > 1e-3


# ------------------------------------------------------------------------------------------------------- the measures


def test_measures_of_outputs_by_hand() -> None:
    before = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0]])
    after = np.array([[2.0, 0, 0], [2, 0, 0], [0, 0, 2], [0, 0, 2]])
    found = compare(CLASSES, before, after)
    assert found.stays.tolist() == [1, 0, 1, 0]
    assert found.moved[[0, 2]].tolist() == [0, 0]
    pairs = [np.square(before[i] - before[j]).sum() for i in range(4) for j in range(4) if i != j]
    assert spread(before) == pytest.approx(math.sqrt(np.mean(pairs)))
    assert found.moved[1] == pytest.approx(math.sqrt(8) / spread(before))
    assert found.cosine[0] == pytest.approx(1)
    sure, unsure = math.exp(2) / (math.exp(2) + 2), 1 / (math.exp(2) + 2)
    assert found.variation[1] == pytest.approx(sure - unsure)
    assert alike(CLASSES, before) == pytest.approx(2 / 12)  # images 0 and 3, either way round


def test_what_a_task_has_not_is_unknown() -> None:
    numbers = create_task("regress", [1.0, 2.0, 5.0], build({"data.source": "x", "task.name": "regress"}).task)
    outputs = np.array([[0.1], [0.5], [0.9]])
    found = compare(numbers, outputs, outputs + 0.1)
    assert np.isnan(found.stays).all()
    assert np.isnan(found.variation).all()
    assert found.moved == pytest.approx(np.full(3, 0.1 / spread(outputs)))
    assert math.isnan(alike(numbers, outputs))


def test_labels_stay_where_the_whole_set_does() -> None:
    task = create_task(
        "multilabel", [["a"], ["b"], ["a", "b"]], build({"data.source": "x", "task.name": "multilabel"}).task
    )
    before = np.array([[3.0, -3], [3, 3], [-3, -3]])
    after = np.array([[2.0, -1], [3, -3], [-3, -1]])
    assert compare(task, before, after).stays.tolist() == [1, 0, 1]


def test_a_constant_model_has_no_distances() -> None:
    found = compare(CLASSES, np.ones((4, 3)), np.ones((4, 3)))
    assert found.stays.tolist() == [1, 1, 1, 1]
    assert np.isnan(found.moved).all()
    assert alike(CLASSES, np.ones((4, 3))) == 1


# ---------------------------------------------------------------------------------------------------- real subjects


def _vit(pooling: str, tmp_path: Path) -> Subject:
    stated: dict[str, Any] = {
        "data.source": "photos", "model.image_size": 16, "model.patch_size": 4, "model.options.depth": 2,
        "model.options.width": 16, "model.options.heads": 2, "model.options.hidden": 32, "model.pooling": pooling,
    }  # fmt: skip
    config = build(stated)
    preprocessor = Preprocessor.from_config(config)
    model = build_model(config, CLASSES).eval()
    artifact = Artifact(tmp_path, model, config, CLASSES, preprocessor)
    return Subject(pooling, artifact, config, CLASSES, preprocessor)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_without_positions_a_vit_does_not_see_the_order_of_its_patches(pooling: str, tmp_path: Path) -> None:
    subject = _vit(pooling, tmp_path)
    before = {name: tensor.clone() for name, tensor in subject.artifact.model.state_dict().items()}  # type: ignore[union-attr]
    found = measure(subject, photos(), [Condition(PATCHES, 4), Condition(PATCHES, 8)], 2, "cpu")
    assert [state.state for state in found.states] == [
        "trained", "untrained", "trained, no positions", "untrained, no positions",
    ]  # fmt: skip
    for name in ("trained", "untrained"):
        placed, placeless = found.state(name), found.state(f"{name}, no positions")
        assert placed is not None
        assert placeless is not None
        assert row_of(placeless, PATCHES, 4).values[MOVED].high < 1e-4
        assert row_of(placeless, PATCHES, 4).values[STAYS].value == 1
        assert row_of(placed, PATCHES, 4).values[MOVED].value > 1e-3
        assert row_of(placeless, PATCHES, 8).values[MOVED].value > 1e-3, "half patches are other tokens"
    assert all(torch.equal(before[name], t) for name, t in subject.artifact.model.state_dict().items())  # type: ignore[union-attr]


def test_fresh_weights_differ_by_seed_and_are_averaged(tmp_path: Path) -> None:
    subject = _vit("mean", tmp_path)
    ways = [Condition(CIRCULAR, 2)]
    found = measure(subject, photos(), ways, 3, "cpu").state("untrained")
    assert found is not None
    assert found.seeds == (0, 1, 2)
    by_seed = row_of(found, CIRCULAR, 2).by_seed[MOVED]
    assert len(set(by_seed)) == 3
    assert row_of(found, CIRCULAR, 2).values[MOVED].value == pytest.approx(np.mean(by_seed))


def test_a_record_is_read_back(tmp_path: Path) -> None:
    found = measure(_vit("cls", tmp_path), photos(4), WAYS[:2], 1, "cpu")
    again = Found.of(json.loads(json.dumps(found.record(), allow_nan=False)))
    assert repr(again) == repr(found)


def test_runs_and_names_stand_side_by_side(shapes_run: Run) -> None:
    given = ["resnet18", str(shapes_run.folder), "pvt_v2_b0"]
    subjects, source, indices, split = open_subjects(given, None, Journal(quiet=True))
    assert [subject.name for subject in subjects] == ["resnet18", shapes_run.folder.name, "pvt_v2_b0"]
    assert {subject.side for subject in subjects} == {16}
    assert len({subject.task.outputs for subject in subjects}) == 1
    assert split == "test"
    assert len(indices) > 0
    assert [state.name for state in subjects[0].states(2)] == ["untrained", "untrained"]
    assert subjects[1].cell == 4
    assert all(source.items[index].split in (None, "test") for index in indices)


def test_names_alone_are_set_up_for_the_data() -> None:
    subjects, _, indices, _ = open_subjects(["vit_tiny", "resnet18"], "digits", Journal(quiet=True))
    assert {subject.task.outputs for subject in subjects} == {10}
    assert indices


@pytest.mark.parametrize(("given", "data", "told"), [
    (["resnet81"], "digits", "did you mean"), (["vit_tiny"], None, "state --data"),
    (["./nothing"], "digits", "no such folder"),
])  # fmt: skip
def test_what_cannot_be_measured_says_so(given: list[str], data: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_subjects(given, data, Journal(quiet=True))


# ---------------------------------------------------------------------------------------------------------- the words


def _state(name: str, figures: dict[tuple[str, float], tuple[float, float]], same: float = 0.1) -> Measured:
    """A state of which (stays, moved) are known under some conditions, each give or take 0.02."""

    def span(value: float) -> Interval:
        return Interval(value, value - 0.02 * (value > 0.01), value + 0.02 * (value > 0.01))

    rows = [
        Row(family, amount, {STAYS: span(stays), MOVED: span(moved)}, {})
        for (family, amount), (stays, moved) in figures.items()
    ]
    return Measured(name, (), same, tuple(rows))


def _found(name: str, model: str, *states: Measured) -> Found:
    return Found(name, model, "", "classify", 16, 4, 1000, 50, states)


def _claims(*found: Found) -> dict[str, str]:
    """Of each claim what its one model, or pair of models, shows; of several the first."""
    return {claim.brief: claim.sights[0].seen for claim in words.claims(found)}


ALL = math.nan


@pytest.mark.parametrize(("vit", "cnn", "seen"), [(0.6, 0.1, SHOWN), (0.1, 0.6, NOT), (0.3, 0.31, UNKNOWN)])
def test_weak_bias_is_shown_or_not_as_measured(vit: float, cnn: float, seen: str) -> None:
    models = [
        _found(model, model, _state("untrained", {(CIRCULAR, ALL): (0.5, moved)}))
        for model, moved in (("vit_tiny", vit), ("resnet18", cnn))
    ]
    found = _claims(*models)
    assert found["an untrained ViT's answer changes more under a shift than an untrained CNN's"] == seen
    hardly = {0.1: SHOWN, 0.6: NOT, 0.31: NOT}[cnn]
    assert found["a CNN's answer hardly changes under a shift"] == hardly


def test_without_a_cnn_nothing_is_said_of_cnns() -> None:
    alone = _found("v", "vit_tiny", _state("untrained", {(CIRCULAR, ALL): (0.5, 0.3)}))
    assert _claims(alone) == {}
    assert words.verdict([alone]) != []
    assert "CNN" not in " ".join(words.verdict([alone]))


@pytest.mark.parametrize(("after", "seen"), [(0.1, SHOWN), (0.7, NOT), (0.4, UNKNOWN)])
def test_what_training_brings(after: float, seen: str) -> None:
    one = _found(
        "v", "vit_tiny", _state("untrained", {(EDGE, ALL): (0.5, 0.4)}), _state("trained", {(EDGE, ALL): (0.5, after)})
    )
    assert _claims(one)["training makes a ViT steadier under a shift"] == seen


@pytest.mark.parametrize(("moved", "seen"), [(1e-6, SHOWN), (0.2, NOT)])
def test_order_from_positions(moved: float, seen: str) -> None:
    one = _found(
        "v", "vit_tiny", _state("trained, no positions", {(PATCHES, 4): (1.0, moved), (PATCHES, 8): (0.1, 0.9)})
    )
    assert _claims(one)["only its position embedding tells a ViT the order of patches"] == seen


@pytest.mark.parametrize(("stays", "same", "seen"), [(0.2, 0.1, SHOWN), (0.9, 0.1, NOT), (0.95, 0.9, UNKNOWN)])
def test_a_bag_of_patches_is_known_beside_chance(stays: float, same: float, seen: str) -> None:
    one = _found("v", "vit_tiny", _state("trained", {(PATCHES, 4): (stays, 0.5), (PATCHES, 8): (0.1, 0.9)}, same))
    assert _claims(one)["a model needs its parts where they are"] == seen


def test_the_steadiest_is_named_only_where_it_can_be_told() -> None:
    def of(name: str, stays: float, same: float = 0.1) -> Found:
        return _found(name, "vit_tiny", _state("trained", {(EDGE, ALL): (stays, 0.1)}, same))

    assert "a keeps its answer on 90 %" in words.steadiest([of("b", 0.5), of("a", 0.9)], EDGE)
    assert "more often than b" in words.steadiest([of("b", 0.5), of("a", 0.9)], EDGE)
    assert "b may keep it as often" in words.steadiest([of("b", 0.88), of("a", 0.9)], EDGE)
    assert words.steadiest([of("a", 1.0, same=0.95)], EDGE) == "", "it answers all images alike"


def test_a_summary_is_short_however_many_models_there_are() -> None:
    models = [
        _found(name, "vit_tiny", *(_state(state, {(EDGE, ALL): (stays, moved), (PATCHES, ALL): (stays, moved),
                                                  (PATCHES, 4): (stays, moved), (CIRCULAR, 4): (stays, moved),
                                                  (CIRCULAR, 2): (stays, 0.3)}) for state in ("trained", "untrained")))
        for name, stays, moved in (("a", 0.9, 0.1), ("b", 0.5, 0.3), ("c", 0.2, 0.6))
    ]  # fmt: skip
    said = words.verdict(models)
    assert len(said) <= 5
    assert said[0].startswith("Under shift, a keeps its answer on 90 % (88 to 92 %) of the images, more often than b")
    whole = "a shift by a whole patch changes a ViT's answer less than one by half a patch"
    assert [f"{whole} ({name})" in sentence for name, sentence in zip("acb", said[2:], strict=True)] == [True] * 3
    assert sum(len(claim.sights) for claim in words.claims(models)) == 9
