"""What a model is like on the whole: every family has its profile, and the words say what the arrays do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from lively_families import FAMILIES, family, pictures

from vitrail.explain.figures import ALTERNATIVES, drawn
from vitrail.explain.profile import LayerProfile, Profile, beside, even_distance
from vitrail.explain.statistics import profile, reach


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_has_a_profile_and_says_what_it_has_none_of(kind: str) -> None:
    model, images = family(kind), pictures()
    made = profile(model, images)
    assert set(made.words()) == set(drawn(made)) <= set(ALTERNATIVES)
    without = " ".join(made.missing)
    assert ("attention_distance" in made.words()) == ("has no attention" not in without)
    assert ("position_similarity" in made.words()) == ("adds no position embeddings" not in without)
    assert ("has no attention" in without) == (kind in ("resnet", "convnext"))
    assert "this method" not in without
    assert any(layer.windows > 1 for layer in made.layers) == kind.startswith("swin")
    assert ("Within windows" in made.words().get("attention_distance", "")) == kind.startswith("swin")
    if made.layers:
        for own, other in zip(made.layers, reach(model, images), strict=True):
            np.testing.assert_array_equal(own.distance, other.distance)
            assert own.grid == other.grid
            assert own.entropy.max() <= math.log(own.keys) + 1e-6


def test_even_attention_looks_as_far_as_it_does() -> None:
    """Oracle: every pair of cells."""
    places = [(8.0 * i, 6.0 * j) for i, j in itertools.product(range(3), range(5))]
    expected = np.mean([math.dist(one, other) for one in places for other in places])
    assert even_distance((3, 5), (24, 30)) == pytest.approx(expected)
    flat = family("vit")
    with torch.no_grad():
        for block in flat.backbone.blocks():
            for parameter in block.attn.qkv.parameters():
                parameter.zero_()
    made = profile(flat, pictures())
    assert made.layers[0].distance == pytest.approx(made.even, rel=1e-5)


def test_the_words_say_how_far_and_how_evenly() -> None:
    layers = [
        LayerProfile((14, 14), 197, 4, np.array([12.0, 40.4]), np.log([3.0, 60.0])),
        LayerProfile((14, 14), 197, 1, np.array([101.6, 110.0]), np.log([150.0, 150.0])),
    ]
    told = Profile(8, (224, 224), layers, 116.4).words()
    assert "over 8 images: a dot a head" in told["attention_distance"]
    assert "In the first layer 12 to 40 pixels, in the last 102 to 110. Spread evenly" in told["attention_distance"]
    assert "would look 116 pixels far" in told["attention_distance"]
    assert told["attention_distance"].endswith("Within windows, heads can look no further than those.")
    assert (
        "In the first layer 3 to 60 of them, in the last 150. The most is all 197 evenly." in told["attention_entropy"]
    )


def test_whether_nearness_shows_in_positions_is_said() -> None:
    places = np.indices((4, 5)).reshape(2, -1).T
    apart = np.abs(places[:, None] - places[None]).max(axis=-1)
    near = np.where(apart == 0, 1.0, np.where(apart == 1, 0.5, 0.1)).astype(np.float32).reshape(4, 5, 4, 5)
    assert beside(near) == pytest.approx((0.5, 0.1))
    told = Profile(1, (32, 40), positions=near).words()["position_similarity"]
    assert told.endswith("alike by 0.50 on the mean, those of other patches by 0.10 (1 is the same, 0 unrelated): so "
                         "nearness shows in them.")  # fmt: skip
    alike = np.full((4, 5, 4, 5), 0.3, np.float32)
    assert "hardly shows" in Profile(1, (32, 40), positions=alike).words()["position_similarity"]
    assert (
        "alike by" not in Profile(1, (8, 8), positions=np.ones((1, 1, 1, 1), np.float32)).words()["position_similarity"]
    )


def test_a_profile_without_anything_has_no_words_and_a_record_that_is_json() -> None:
    import json

    assert Profile(0, (8, 8)).words() == {}
    made = profile(family("vit"), pictures())
    record = made.record()
    assert record["images"] == 2
    assert json.dumps(record, default=lambda values: values.tolist())
