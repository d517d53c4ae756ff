"""Runs that several tests of studies look at, made once."""

from __future__ import annotations

import pytest
from finished_runs import finished

from vitrail.run import Run


@pytest.fixture(scope="session")
def shapes_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A plain ViT that classified shapes for an epoch. Read only."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRAIL_CACHE", str(folder / "cache"))
        return finished(folder / "vit")
