"""The task depth: maps of numbers in their own units, with holes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from vitrail.contracts import MapFile
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import BadImage, DataError, IntegrityError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task, restore
from vitrail.tasks.depth import Depth

RNG = np.random.default_rng(0)


def _fit(maps: list, **config: object) -> Depth:
    return create_task("depth", maps, TaskConfig(name="depth", **config))  # type: ignore[arg-type,return-value]


def test_maps_are_read_from_16_bit_png_float_tiff_and_numpy_in_units(tmp_path: Path) -> None:
    stored = RNG.integers(1, 5000, (6, 8)).astype(np.uint16)
    stored[0, 0] = 0
    Image.fromarray(stored).save(tmp_path / "a.png")
    Image.fromarray(stored.astype(np.float32)).save(tmp_path / "a.tiff")
    np.save(tmp_path / "a.npy", stored)
    files = [MapFile(tmp_path / name) for name in ("a.png", "a.tiff", "a.npy")]
    task = _fit(files, scale=0.001, missing=0.0)
    for file in files:
        read = task.encode(file)
        assert read.shape == (1, 6, 8)
        assert np.isnan(read[0, 0, 0])
        np.testing.assert_allclose(read[0, 1:], stored[1:] * 0.001, rtol=1e-6)
    assert task.mean[0] == pytest.approx(stored[stored > 0].mean() * 0.001)
    assert task.std[0] == pytest.approx(stored[stored > 0].std() * 0.001)


def test_zero_is_a_value_unless_said_to_be_missing() -> None:
    assert float(_fit([np.eye(4, dtype=np.float32)]).encode(np.eye(4, dtype=np.float32)).min()) == 0.0


def test_several_maps_have_names_and_units() -> None:
    task = _fit([RNG.random((2, 4, 4)) for _ in range(3)], labels=("height [m]", "slope"))
    assert (task.names, task.units, task.outputs) == (("height", "slope"), ("m", ""), 2)
    with pytest.raises(BadImage, match="1 maps where 2"):
        task.encode(np.zeros((4, 4)))


@pytest.mark.parametrize("loss", ["l1", "silog"])
def test_a_perfect_answer_has_no_loss_and_holes_have_no_say(loss: str) -> None:
    truth = RNG.uniform(1, 9, (3, 5, 6)).astype(np.float32)
    truth[0, :2] = np.nan
    task = _fit([*truth], loss=loss)
    targets = task.collate([task.encode(t) for t in truth])
    inner = np.log(truth) if loss == "silog" else truth
    raw = torch.from_numpy(np.nan_to_num((inner[:, None] - task.mean[0]) / task.std[0], nan=77.0)).float()
    raw.requires_grad_()
    losses = task.loss(raw, targets)
    assert losses.shape == (3,)
    assert float(losses.detach().max()) < 2e-6
    task.loss(raw + 0.1, targets).sum().backward()
    assert raw.grad is not None
    assert bool(raw.grad.isfinite().all())
    assert float(raw.grad[0, 0, :2].abs().max()) == 0


def test_silog_is_the_written_formula() -> None:
    truth, said = RNG.uniform(1, 9, (1, 5, 6)), RNG.uniform(1, 9, (1, 5, 6))
    task = _fit([truth[0]], loss="silog")
    raw = torch.from_numpy((np.log(said)[:, None] - task.mean[0]) / task.std[0]).float()
    d = np.log(said) - np.log(truth)
    expected = np.sqrt((d**2).mean() - 0.85 * d.mean() ** 2)
    loss = task.loss(raw, task.collate([task.encode(truth[0])]))
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_l1_is_the_mean_over_known_pixels_of_standardised_errors() -> None:
    truth = RNG.normal(5, 2, (1, 4, 4)).astype(np.float32)
    task = _fit([truth[0]])
    raw = torch.randn(1, 1, 4, 4)
    expected = np.abs(raw.numpy()[:, 0] - (truth - task.mean[0]) / task.std[0]).mean()
    assert float(task.loss(raw, task.collate([task.encode(truth[0])]))) == pytest.approx(expected, rel=1e-4)


def test_metrics_are_the_written_formulas_in_units() -> None:
    truth, said = RNG.uniform(1, 9, (2, 1, 5, 6)), RNG.uniform(1, 9, (2, 1, 5, 6))
    task = _fit([*truth[:, 0]])
    holes = truth.copy()
    holes[0, 0, 0] = np.nan
    meter = task.meter()
    raw = torch.from_numpy((said - task.mean[0]) / task.std[0])
    meter.update(raw[:1], torch.from_numpy(holes[:1]))
    meter.update(raw[1:], torch.from_numpy(holes[1:]))
    values, known = meter.compute(), np.isfinite(holes)
    y, p = truth[known], said[known]
    ratio = np.maximum(y / p, p / y)
    expected = {
        "mae": np.abs(p - y).mean(), "rmse": np.sqrt(((p - y) ** 2).mean()), "abs_rel": (np.abs(p - y) / y).mean(),
        "r2": 1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(),
        **{f"delta{k}": (ratio < 1.25**k).mean() for k in (1, 2, 3)},
    }  # fmt: skip
    assert values == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_ratios_are_over_the_pixels_with_a_positive_truth_and_left_out_where_none_has() -> None:
    truth = np.array([[0.0, 2.0, 4.0], [-1.0, np.nan, 8.0]])
    task = _fit([truth])
    raw = (np.full((1, 1, 2, 3), 4.0) - task.mean[0]) / task.std[0]
    meter = task.meter()
    meter.update(torch.from_numpy(raw), torch.from_numpy(truth[None, None]))
    values = meter.compute()
    assert values["abs_rel"] == pytest.approx((2 / 2 + 0 / 4 + 4 / 8) / 3)
    assert [values[f"delta{k}"] for k in (1, 2, 3)] == pytest.approx([1 / 3] * 3)
    assert values["mae"] == pytest.approx((4 + 2 + 0 + 5 + 4) / 5)
    meter = _fit([np.eye(4)]).meter()
    meter.update(torch.zeros(1, 1, 4, 4), torch.eye(4)[None, None] - 1)
    assert set(meter.compute()) == {"mae", "rmse", "r2"}


def test_answers_have_the_image_size_and_units() -> None:
    task = Depth(["depth"], ["m"], [10.0], [2.0])
    preprocessor = Preprocessor(size=(8, 8), resize="letterbox")
    said = task.decode(np.ones((1, 1, 8, 8), np.float32), ["a"], [lambda v: preprocessor.to_image(v, (20, 40))])[0]
    assert said.arrays["maps"].shape == (1, 20, 40)
    np.testing.assert_allclose(said.arrays["maps"], 12.0)
    assert said.values == {"depth_mean": 12.0, "depth_min": 12.0, "depth_max": 12.0}


@pytest.mark.parametrize(
    ("maps", "words"),
    [([np.ones((4, 4))], "same value everywhere"), ([np.full((4, 4), np.nan)], "known nowhere"), ([], "no map")],
)
def test_maps_that_cannot_be_learnt_are_refused(maps: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        _fit(maps)


def test_a_loss_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="silog"):
        _fit([np.eye(4)], loss="huber")


@pytest.mark.parametrize("missing", [None, 0.0])
def test_state_comes_back_through_json(missing: float | None) -> None:
    task = Depth(
        ["a", "b"], ["m", ""], [1.0, 2.0], [3.0, 4.0], scale=0.5, missing=missing, loss="silog", decoder="linear"
    )
    assert restore(json.loads(json.dumps(task.state()))).state() == task.state()


@pytest.mark.parametrize("change", [{"std": [0.0]}, {"maps": []}, {"loss": "bce"}, {"scale": -1}, {"missing": "x"}])
def test_a_damaged_state_is_refused(change: dict) -> None:
    with pytest.raises(IntegrityError):
        restore({**Depth(["a"], [""], [0.0], [1.0]).state(), **change})


def test_a_model_for_it_answers_every_pixel() -> None:
    model = vitrail.create_model("vit_tiny", task="depth", outputs=2, image_size=32, patch_size=8, depth=1)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 2, 32, 32)


def test_decoding_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np\nfrom vitrail.tasks.depth import numbered\n"
        "assert numbered(1).decode(np.zeros((1, 1, 4, 4)), ['x'])\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
