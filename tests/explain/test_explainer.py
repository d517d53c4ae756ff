from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vitrail.errors import UsageError
from vitrail.explain.explainer import explain
from vitrail.explain.methods import list_methods
from vitrail.explain.methods.raw_attention import raw_attention
from vitrail.explain.target import Target
from vitrail.runtime.torch_engine import TorchEngine

Photo = np.ndarray[Any, Any]


def test_the_map_and_the_answer_are_those_of_this_image(small: Any, photo: Photo) -> None:
    made = explain(small, photo, "photos/a.jpg", method="raw-attention", layer=1, head=0)
    ready = small.preprocessor(photo)[None]
    expected = raw_attention(small.model, torch.from_numpy(ready), Target(torch.tensor([0])), layer=1, head=0)[0]
    assert made.raw.dtype == np.float32
    assert np.array_equal(made.raw, expected.numpy())
    answer = small.task.decode(TorchEngine(small.model, "cpu")(ready), ["photos/a.jpg"])[0]
    assert (made.prediction.label, made.prediction.confidence) == (answer.label, answer.confidence)
    assert made.source == "photos/a.jpg"
    assert made.caption == "raw attention: layer 1 (of 0 to 2), head 0"


@pytest.mark.parametrize("method", list_methods())
def test_explaining_twice_gives_the_same_bits_and_leaves_no_gradient(method: str, small: Any, photo: Photo) -> None:
    first, second = (explain(small, photo, "a", method=method) for _ in range(2))
    assert np.array_equal(first.raw, second.raw)
    assert all(parameter.grad is None for parameter in small.model.parameters())


def test_grey_and_four_channel_models_are_explained(make_model: Any, small: Any) -> None:
    for channels in (1, 4):
        model = make_model(in_channels=channels)
        preprocessor = small.preprocessor.model_copy(update={"channels": channels})
        own = replace(small, model=model, preprocessor=preprocessor)
        pixels = np.random.default_rng(1).integers(0, 256, (32, 32, channels), dtype=np.uint8)
        assert explain(own, pixels, "a").overlay().mode == "RGB"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"method": "roll-out"}, "did you mean 'rollout'"),
        ({"method": "raw_attention", "layer": 7}, r"no layer 7: this model has 3, 0 to 2 \(or -3 to -1\)"),
        ({"method": "raw_attention", "head": 3}, "no head 3: this model has 3, 0 to 2"),
        ({"method": "rollout", "head": 0}, "rollout does not look at single heads"),
        ({"method": "rollout", "target": "cat"}, "the same for every class"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(asked: dict[str, Any], said: str, small: Any, photo: Photo) -> None:
    with pytest.raises(UsageError, match=said):
        explain(small, photo, "a", **asked)
