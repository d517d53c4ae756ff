"""Run folders: never shared, never overwritten, and honest about damage."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from vitrail.errors import IntegrityError, TrainingError, UsageError
from vitrail.run.folder import Run, create
from vitrail.settings import build, to_yaml

CONFIG = build({"data.source": "digits"})


def _create_in(folder: str) -> str:
    os.chdir(folder)
    return str(create("same", None, [], CONFIG).folder)


def test_twenty_processes_with_one_name_get_twenty_folders(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.map(_create_in, [str(tmp_path)] * 20, chunksize=1)
    assert len(set(made)) == 20
    assert sorted(p.name for p in (tmp_path / "runs" / "train").iterdir()) == sorted(Path(m).name for m in made)


def test_an_existing_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never overwritten"):
        create("x", tmp_path, [], CONFIG)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TrainingError, match="permission"):
        create("x", tmp_path / "run", [], CONFIG)


@pytest.mark.parametrize(
    ("name", "expected"), [("../up", "-up"), ("a/b", "a-b"), ("", "run"), ("..", "run"), ("雪 花", "雪 花")]
)
def test_a_name_cannot_leave_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert create(name, None, [], CONFIG).folder == Path("runs/train") / expected


def _run(tmp_path: Path) -> Run:
    run = create("x", tmp_path / "run", ["vitrail", "train"], CONFIG)
    (run.folder / "args.yaml").write_text(to_yaml(CONFIG))
    return run


def test_a_run_opens_as_it_was_made(tmp_path: Path) -> None:
    made = _run(tmp_path)
    made.mark("finished", metrics={"val": {"accuracy": 0.5}}, warnings=["w"])
    run = Run.open(made.folder)
    assert (run.status, run.config, run.metrics, run.warnings) == (
        "finished",
        CONFIG,
        {"val": {"accuracy": 0.5}},
        ["w"],
    )


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run folder"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        Run.open(tmp_path / "absent")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"state": "finished", "metrics": 3}', '{"metrics": {}}'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    run = _run(tmp_path)
    (run.folder / "run.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"run\.json is damaged"):
        Run.open(run.folder)


@pytest.mark.parametrize(
    "content", ["", "[", "- 1", "data: {sauce: digits}", "train: {epochs: many}\ndata: {source: a}"]
)
def test_damaged_settings_are_named(tmp_path: Path, content: str) -> None:
    run = _run(tmp_path)
    (run.folder / "args.yaml").write_text(content)
    with pytest.raises(IntegrityError, match=r"args\.yaml is damaged"):
        _ = run.config
