"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the suite runs one process per core
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

import no_network

no_network.install()
settings.register_profile("untimed", deadline=None)  # no test times anything, least of all on a busy machine
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: at the end no worker has a long one left while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real images in ../shared/data, which are not beside this checkout")
    return SHARED


@pytest.fixture(autouse=True)
def offline() -> Iterator[None]:
    """No test may look up or reach another machine, not even in vain."""
    no_network.seen.clear()
    yield
    tried = list(no_network.seen)
    no_network.seen.clear()
    assert not tried, "the network was asked for"


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a cache of its own, so none sees another's scan."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("VITRAIL_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as a run leaves it: a ViT of one block on 16 x 16 pixels, classes cat, dog and owl. Read only."""
    from vitrail import artifact
    from vitrail.assemble import build_model
    from vitrail.data.preprocess import Preprocessor
    from vitrail.settings import build
    from vitrail.tasks import create_task

    sizes = {"depth": 2, "width": 16, "heads": 2, "hidden": 16}
    stated = {"data.source": "photos", "model.image_size": 16, "model.patch_size": 4}
    config = build({**stated, **{f"model.options.{name}": value for name, value in sizes.items()}})
    task = create_task("classify", ["cat", "dog", "owl"])
    folder = tmp_path_factory.mktemp("model") / "best"
    artifact.save(folder, build_model(config, task), config, task, Preprocessor.from_config(config), {"run": "photos"})
    return folder
