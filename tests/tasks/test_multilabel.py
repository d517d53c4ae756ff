"""The task multilabel: labels by name, losses, thresholds, metrics against scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

import vitrail
from vitrail.contracts import Mixing
from vitrail.errors import DataError, IntegrityError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task, restore
from vitrail.tasks.multilabel import MultiLabel, probabilities

LABELS = ("ant", "bee", "cat")


def test_labels_are_sorted_names_of_all_that_training_images_have() -> None:
    assert create_task("multilabel", [["cat"], [], ["ant", "bee"]]).state()["labels"] == list(LABELS)
    assert create_task("multilabel", ["cat; ant", "", "bee"]).state()["labels"] == list(LABELS)


def test_a_label_that_no_training_image_has_stays_an_output_where_it_is_named() -> None:
    balanced = TaskConfig(name="multilabel", class_weights="balanced")
    task = create_task("multilabel", [["red"], ["blue"], []], balanced, ("red", "blue", "green"))
    assert task.state()["labels"] == ["blue", "green", "red"]
    loss = task.loss(torch.zeros(1, 3), task.collate([task.encode(["red"])]), train=True)
    assert bool(loss.isfinite().all())
    meter = task.meter()
    meter.update(torch.tensor([[-2.0, -2.0, 2.0], [2.0, -2.0, -2.0]]), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    assert meter.compute() == {"map": 1.0, "f1_micro": 1.0, "f1_macro": 1.0}
    assert task.tuned(np.zeros((2, 3)), np.array([[0.0, 0, 1], [1, 0, 0]])).state()["thresholds"][1] == 0.5


def test_targets_are_encoded_by_name_an_empty_list_included() -> None:
    task = MultiLabel(LABELS)
    targets = [["cat", "ant"], [], "bee"]
    assert task.collate([task.encode(t) for t in targets]).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(("wrong", "words"), [(["cats"], "did you mean 'cat'"), (3.5, "a list of labels")])
def test_what_is_no_known_label_is_refused_in_words(wrong: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        MultiLabel(LABELS).encode(wrong)


def test_no_label_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="--target"):
        create_task("multilabel", [[], []])


def test_evaluation_loss_is_plain_binary_cross_entropy() -> None:
    logits, targets = torch.randn(5, 3), (torch.rand(5, 3) > 0.5).float()
    task = MultiLabel(LABELS, smoothing=0.2, weights=[1.0, 3.0, 9.0], loss="asymmetric")
    written = -(targets * logits.sigmoid().log() + (1 - targets) * (1 - logits.sigmoid()).log()).mean(1)
    torch.testing.assert_close(task.loss(logits, targets), written)
    assert not torch.allclose(task.loss(logits, targets, train=True), written)


def test_mixed_images_have_the_labels_of_both_by_share() -> None:
    logits, targets = torch.randn(2, 3), torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.7, 1.0]))
    soft = torch.tensor([[0.7, 0.0, 0.3], [0.0, 0.0, 1.0]])
    task = MultiLabel(LABELS)
    torch.testing.assert_close(task.loss(logits, targets, mixing, train=True), task.loss(logits, soft, train=True))


def test_the_asymmetric_loss_is_the_papers() -> None:
    logits, targets = torch.randn(4, 3, dtype=torch.float32) * 3, (torch.rand(4, 3) > 0.5).float()
    p = logits.double().sigmoid()
    shifted = (p - 0.05).clamp(min=0)
    negative = shifted**4 * (1 - shifted).log()
    expected = -(targets * p.log() + (1 - targets) * negative).mean(1).float()
    task = MultiLabel(LABELS, loss="asymmetric")
    torch.testing.assert_close(task.loss(logits, targets, train=True), expected, atol=1e-6, rtol=1e-4)
    far = torch.tensor([[-200.0, 200.0, 0.0]], requires_grad=True)
    task.loss(far, torch.tensor([[1.0, 0.0, 1.0]]), train=True).sum().backward()
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


def test_balanced_weights_count_rare_labels_more() -> None:
    targets = [["ant"]] * 9 + [["bee"]]
    task = create_task("multilabel", targets, TaskConfig(name="multilabel", class_weights="balanced"))
    logits = torch.zeros(2, 2)
    rare, common = task.loss(logits, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), train=True).tolist()
    assert rare == pytest.approx(common * (9 + 1) / 2)


def test_a_loss_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="bce, asymmetric"):
        create_task("multilabel", [["a"]], TaskConfig(name="multilabel", loss="huber"))


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(60, 4)).astype(np.float32), rng.random((60, 4)) < 0.3
    targets[:, 3] = False  # a label that the split does not have
    task = MultiLabel(("a", "b", "c", "d"), thresholds=(0.5, 0.4, 0.6, 0.5))
    meter = task.meter()
    for part in (slice(0, 25), slice(25, 60)):
        meter.update(torch.from_numpy(logits[part]), torch.from_numpy(targets[part]).float())
    values = meter.compute()
    chances = probabilities(logits)
    said = chances >= np.asarray(task.thresholds)
    seen = slice(0, 3)
    assert values["map"] == pytest.approx(
        sklearn_metrics.average_precision_score(targets[:, seen], chances[:, seen], average="macro"), abs=1e-5
    )
    assert values["f1_micro"] == pytest.approx(sklearn_metrics.f1_score(targets, said, average="micro"))
    assert values["f1_macro"] == pytest.approx(
        sklearn_metrics.f1_score(targets[:, seen], said[:, seen], average="macro")
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-4, 4, width=32), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_gives_a_better_f1_than_the_tuned_one(pairs: list[tuple[float, bool]]) -> None:
    logits = np.array([[score] for score, _ in pairs], np.float32)
    targets = np.array([[present] for _, present in pairs], np.float32)
    tuned = MultiLabel(("x",)).tuned(logits, targets).state()["thresholds"][0]
    chances = probabilities(logits)[:, 0]

    def f1(threshold: float) -> float:
        return float(sklearn_metrics.f1_score(targets[:, 0], chances >= threshold, zero_division=0))

    assert 0 <= tuned <= 1
    if targets.any():
        assert f1(tuned) >= max(f1(t) for t in [0.0, *chances]) - 1e-9
    else:
        assert tuned == 0.5


def test_decoding_says_what_reaches_its_threshold_likeliest_first() -> None:
    logits = np.log(np.array([[0.3, 0.9, 0.6], [0.1, 0.2, 0.3]]) / (1 - np.array([[0.3, 0.9, 0.6], [0.1, 0.2, 0.3]])))
    said, nothing = MultiLabel(LABELS, thresholds=(0.25, 0.5, 0.5)).decode(logits, ["x", "y"])
    assert said.values == {"labels": "bee;cat;ant", "scores": "0.9000;0.6000;0.3000"}
    assert nothing.values == {"labels": "", "scores": ""}
    np.testing.assert_allclose(said.arrays["probabilities"], [0.3, 0.9, 0.6], rtol=1e-5)
    assert MultiLabel(LABELS).truth(["ant", "cat"]) == {"target": "ant;cat"}


def test_state_comes_back_through_json_thresholds_included() -> None:
    task = MultiLabel(LABELS, thresholds=(0.1, 0.2, 0.3))
    again = restore(json.loads(json.dumps(task.state())))
    assert again.state() == task.state()


@pytest.mark.parametrize(
    "change", [{"labels": []}, {"thresholds": [0.5]}, {"thresholds": [2, 0, 0]}, {"labels": [1, 2, 3]}]
)
def test_a_damaged_state_is_refused(change: dict) -> None:
    with pytest.raises(IntegrityError):
        restore({**MultiLabel(LABELS).state(), **change})


def test_a_model_for_it_has_an_output_per_label() -> None:
    model = vitrail.create_model("vit_tiny", task="multilabel", outputs=7, image_size=16, patch_size=8, depth=1)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 7)


def test_decoding_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np\nfrom vitrail.tasks import restore\n"
        "task = restore({'task': 'multilabel', 'labels': ['a', 'b'], 'thresholds': [0.5, 0.5]})\n"
        "assert task.decode(np.zeros((1, 2)), ['x'])\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
