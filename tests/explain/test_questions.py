"""What can be asked of an explanation: classes by name, one against another, regions, tokens, patches; and defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from lively_families import FAMILIES, family

from vitrail.assemble import VisionModel
from vitrail.contracts import Task
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import UsageError
from vitrail.explain.defaults import BY_FAMILY, default_method, fitting
from vitrail.explain.explainer import explain
from vitrail.explain.methods import get_method, list_methods
from vitrail.explain.question import NotHere
from vitrail.explain.target import Target
from vitrail.models import families
from vitrail.tasks import create_task

SIZE = (32, 48)
PREPROCESSOR = Preprocessor(size=SIZE)


@dataclass(frozen=True)
class Whole:
    """What `explain` needs of an artifact."""

    model: VisionModel
    task: Task
    preprocessor: Preprocessor = PREPROCESSOR


def whole(kind: str, task: Task) -> Whole:
    return Whole(family(kind, task), task)


ANIMALS = create_task("classify", ["cat", "dog", "owl"])
PARTS = create_task("segment", [np.arange(9, dtype=np.uint8).reshape(3, 3) % 3])
HEIGHT = create_task("depth", [np.linspace(1, 9, 64).reshape(8, 8)], named=["depth [m]"])


@pytest.fixture
def picture() -> np.ndarray[Any, Any]:
    """(32, 48, 3) uint8, so that the model's pixels are the image's own."""
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def ready(artifact: Whole, pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(artifact.preprocessor(pixels)[None])


@pytest.mark.parametrize("method", ["relevance", "grad_cam"])
def test_a_class_by_name_or_place_and_one_against_another(method: str, picture: np.ndarray[Any, Any]) -> None:
    artifact = whole("vit", ANIMALS)

    def asked(**parts: Any) -> Any:
        return explain(artifact, picture, "a", method=method, **parts)

    compute, images = get_method(method).compute, ready(artifact, picture)
    expected = compute(artifact.model, images, Target(torch.tensor([2]), torch.tensor([0])), layer=None, head=None)
    made = asked(target="owl", against=0)
    assert np.array_equal(made.raw, expected[0].numpy())
    assert made.target == "owl and not cat"
    assert np.array_equal(asked(target="owl").raw, asked(target=2).raw)
    assert not np.array_equal(asked(target="owl").raw, asked(target="dog").raw)
    largest = int(artifact.model(images).argmax())
    assert np.array_equal(asked().raw, asked(target=largest).raw)
    other = (largest + 1) % 3
    assert np.array_equal(asked(against=other).raw, asked(target=largest, against=other).raw)


def test_a_region_of_the_image_or_where_the_answer_is_that(picture: np.ndarray[Any, Any]) -> None:
    artifact = whole("vit", PARTS)
    outputs = artifact.model(ready(artifact, picture)).detach()[0]
    common = int(outputs.argmax(0).flatten().bincount(minlength=len(outputs)).argmax())
    mask = np.zeros(SIZE, bool)
    mask[:16, :24] = True
    compute = get_method("relevance").compute
    for region, inside in ((mask, torch.from_numpy(mask)), ("answer", outputs.argmax(0) == common)):
        made = explain(artifact, picture, "a", method="relevance", target=common, region=region)  # type: ignore[arg-type]
        target = Target(torch.tensor([common]), region=inside[None])
        expected = compute(artifact.model, ready(artifact, picture), target, layer=None, head=None)
        assert np.array_equal(made.raw, expected[0].numpy())
    everywhere = explain(artifact, picture, "a", method="relevance", target=common)
    assert not np.array_equal(made.raw, everywhere.raw)
    numbered = explain(artifact, picture, "a", method="relevance", target=common, region=mask * 256)
    assert np.array_equal(
        numbered.raw, explain(artifact, picture, "a", target=common, region=mask, method="relevance").raw
    )
    there = explain(artifact, picture, "a", method="rollout", target=common, region="answer")
    assert not np.array_equal(there.raw, explain(artifact, picture, "a", method="rollout").raw)
    assert there.caption.endswith(f"read where the answer is {PARTS.state()['labels'][common]}")
    assert explain(artifact, picture, "a", method="rollout", region=mask).caption.endswith("read in a region")


def test_what_one_image_has_not_is_told_from_what_no_image_has(picture: np.ndarray[Any, Any]) -> None:
    artifact = whole("vit", PARTS)
    said = artifact.model(ready(artifact, picture)).detach()[0].argmax(0)
    common = int(said.flatten().bincount(minlength=3).argmax())
    by_answer = explain(artifact, picture, "a", method="relevance", region="answer")
    assert by_answer.target.startswith(f"{PARTS.state()['labels'][common]} where the answer is that")
    biases = [part for part in artifact.model.head.parameters() if part.shape == (3,)]
    with torch.no_grad():
        biases[-1][common] += 1000  # nothing else is said now
    with pytest.raises(NotHere, match="nowhere on this image"):
        explain(artifact, picture, "a", method="relevance", target=(common + 1) % 3, region="answer")
    animals = whole("vit", ANIMALS)
    answer = int(animals.model(ready(animals, picture)).argmax())
    with pytest.raises(NotHere, match="itself, and cannot be set against it: name a target class"):
        explain(animals, picture, "a", method="relevance", against=answer)


def test_a_region_goes_through_the_geometry_of_its_image() -> None:
    """A wide photograph is cut in its middle: of a region at the left, nothing is seen."""
    artifact = replace(whole("vit", PARTS), preprocessor=Preprocessor(size=SIZE))
    pixels = np.random.default_rng(1).integers(0, 256, (32, 200, 3), dtype=np.uint8)
    left = np.zeros((32, 200), bool)
    left[:, :20] = True
    with pytest.raises(UsageError, match="nothing of the region is in the part of the image"):
        explain(artifact, pixels, "a", region=left)
    middle = np.zeros((32, 200), bool)
    middle[:, 76:100] = True  # 48 columns of the image are seen, from 76 on
    expected = torch.zeros(1, *SIZE, dtype=torch.bool)
    expected[:, :, :24] = True
    made = explain(artifact, pixels, "a", method="relevance", target=0, region=middle)
    own = get_method("relevance").compute(
        artifact.model, ready(artifact, pixels), Target(torch.tensor([0]), region=expected), layer=None, head=None
    )
    assert np.array_equal(made.raw, own[0].numpy())


def test_the_gaze_of_one_patch_and_the_token_read_from_are_in_the_caption(picture: np.ndarray[Any, Any]) -> None:
    artifact = whole("deit", ANIMALS)
    gazes = [explain(artifact, picture, "a", method="rollout", cell=cell) for cell in ((0, 0), (3, 5))]
    assert not np.array_equal(gazes[0].raw, gazes[1].raw)
    assert gazes[1].caption.endswith("gaze of patch 3,5")
    read = explain(artifact, picture, "a", method="raw_attention", reader="dist")
    assert read.caption.endswith("read from dist")
    assert not np.array_equal(read.raw, explain(artifact, picture, "a", method="raw_attention", reader="cls").raw)


@pytest.mark.parametrize(
    ("task", "asked", "said"),
    [
        (ANIMALS, {"target": "dgo"}, "did you mean 'dog'"),
        (ANIMALS, {"method": "relevance", "against": 3}, "no class 3: this model has 3, 0 to 2"),
        (ANIMALS, {"method": "relevance", "target": 1, "against": "dog"}, "cannot be set against itself"),
        (
            ANIMALS,
            {"method": "rollout", "against": "dog"},
            "the same for every class: leave the target class out, or use attention_",
        ),
        (ANIMALS, {"method": "relevance", "cell": (0, 0)}, "leave the cell out, or use raw_attention or rollout"),
        (ANIMALS, {"method": "rollout", "cell": (4, 0)}, "no patch 4,0: this model's last grid has 4 rows of 6"),
        (ANIMALS, {"method": "rollout", "reader": "dist"}, "no token 'dist' to read from in this model: it has cls"),
        (ANIMALS, {"method": "relevance", "region": np.ones(SIZE, bool)}, "answers once for the whole image"),
        (PARTS, {"method": "relevance", "reader": "cls"}, "reads no such token"),
        (
            ANIMALS,
            {"method": "occlusion", "reader": "register"},
            "not read from register.*use raw_attention or rollout",
        ),
        (PARTS, {"method": "relevance", "region": "anwser"}, "no region 'anwser': give a mask of the image's pixels"),
        (PARTS, {"method": "relevance", "region": np.ones((8, 8), bool)}, "shape .8, 8., and the image has 32 rows of"),
        (PARTS, {"method": "relevance", "region": [[True]]}, "this one has the shape .1, 1."),
        (PARTS, {"method": "rollout", "cell": (0, 0), "region": np.ones(SIZE, bool)}, "a cell and a region both say"),
        (ANIMALS, {"method": "rollout", "cell": (0, 0), "reader": "cls"}, "a cell and a reader both say whose gaze"),
        (HEIGHT, {"method": "relevance", "region": "answer"}, "one map, which is the largest everywhere"),
        (
            ANIMALS,
            {"method": "relevance", "layer": 0},
            "does not look at single layers: leave the layer out, or use attention_",
        ),
        (ANIMALS, {"method": "relevance", "target": 1.5}, "told by its name or its number, not 1.5"),
        (ANIMALS, {"method": "rollout", "cell": (1.0, 0)}, "such as .3, 4., not .1.0, 0."),
        (ANIMALS, {"method": "rollout", "cell": (1, 0, 0)}, "a cell is a row and a column of patches"),
        (ANIMALS, {"method": "attention_gradient", "layer": "1"}, "a layer is a number, 0 to 2 here, not '1'"),
        (ANIMALS, {"method": "attention_gradient", "layer": 3}, "no layer 3: this model has 3, 0 to 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # alike in every process that collects them
)
def test_what_cannot_be_asked_is_refused_in_a_line(
    task: Task, asked: dict[str, Any], said: str, picture: np.ndarray[Any, Any]
) -> None:
    parts = {"method": "relevance"} | asked
    with pytest.raises(UsageError, match=said) as refused:
        explain(whole("vit", task), picture, "a", **parts)
    assert "\n" not in str(refused.value)


def test_every_family_of_the_catalogue_has_a_default_that_fits_it() -> None:
    classes = {module.build.__name__ for name, module in families().items() if name != "timm"}
    assert set(BY_FAMILY) == classes
    for kind in FAMILIES:
        model = family(kind)
        assert default_method(model) == BY_FAMILY[type(model.backbone).__name__]
        assert default_method(model) in fitting(model)


def test_a_backbone_from_elsewhere_has_the_default_of_its_kind() -> None:
    model = family("resnet")
    model.backbone.__class__ = type("Foreign", (type(model.backbone).__mro__[1],), dict(type(model.backbone).__dict__))
    assert default_method(model) == "mean_ablation"
    seeing = family("vit")
    seeing.backbone.__class__ = type("Other", (torch.nn.Module,), dict(type(seeing.backbone).__dict__))
    assert default_method(seeing) == "rollout"


def test_methods_by_attention_fit_no_model_without_it() -> None:
    by_attention = {name for name in list_methods() if "attention" in name} | {"rollout", "relevance"}
    assert not by_attention & set(fitting(family("resnet")))
    assert by_attention <= set(fitting(family("swin")))
