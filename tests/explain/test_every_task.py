"""Explaining models of every task: numbers, labels, a class or a number per pixel, and images seen in windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vitrail.assemble import VisionModel, create_model
from vitrail.contracts import Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain.attention import attend
from vitrail.explain.explainer import explain, output_names
from vitrail.explain.methods import get_method, list_methods
from vitrail.explain.methods.raw_attention import raw_attention, where
from vitrail.explain.methods.rollout import rollout
from vitrail.explain.recorder import record
from vitrail.explain.target import Target
from vitrail.runtime.torch_engine import make_engine
from vitrail.settings import TaskConfig
from vitrail.tasks import create_task

TASKS: dict[str, Task] = {
    "classify": create_task("classify", ["cat", "dog"]),
    "multilabel": create_task("multilabel", [["cat"], ["dog", "owl"]]),
    "regress": create_task("regress", [3.0, 9.0], named=["mass [kg]"]),
    "uncertain": create_task("regress", [(3.0, 1), (9.0, 2)], TaskConfig(name="regress", loss="nll")),
    "segment": create_task("segment", [np.eye(8, dtype=np.uint8)]),
    "depth": create_task("depth", [np.linspace(1, 9, 64).reshape(8, 8)], named=["depth [m]"]),
}


def model_of(task: Task, name: str = "vit_tiny", **options: Any) -> VisionModel:
    """24 wide, 3 blocks, 3 heads, 16 patches, attention that is not flat."""
    stated = {"image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 32, "depth": 3} | options
    model = create_model(name, task, **stated)
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if part.endswith(("qkv.weight", "pool.q.weight", "pool.kv.weight")):
                parameter.mul_(15)
    return model.eval()


@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", ["vit_tiny", "deit_tiny"])
def test_every_method_explains_every_task(name: str, kind: str, method: str, small: Any, photo: Any) -> None:
    artifact = replace(small, model=model_of(TASKS[kind], name), task=TASKS[kind])
    made = explain(artifact, photo, "a.jpg", method=method)
    assert made.raw.shape == (32, 32)
    assert np.isfinite(made.raw).all()
    assert np.ptp(made.raw) > 0
    said = artifact.task.decode(
        make_engine(artifact.model, "cpu")(small.preprocessor(photo)[None]), ["a.jpg"],
        [lambda values: small.preprocessor.to_image(values, photo.shape[:2])],
    )[0]  # fmt: skip
    assert dict(made.prediction.values) == dict(said.values)
    assert made.answer == said.answer != ""
    assert made.overlay().mode == "RGB"


def test_answers_are_said_in_a_few_words() -> None:
    def words(kind: str, *raw: float) -> str:
        return TASKS[kind].decode(np.array([raw], np.float32), ["a"])[0].answer

    assert words("classify", 5, 0) == "cat 99.3%"
    assert words("multilabel", 2, -2, 4) == "owl; cat"
    assert words("multilabel", -2, -2, -4) == "none of the labels"
    assert words("regress", 0.5) == "mass 7.50 kg"
    assert words("uncertain", 1, -1, 0, 0) == "value0 9.00 ± 3.00, value1 1.00 ± 0.500"
    logits = np.zeros((1, 2, 4, 4), np.float32)
    logits[0, 1, 0, :2] = 9
    assert TASKS["segment"].decode(logits, ["a"])[0].answer == "foreground 12% of the pixels"
    assert TASKS["segment"].decode(-logits, ["a"])[0].answer == "background 100% of the pixels"
    heights = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert TASKS["depth"].decode(heights, ["a"])[0].answer == "depth 2.65 to 7.35 m"


def test_a_number_is_explained_by_the_attention_of_its_own_pooling(images: torch.Tensor, aim: Any) -> None:
    model = model_of(TASKS["regress"])
    assert model.pooling == "map"
    attention = attend(model, images)
    assert attention.pool is not None
    expected = attention.pool.call.weights[..., 0, :].mean(dim=1).reshape(2, 4, 4)
    torch.testing.assert_close(raw_attention(model, images, aim(images))[:, ::8, ::8], expected)
    assert where(model, None, None) == "pooling head, mean of heads"


@pytest.mark.parametrize("kind", ["segment", "depth"])
def test_an_answer_at_every_place_is_explained_by_the_mean_over_all_places(
    kind: str, images: torch.Tensor, aim: Any
) -> None:
    model = model_of(TASKS[kind])
    assert attend(model, images).pool is None
    with record(model) as recording, torch.no_grad():
        recording.model(images)
    weights = [call.weights for call in recording.calls]
    assert len(weights) == 3
    product = torch.eye(17).expand(2, -1, -1)
    for each in weights:
        product = (each.mean(dim=1) + torch.eye(17)) / 2 @ product
    expected = product[:, 1:, 1:].mean(dim=1).reshape(2, 4, 4)
    torch.testing.assert_close(rollout(model, images, aim(images))[:, ::8, ::8], expected)
    last = weights[-1][:, :, 1:, 1:].mean(dim=(1, 2)).reshape(2, 4, 4)
    torch.testing.assert_close(raw_attention(model, images, aim(images))[:, ::8, ::8], last)
    assert where(model, None, None).startswith("layer 2")


@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("size", [(32, 32), (40, 60), (20, 70)])
def test_of_an_image_seen_in_windows_the_one_at_its_centre_is_explained(method: str, size: tuple[int, int]) -> None:
    model = model_of(TASKS["segment"])
    tiled = Preprocessor(size=(32, 32), resize="tile")
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

    class Tiled:
        preprocessor, task = tiled, TASKS["segment"]

    Tiled.model = model  # type: ignore[attr-defined]
    made = explain(Tiled(), pixels, "a", method=method)  # type: ignore[arg-type]
    ready = tiled(pixels)
    top, left = ((length - 32) // 2 for length in ready.shape[1:])
    window = torch.from_numpy(ready[None, :, top : top + 32, left : left + 32].copy())
    asked = Target(torch.tensor([output_names(Tiled.task).index(made.target) if made.target else 0]))
    expected = get_method(method).compute(model, window, asked, layer=None, head=None)[0].numpy()
    assert np.array_equal(made.raw[top : top + 32, left : left + 32], expected)
    assert np.isfinite(made.raw).sum() == 32 * 32
    assert made.heatmap.shape == size
    assert made.where.endswith("centre window") == (size != (32, 32))
    assert made.overlay().mode == "RGB"
    if max(size) > 32:
        assert np.isnan(made.heatmap).any()


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", ["swin_tiny", "swinv2_tiny", "pvt_tiny", "pvt_v2_b0", "resnet18", "convnext_tiny"])
def test_models_of_several_grids_are_explained_by_default_in_every_task(
    name: str, kind: str, small: Any, photo: Any
) -> None:
    model = create_model(name, TASKS[kind], image_size=64, **({"window": 4} if "swin" in name else {}))
    artifact = replace(small, model=model.eval(), task=TASKS[kind], preprocessor=Preprocessor(size=(64, 64)))
    made = explain(artifact, photo, "a.jpg")
    assert np.isfinite(made.raw).all()
    assert np.ptp(made.raw) > 0


@pytest.mark.parametrize("method", ["rollout", "raw_attention", "relevance", "attention_gradient"])
def test_a_model_without_attention_is_told_the_methods_that_explain_it(method: str, small: Any, photo: Any) -> None:
    model = create_model("resnet18", TASKS["classify"], image_size=32)
    with pytest.raises(UsageError) as refused:
        explain(replace(small, model=model.eval()), photo, "a.jpg", method=method)
    assert f"{method}: ResNet has no attention" in str(refused.value)
    assert "grad_cam, input_gradient" in str(refused.value)
    assert "rollout" not in str(refused.value).partition("methods that do")[2]


def test_outputs_of_every_task_have_names() -> None:
    assert {kind: output_names(task) for kind, task in TASKS.items()} == {
        "classify": ["cat", "dog"], "multilabel": ["cat", "dog", "owl"], "regress": ["mass"],
        "uncertain": ["value0", "value1"], "segment": ["background", "foreground"], "depth": ["depth"],
    }  # fmt: skip
