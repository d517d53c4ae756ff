"""The task classify: targets by name, loss, metrics, decoding without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from vitrail.contracts import Mixing
from vitrail.errors import DataError, IntegrityError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task, list_tasks, restore
from vitrail.tasks.classify import Classify, probabilities

LABELS = ("ant", "bee", "cat")


def test_labels_are_sorted_by_name_whatever_the_order_of_folders() -> None:
    assert create_task("classify", ["cat", "ant", "bee", "ant"]).state()["labels"] == list(LABELS)


def test_targets_are_encoded_by_name() -> None:
    task = Classify(LABELS)
    assert task.collate([task.encode("cat"), task.encode("ant")]).tolist() == [2, 0]


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'cats'.*did you mean 'cat'"):
        Classify(LABELS).encode("cats")


def test_evaluation_loss_is_plain_cross_entropy() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    task = Classify(LABELS, smoothing=0.3, weights=[1.0, 5.0, 9.0])
    torch.testing.assert_close(task.loss(logits, targets), F.cross_entropy(logits, targets, reduction="none"))


def test_training_loss_smooths_and_weighs() -> None:
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    weights = torch.tensor([1.0, 5.0, 9.0])
    task = Classify(LABELS, smoothing=0.3, weights=weights.tolist())
    onehot = F.one_hot(targets, 3) * 0.7 + 0.1
    expected = -(onehot * logits.log_softmax(1)).sum(1) * weights[targets]
    torch.testing.assert_close(task.loss(logits, targets, train=True), expected)


def test_a_mixed_image_counts_both_its_targets_by_share() -> None:
    logits, targets = torch.randn(2, 3), torch.tensor([0, 2])
    mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.7, 1.0]))
    soft = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.0, 1.0]])
    expected = -(soft * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(Classify(LABELS).loss(logits, targets, mixing, train=True), expected)


def test_balanced_weights_average_to_one_over_the_samples() -> None:
    targets = ["ant"] * 8 + ["bee"] * 2
    task = create_task("classify", targets, TaskConfig(class_weights="balanced"))
    assert isinstance(task, Classify)
    assert task.weights == pytest.approx((0.625, 2.5))
    assert sum(task.weights[task.encode(t)] for t in targets) / 10 == pytest.approx(1.0)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_metrics_equal_scikit_learn(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(200, classes, generator=generator)
    targets = torch.randint(0, classes, (200,), generator=generator)
    meter = Classify([str(i) for i in range(classes)]).meter()
    for part in range(0, 200, 64):
        meter.update(logits[part : part + 64], targets[part : part + 64])
    got = meter.compute()
    shares, answers = logits.double().softmax(1).numpy(), logits.argmax(1).numpy()
    binary = {"y_score": shares[:, 1]} if classes == 2 else {"y_score": shares, "multi_class": "ovr"}
    assert got["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(targets, answers))
    assert got["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(targets, answers, average="macro"))
    assert got["auroc"] == pytest.approx(sklearn_metrics.roc_auc_score(targets, **binary), abs=1e-5)
    assert ("accuracy_top5" in got) == (classes > 5)
    if classes > 5:
        top5 = sklearn_metrics.top_k_accuracy_score(targets, shares, k=5, labels=range(classes))
        assert got["accuracy_top5"] == pytest.approx(top5)


def test_calibration_error_is_the_written_out_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(300, 4, generator=generator), torch.randint(0, 4, (300,), generator=generator)
    meter = Classify("abcd").meter()
    meter.update(logits, targets)
    confidence, answer = logits.softmax(1).max(1)
    right, expected = (answer == targets).float(), 0.0
    for low in torch.linspace(0, 1, 16)[:-1]:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += float(inside.float().mean() * (right[inside].mean() - confidence[inside].mean()).abs())
    assert meter.compute()["ece"] == pytest.approx(expected, abs=1e-5)


def test_a_class_that_is_absent_from_a_split_warns_of_nothing_and_counts_for_nothing() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, the reference implementation")
    meter = Classify(LABELS).meter()
    logits, targets = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    meter.update(logits[:10], targets[:10])
    meter.update(logits[10:], targets[10:])
    shares = logits.softmax(1).numpy()
    areas = [metrics.roc_auc_score(targets.numpy() == label, shares[:, label]) for label in (0, 1)]
    assert meter.compute()["auroc"] == pytest.approx(np.mean(areas))


def test_one_class_alone_has_no_auroc() -> None:
    meter = Classify(LABELS).meter()
    meter.update(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64))
    assert list(meter.compute()) == ["accuracy", "f1_macro", "ece"]


@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_are_a_softmax_whatever_the_logits(rows: list[list[float]]) -> None:
    logits = np.asarray(rows, dtype=np.float32)
    shares = probabilities(logits)
    expected = torch.from_numpy(logits).double().softmax(1).numpy()
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_decoding_names_the_class_and_says_how_sure() -> None:
    first, second = Classify(LABELS).decode(np.array([[0.0, 3.0, 0.0], [9.0, 0.0, 0.0]]), ["x.jpg", "y.jpg"])
    assert (first.source, first.label, first.status) == ("x.jpg", "bee", "ok")
    assert first.confidence == pytest.approx(np.exp(3) / (np.exp(3) + 2))
    assert second.label == "ant"
    assert second.arrays["probabilities"].sum() == pytest.approx(1.0)


def test_a_task_survives_its_state() -> None:
    task = Classify(LABELS, smoothing=0.1)
    assert restore(task.state()).state() == task.state()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"task": "classify"},
        {"task": "classify", "labels": "abc"},
        {"task": "os.system"},
        [],
        {"task": "classify", "labels": ["a", "a"]},
    ],
)
def test_a_damaged_state_is_refused(state: object) -> None:
    with pytest.raises(IntegrityError):
        restore(state)  # type: ignore[arg-type]


def test_an_unknown_task_is_offered_the_nearest() -> None:
    assert "classify" in list_tasks()
    with pytest.raises(UsageError, match="classify"):
        create_task("clasify", ["a"])


def test_decoding_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from vitrail.tasks import restore\n"
        "restore({'task': 'classify', 'labels': ['a', 'b']}).decode(np.zeros((1, 2)), ['x'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_binary_training_gives_a_mixed_image_both_its_classes_fully() -> None:
    logits, targets = torch.randn(2, 3), torch.tensor([0, 2])
    mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.7, 1.0]))
    task = create_task("classify", list(LABELS), TaskConfig(loss="bce"))
    wanted = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    expected = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)
    torch.testing.assert_close(task.loss(logits, targets, mixing, train=True), expected)
    torch.testing.assert_close(task.loss(logits, targets), F.cross_entropy(logits, targets, reduction="none"))


def test_a_loss_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="cross_entropy, bce"):
        create_task("classify", list(LABELS), TaskConfig(loss="huber"))
