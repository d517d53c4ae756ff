"""The task regress: numbers in their own units, standardised inside."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

import vitrail
from vitrail.contracts import Mixing
from vitrail.errors import DataError, IntegrityError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task, restore
from vitrail.tasks.regress import Regress, split_unit

TARGETS = [10.0, 20.0, 60.0]


def _task(loss: str = "auto", targets=TARGETS, named=("mass [kg]",)) -> Regress:
    return create_task("regress", targets, TaskConfig(name="regress", loss=loss), named)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("mass [kg]", ("mass", "kg")),
        ("mass (kg)", ("mass", "kg")),
        ("body mass", ("body mass", "")),
        (" speed [m/s] ", ("speed", "m/s")),
        ("f(x)", ("f", "x")),
        ("[kg]", ("[kg]", "")),
    ],
)
def test_the_unit_comes_from_the_header(header: str, parts: tuple[str, str]) -> None:
    assert split_unit(header) == parts


def test_targets_are_standardised_inside_and_answered_in_their_units() -> None:
    task = _task()
    assert (task.names, task.units) == (("mass",), ("kg",))
    assert task.mean == (30.0,)
    raw = np.array([[0.0], [1.0]], np.float32)
    first, second = task.decode(raw, ["a", "b"])
    assert first.values == {"mass_pred": pytest.approx(30.0)}
    assert second.values["mass_pred"] == pytest.approx(30.0 + np.std(TARGETS))
    assert task.truth(20) == {"mass": 20.0}
    perfect = torch.tensor([[(t - 30.0) / np.std(TARGETS)] for t in TARGETS])
    loss = task.loss(perfect, task.collate([task.encode(t) for t in TARGETS]))
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", ["l1", "huber", "mse"])
def test_losses_are_torchs_on_standardised_targets(loss: str) -> None:
    task, outputs = _task(loss), torch.randn(3, 1) * 3
    wanted = torch.tensor([[(t - 30.0) / np.std(TARGETS)] for t in TARGETS], dtype=torch.float32)
    function = {"l1": torch.nn.L1Loss, "huber": torch.nn.HuberLoss, "mse": torch.nn.MSELoss}[loss]
    torch.testing.assert_close(task.loss(outputs, torch.tensor(TARGETS)[:, None]).mean(), function()(outputs, wanted))


def test_nll_is_the_gaussian_one_and_states_a_deviation() -> None:
    task = _task("nll")
    assert task.outputs == 2
    assert task.columns == ("mass_pred", "mass_std")
    outputs = torch.randn(3, 2)
    wanted = torch.tensor([[(t - 30.0) / np.std(TARGETS)] for t in TARGETS], dtype=torch.float32)
    expected = torch.nn.functional.gaussian_nll_loss(outputs[:, :1], wanted, outputs[:, 1:].exp(), eps=0.0)
    torch.testing.assert_close(task.loss(outputs, torch.tensor(TARGETS)[:, None]).mean(), expected)
    said = task.decode(np.array([[0.0, 0.0]]), ["a"])[0]
    assert said.values["mass_std"] == pytest.approx(np.std(TARGETS))


def test_coverage_is_that_of_the_stated_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(5, 2, size=4000)
    task = Regress(["x"], [""], [5.0], [2.0], "nll")
    outputs = np.stack([np.zeros(4000), np.zeros(4000)], axis=1).astype(np.float32)  # says N(5, 2) of every one
    meter = task.meter()
    meter.update(torch.from_numpy(outputs), torch.from_numpy(truth)[:, None].float())
    assert meter.compute()["coverage90"] == pytest.approx(0.9, abs=0.02)


def test_metrics_agree_with_scikit_learn_in_units() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(100, 15, size=50).astype(np.float32)
    task = create_task("regress", truth.tolist(), None, ("weight [g]",))
    raw = ((truth - task.mean[0]) / task.std[0] + rng.normal(0, 0.3, 50)).astype(np.float32)[:, None]
    meter = task.meter()
    meter.update(torch.from_numpy(raw[:20]), torch.from_numpy(truth[:20, None]))
    meter.update(torch.from_numpy(raw[20:]), torch.from_numpy(truth[20:, None]))
    values, said = meter.compute(), raw[:, 0] * task.std[0] + task.mean[0]
    assert values["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(truth, said), rel=1e-4)
    assert values["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(truth, said), rel=1e-4)
    assert values["r2"] == pytest.approx(sklearn_metrics.r2_score(truth, said), rel=1e-4)
    assert values["pearson"] == pytest.approx(np.corrcoef(truth, said)[0, 1], rel=1e-4)


def test_several_targets_have_metrics_of_their_own() -> None:
    task = _task(targets=[[1, 10], [2, 30], [4, 90]], named=("length [m]", "mass"))
    assert task.headline == "loss"
    meter = task.meter()
    meter.update(torch.zeros(3, 2), torch.tensor([[1.0, 10], [2, 30], [4, 90]]))
    values = meter.compute()
    assert set(values) == {"r2", "mae/length", "rmse/length", "mae/mass", "rmse/mass"}
    assert values["r2"] == pytest.approx(0.0, abs=1e-5)  # it always says the mean


def test_what_is_not_defined_is_left_out() -> None:
    task = _task()
    meter = task.meter()
    meter.update(torch.randn(2, 1), torch.tensor([[5.0], [5.0]]))
    assert set(meter.compute()) == {"mae", "rmse"}


@pytest.mark.parametrize("wrong", ["tall", None, float("nan"), [1.0, 2.0], float("inf")])
def test_what_is_no_number_is_refused_in_words(wrong: object) -> None:
    with pytest.raises(DataError):
        _task().encode(wrong)


@pytest.mark.parametrize(
    ("targets", "words"), [([3.0, 3.0], "nothing to learn"), ([], "at least one"), ([[1.0], [1.0, 2.0]], "same number")]
)
def test_targets_that_cannot_be_learnt_are_refused(targets: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        create_task("regress", targets)


def test_a_loss_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="huber"):
        _task("bce")


def test_a_mixed_image_counts_both_its_targets_by_share() -> None:
    task, outputs = _task("mse"), torch.randn(2, 1)
    targets = torch.tensor([[10.0], [60.0]])
    own, swapped = task.loss(outputs, targets), task.loss(outputs, targets.flip(0))
    mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.25, 1.0]))
    expected = torch.stack([0.25 * own[0] + 0.75 * swapped[0], own[1]])
    torch.testing.assert_close(task.loss(outputs, targets, mixing, train=True), expected)


@given(st.floats(-1e6, 1e6), st.floats(-50, 50))
def test_an_answer_is_linear_in_the_output(value: float, raw: float) -> None:
    task = Regress(["x"], [""], [value], [2.5])
    assert task.decode(np.array([[raw]]), ["a"])[0].values["x_pred"] == pytest.approx(value + 2.5 * raw)


@pytest.mark.parametrize("loss", ["huber", "nll"])
def test_state_comes_back_through_json(loss: str) -> None:
    task = _task(loss)
    assert restore(json.loads(json.dumps(task.state()))).state() == task.state()


@pytest.mark.parametrize("change", [{"std": [0.0]}, {"mean": []}, {"targets": []}, {"loss": "bce"}, {"std": ["x"]}])
def test_a_damaged_state_is_refused(change: dict) -> None:
    with pytest.raises(IntegrityError):
        restore({**_task().state(), **change})


def test_a_model_for_it_asks_all_tokens_unless_told_otherwise() -> None:
    sizes = {"image_size": 16, "patch_size": 8, "depth": 1}
    model = vitrail.create_model("vit_tiny", task="regress", outputs=2, **sizes)
    assert model.pooling == "map"
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 2)
    assert vitrail.create_model("vit_tiny", task="regress", outputs=2, pooling="mean", **sizes).pooling == "mean"


def test_decoding_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np\nfrom vitrail.tasks.regress import numbered\n"
        "assert numbered(1).decode(np.zeros((1, 1)), ['x'])\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
