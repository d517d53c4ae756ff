"""Learning from a teacher: names matched, its answers in the student's terms, and the losses, in each task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.tasks import list_tasks, numbered_task
from vitrail.tasks.classify import Classify
from vitrail.tasks.depth import Depth
from vitrail.tasks.multilabel import MultiLabel
from vitrail.tasks.regress import Regress
from vitrail.tasks.segment import Segment

LABELS = ("ant", "bee", "cat")
OUTPUTS, TAUGHT = torch.linspace(-2, 2, 15).reshape(5, 3).sin() * 3, torch.linspace(3, -1, 15).reshape(5, 3).cos() * 4


def test_a_softened_answer_costs_t_squared_times_the_divergence_summed_over_classes() -> None:
    temperature = 3.0
    loss = Classify(LABELS).imitation(OUTPUTS, TAUGHT, hard=False, temperature=temperature)
    theirs = softmax(TAUGHT.double().numpy() / temperature, axis=1)
    gap = np.log(theirs) - log_softmax(OUTPUTS.double().numpy() / temperature, axis=1)
    np.testing.assert_allclose(loss.numpy(), temperature**2 * (theirs * gap).sum(axis=1), rtol=1e-5, atol=1e-6)
    batchmean = torch.nn.functional.kl_div(
        (OUTPUTS / 3).log_softmax(1), (TAUGHT / 3).log_softmax(1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(loss.mean(), 9 * batchmean)


def test_a_hard_answer_is_the_cross_entropy_of_the_teachers_decision_without_smoothing() -> None:
    loss = Classify(LABELS, smoothing=0.3, weights=[1.0, 2.0, 3.0]).imitation(OUTPUTS, TAUGHT, True, 3.0)
    logits, decided = OUTPUTS.double().numpy(), TAUGHT.numpy().argmax(axis=1)
    assert len(set(decided.tolist())) > 1
    expected = -log_softmax(logits, axis=1)[np.arange(5), decided]
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_a_model_trained_by_binary_cross_entropy_learns_the_decision_by_it() -> None:
    loss = Classify(LABELS, binary=True).imitation(OUTPUTS, TAUGHT, True, 3.0)
    chance = 1 / (1 + np.exp(-OUTPUTS.double().numpy()))
    said = np.eye(3)[TAUGHT.numpy().argmax(axis=1)]
    expected = -(said * np.log(chance) + (1 - said) * np.log(1 - chance)).sum(axis=1)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_classes_are_matched_by_name_and_others_leave_before_the_softmax() -> None:
    student, teacher = Classify(LABELS), Classify(("cat", "dog", "ant", "bee"))
    raw = torch.tensor([[1.0, 90.0, 2.0, 3.0]])
    aligned = student.align(teacher)(raw)
    assert aligned.tolist() == [[2.0, 3.0, 1.0]]
    assert student.imitation(aligned.clone(), aligned, hard=False, temperature=2.0).item() == pytest.approx(0, abs=1e-6)


def test_same_classes_in_the_same_order_are_left_as_they_are() -> None:
    raw = torch.randn(2, 3)
    assert Classify(LABELS).align(Classify(LABELS))(raw) is raw


def test_a_teacher_without_the_students_classes_is_refused_with_their_names() -> None:
    with pytest.raises(UsageError, match=r"does not know 2 of the 3 classes: 'bee', 'cat' \(it knows 'ant', 'dog'\)"):
        Classify(LABELS).align(Classify(("ant", "dog")))


@pytest.mark.parametrize("student", list_tasks())
@pytest.mark.parametrize("teacher", list_tasks())
def test_a_teacher_of_another_task_is_refused(student: str, teacher: str) -> None:
    own, theirs = numbered_task(student, 2), numbered_task(teacher, 2)
    if student == teacher:
        raw = torch.randn(2, 2, 4, 4) if own.dense else torch.randn(2, 2)
        assert torch.isfinite(own.imitation(raw, own.align(theirs)(raw), not own.softens, 2.0)).all()
    else:
        with pytest.raises(UsageError, match=f"teacher is for the task {teacher}, and this run is for {student}"):
            own.align(theirs)


def test_labels_are_learned_at_the_teachers_own_thresholds_or_by_its_probabilities() -> None:
    student, teacher = MultiLabel(("a", "b")), MultiLabel(("b", "x", "a"), thresholds=[0.9, 0.5, 0.2])
    raw = torch.tensor([[1.0, 9.0, -1.0], [3.0, 9.0, -3.0]])
    taught = student.align(teacher)(raw)
    assert taught[:, 1].tolist() == [[1, 0], [0, 1]]  # a from 0.2 on, b from 0.9 on: sigmoid(1) is 0.73
    outputs = torch.tensor([[0.5, -0.2], [1.5, 0.7]])
    hard = student.imitation(outputs, taught, True, 2.0)
    torch.testing.assert_close(hard, _bce(outputs, taught[:, 1]).mean(1))
    soft = student.imitation(outputs, taught, False, 2.0)
    torch.testing.assert_close(soft, 4 * _bce(outputs / 2, (raw[:, [2, 0]] / 2).sigmoid()).mean(1))


def _bce(logits: Tensor, wanted: Tensor) -> Tensor:
    chance = logits.sigmoid()
    return -(wanted * chance.log() + (1 - wanted) * (1 - chance).log())


def test_masks_are_learned_pixel_by_pixel_whatever_their_values_in_files() -> None:
    student, teacher = Segment(("ground", "cell"), (0, 7)), Segment(("cell", "sky", "ground"), (1, 2, 3))
    raw, outputs = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    taught = student.align(teacher)(raw)
    assert torch.equal(taught, raw[:, [2, 0]])
    own = outputs.log_softmax(1)
    hard = -own.gather(1, taught.argmax(1, keepdim=True)).mean(dim=(1, 2, 3))
    torch.testing.assert_close(student.imitation(outputs, taught, True, 1.0), hard)
    theirs = (taught / 2).softmax(1)
    gap = (theirs * (theirs.log() - (outputs / 2).log_softmax(1))).sum(1).mean(dim=(1, 2))
    torch.testing.assert_close(student.imitation(outputs, taught, False, 2.0), 4 * gap)


@pytest.mark.parametrize("loss", ["huber", "nll"])
def test_numbers_are_matched_by_name_and_standardised_as_the_students_own(loss: str) -> None:
    student = Regress(("mass", "age"), ("kg", ""), (10.0, 1.0), (2.0, 4.0), loss)
    teacher = Regress(("age", "mass"), ("y", "kg"), (0.0, 100.0), (1.0, 10.0), "nll")
    raw = torch.tensor([[3.0, -9.0, 0.1, 0.2]])
    answers = student.align(teacher)(raw)
    assert answers.tolist() == [[10.0, 3.0]]  # mass 100 - 90, age 3; variances left out
    outputs = torch.tensor([[0.5, 0.25, 0.0, 0.0]])[:, : student.outputs]
    torch.testing.assert_close(student.imitation(outputs, answers, True, 1.0), student.loss(outputs, answers))


def test_a_teacher_in_other_units_is_refused() -> None:
    student = Regress(("mass",), ("kg",), (0.0,), (1.0,))
    with pytest.raises(UsageError, match="'mass' in g, and this run's targets are in kg"):
        student.align(Regress(("mass",), ("g",), (0.0,), (1.0,)))


def test_maps_are_taught_in_units_also_from_logarithms() -> None:
    student = Depth(("far",), ("m",), (2.0,), (0.5,))
    teacher = Depth(("near", "far"), ("m", "m"), (0.0, 1.0), (1.0, 2.0), loss="silog")
    raw = torch.randn(2, 2, 3, 3)
    answers = student.align(teacher)(raw)
    torch.testing.assert_close(answers, (raw[:, 1:] * 2 + 1).exp())
    outputs = torch.randn(2, 1, 3, 3)
    expected = (outputs - (answers - 2) / 0.5).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(student.imitation(outputs, answers, True, 1.0), expected)


def test_a_map_without_a_logarithm_counts_nowhere() -> None:
    student, teacher = Depth(("far",), ("",), (0.0,), (1.0,), loss="silog"), Depth(("far",), ("",), (0.0,), (1.0,))
    raw = torch.tensor([[[[-1.0, 2.0]]]])
    answers = student.align(teacher)(raw)
    assert answers.isnan().tolist() == [[[[True, False]]]]
    outputs = torch.zeros(1, 1, 1, 2, requires_grad=True)
    student.imitation(outputs, answers, True, 1.0).sum().backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert outputs.grad[0, 0, 0, 0] == 0
    assert outputs.grad[0, 0, 0, 1] != 0


def test_half_precision_is_computed_in_full() -> None:
    soft = Classify(LABELS).imitation(OUTPUTS.bfloat16(), TAUGHT.bfloat16(), False, 3.0)
    assert soft.dtype == torch.float32
    exact = Classify(LABELS).imitation(OUTPUTS.bfloat16().float(), TAUGHT.bfloat16().float(), False, 3.0)
    torch.testing.assert_close(soft, exact)
