"""A small version of benchmarks/pointing.py: models that have learned to tell an object point at where it stands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from vitrail.explain.defaults import default_method
from vitrail.explain.faithfulness import Plan, score
from vitrail.explain.trust.bootstrap import mean
from vitrail.explain.trust.samples import samples
from vitrail.explain.trust.table import CENTRE, CONTROLS, RANDOM

SMALL = {"name": "vit_tiny", "image_size": 32, "patch_size": 4, "width": 32, "heads": 2, "hidden": 64, "depth": 2}


@pytest.fixture
def pointing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark, on one core."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield importlib.import_module("pointing")
    torch.set_num_threads(threads)
    sys.modules.pop("pointing", None)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "epochs", "images"), [("small", 5, 1200), ("resnet", 2, 3600)])
def test_the_default_method_points_at_the_object_and_the_controls_do_not(
    family: str, epochs: int, images: int, pointing: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pointing, "FAMILIES", {**pointing.FAMILIES, "small": SMALL})
    artifact = pointing.train(family, epochs, tmp_path / "run", images=images)
    assert pointing.accuracy(artifact, 60) > 0.9
    default = default_method(artifact.model)
    found = samples(pointing.held_out(artifact, 60), range(60), artifact.preprocessor, artifact.task)
    trust = score(artifact.model, artifact.task, found, Plan([default], ("blur",), levels=()))
    row = trust.of(default)
    assert row.pointing.mean() >= 0.9
    for control in CONTROLS:
        assert mean(row.pointing - trust.of(control).pointing).low > 0.2
        assert trust.over(row, control).low > 0
    told = pointing.table(trust, default)
    assert f"{default} *" in told
    assert CENTRE in told
    assert RANDOM in told


def test_an_image_has_one_object_whose_colour_is_its_class_s(pointing: ModuleType) -> None:
    source = pointing.OneObject(12, 3, 32)
    colours: dict[str, list[np.ndarray]] = {}
    for index, item in enumerate(source.items):
        region = source.located(index, "", (32, 32))
        assert 0.015 < region.mean() < 0.08
        colours.setdefault(item.target, []).append(source.read(index, 3)[region].mean(axis=0))
    for kind, (first, second) in colours.items():
        others = [colour for name, pair in colours.items() if name != kind for colour in pair]
        assert np.abs(first - second).max() < min(np.abs(first - other).max() for other in others)
