"""A comparison on a Dataset from Python: it says how it goes on, and goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_compare import models

import vitrail
from vitrail.cli.main import main
from vitrail.errors import Interrupted, UsageError
from vitrail.run import finish
from vitrail.study import compare_work
from vitrail.study.compare_work import Work
from vitrail.study.folder import Study


class Stripes:
    """Stripes that lie or stand."""

    classes = ("lying", "standing")

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.uint8]], int]:
        noise = np.random.default_rng(index).integers(0, 60, (8, 8))
        stripes = np.where(np.arange(8) % 2, 180, 0)[:, None] + noise
        return (stripes.T if index % 2 else stripes).astype(np.uint8), index % 2


def test_a_comparison_of_a_dataset_goes_on_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(finish, "write_report", lambda folder, report: [])
    out = tmp_path / "study"

    def interrupt(work: Work) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Work, "_measure", interrupt)
        with pytest.raises(Interrupted, match=r"Go on with: vitrail\.compare\(DATA, resume="):
            vitrail.compare(
                Stripes(), [models(tmp_path)], seeds=1, folds=2, epochs=1, rates=[1], out=out, quiet=True,
                image_size=8, batch_size=8, device="cpu", threads=1,
            )  # fmt: skip
    assert main(["compare", "--resume", str(out)]) == 2
    assert "has its data from Python: go on with vitrail.compare(DATA, resume=" in capsys.readouterr().err
    with pytest.raises(UsageError, match="state the data alone"):
        vitrail.compare(Stripes(), seeds=3, resume=out)
    with pytest.raises(UsageError, match="is a comparison on stripes, not on digits"):
        vitrail.compare("digits", resume=out)
    monkeypatch.setattr(Work, "_measure", lambda work: None)
    monkeypatch.setattr(compare_work, "measure", None)
    done = vitrail.compare(Stripes(), resume=out, quiet=True)
    assert Study.open(out, "compare").state == "finished"
    assert done.results["images"] == 48
    assert [len(model["full"]) for model in done.results["models"].values()] == [2, 2]
