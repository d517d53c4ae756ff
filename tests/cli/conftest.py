"""A folder of photos and a run on it, made once by the command itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import TINY, draw_photos

from vitrail.cli.main import main


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, red and green, of 14 images each. Read only."""
    return draw_photos(tmp_path_factory.mktemp("data") / "photos", {"red": 14, "green": 14})


@pytest.fixture(scope="session")
def finished_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `photos`. Read only: copy it to change it."""
    folder = tmp_path_factory.mktemp("run") / "red or green"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRAIL_CACHE", str(folder.parent / "cache"))
        assert main(["train", str(photos), "--out", str(folder), *TINY]) == 0
    return folder
