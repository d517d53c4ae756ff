"""The loss of a student: its own part and its teacher's, through the token that is meant for it, and a map learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pupils import STUDENTS, batch, resnet, teacher, vit
from torch import Tensor, nn

from vitrail.assemble import VisionModel
from vitrail.contracts import Backbone
from vitrail.distill.feature import FeatureDistilled, final_grid, nearest_level
from vitrail.distill.lesson import Lesson
from vitrail.distill.objective import Distilled
from vitrail.heads.distilled import DistilledHead
from vitrail.settings import DistillConfig
from vitrail.tasks.classify import Classify
from vitrail.tasks.segment import Segment

LABELS = ("ant", "bee", "cat")
TASK = Classify(LABELS, smoothing=0.1)


def distilled(task: Classify, **settings: object) -> tuple[Distilled, Tensor]:
    """An objective, and what its teacher says of the mixed batch, in the order of the student's classes."""
    made = teacher(Classify(("cat", "dog", "bee", "ant")))
    objective = Distilled(
        task, Lesson(made.answers(STUDENTS)), task.align(made.task), DistillConfig.model_validate(settings)
    )
    images = batch([0, 1, 2, 0], mixed=True).images
    with torch.no_grad():
        taught = made.model(made.normalised(STUDENTS)(images))[:, [3, 2, 0]]
    return objective, taught


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("name", ["vit_tiny", "deit_tiny_distilled"])
def test_the_loss_is_the_targets_share_and_the_teachers(kind: str, name: str) -> None:
    model, given = vit(TASK, name), batch([0, 1, 2, 0], mixed=True)
    objective, taught = distilled(TASK, kind=kind, weight=0.3, temperature=2.0)
    loss = objective(model, given)
    if name == "vit_tiny":
        for_targets = for_teacher = model(given.images)
    else:
        assert isinstance(model.head, DistilledHead)
        for_targets, for_teacher = model.head.both(model.features(given.images))
        assert not torch.allclose(for_targets, for_teacher)
    own = TASK.loss(for_targets, given.targets, given.mixing, train=True)
    if kind == "hard":
        learned = F.cross_entropy(for_teacher, taught.argmax(1), reduction="none")
    else:
        theirs, ours = (taught / 2).softmax(1), (for_teacher / 2).log_softmax(1)
        learned = 4 * (theirs * (theirs.log() - ours)).sum(1)
    torch.testing.assert_close(loss, 0.7 * own + 0.3 * learned)


def test_each_layer_of_a_distilled_model_learns_from_its_own() -> None:
    model, given = vit(TASK, "deit_tiny_distilled"), batch([0, 1, 2, 0])
    head = model.head
    assert isinstance(head, DistilledHead)
    for weight, silent in ((0.0, head.fc_dist), (1.0, head.fc)):
        model.zero_grad()
        objective, _ = distilled(TASK, weight=weight)
        objective(model, given).sum().backward()
        assert silent.weight.grad is None or not silent.weight.grad.any()
        assert all(layer.weight.grad is not None and layer.weight.grad.any() for layer in (head.fc, head.fc_dist)
                   if layer is not silent)  # fmt: skip


def test_a_teacher_is_no_part_of_what_learns() -> None:
    objective, _ = distilled(TASK)
    assert not list(objective.parameters())
    assert not objective.state_dict()
    assert list(objective.modules()) == [objective]


def test_in_half_precision_the_loss_is_full_and_near() -> None:
    model, given = vit(TASK), batch([0, 1, 2, 0], mixed=True)
    for kind in ("hard", "soft"):
        objective, _ = distilled(TASK, kind=kind)
        exact = objective(model, given)
        with torch.autocast("cpu", torch.bfloat16):
            loss = objective(model, given)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, exact, atol=0.1, rtol=0.05)


# ------------------------------------------------------------------------------------------------------------ the map


def featured(model: VisionModel, weight: float = 0.7, seed: int = 0) -> FeatureDistilled:
    made, student = teacher(Classify(("x", "y"))), model.backbone
    assert isinstance(student, Backbone)
    level = nearest_level(made, student)
    lesson = Lesson(made.maps(STUDENTS, level, final_grid(student)))
    channels = made.backbone.channels[level]
    return FeatureDistilled(model.task, lesson, student, channels, DistillConfig(kind="feature", weight=weight), seed)


def test_the_map_nearest_in_stride_is_compared_token_by_token() -> None:
    model, given = vit(TASK), batch([0, 1, 2, 0], mixed=True)
    objective = featured(model)
    assert objective.projection.out_features == 32  # stride 4 of a ResNet an eighth as wide
    loss = objective(model, given)
    tokens = objective.projection(model.features(given.images).tokens)  # (B, N, C)
    made = teacher(Classify(("x", "y")))
    pyramid = made.model.features(made.normalised(STUDENTS)(given.images), pyramid=True).pyramid
    assert pyramid is not None
    map_ = pyramid[2].flatten(2).transpose(1, 2)
    apart = (2 - 2 * F.cosine_similarity(tokens, map_, dim=2)).mean(dim=1)
    own = TASK.loss(model(given.images), given.targets, given.mixing, train=True)
    torch.testing.assert_close(loss, 0.3 * own + 0.7 * apart, atol=1e-5, rtol=1e-5)


def test_the_projection_learns_with_the_student_and_begins_by_its_seed_alone() -> None:
    model, given = vit(TASK), batch([0, 1, 2, 0])
    objective = featured(model, weight=1.0)
    assert torch.equal(objective.projection.weight, featured(vit(TASK), seed=0).projection.weight)
    assert not torch.equal(objective.projection.weight, featured(vit(TASK), seed=1).projection.weight)
    learners = nn.ModuleList([model, objective])
    optimizer = torch.optim.AdamW(learners.parameters(), lr=1e-2)
    before, losses = objective.projection.weight.clone(), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = objective(model, given).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.equal(before, objective.projection.weight)
    assert [name for name, _ in objective.named_parameters()] == ["projection.weight", "projection.bias"]


@pytest.mark.parametrize("name", ["deit_tiny_distilled", "resnet18"])
def test_students_of_other_kinds_learn_a_map_too(name: str) -> None:
    model = resnet(TASK) if name == "resnet18" else vit(TASK, name)
    loss = featured(model)(model, batch([0, 1, 2, 0]))
    assert loss.shape == (4,)
    assert torch.isfinite(loss).all()


def test_a_dense_student_learns_a_map_beside_its_masks() -> None:
    model = vit(Segment(("ground", "cell"), (0, 1)))
    given = batch([0, 1, 2, 0])
    masks = torch.zeros(4, 16, 16, dtype=torch.int64)
    loss = featured(model)(model, replace(given, targets=masks))
    assert loss.shape == (4,)
    loss.sum().backward()  # type: ignore[no-untyped-call]
