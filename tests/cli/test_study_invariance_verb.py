"""`vitrail study invariance`: one command to a report, and what a kill in the middle loses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vitrail.cli.main import main
from vitrail.study.invariance import study as under_test

Output = pytest.CaptureFixture[str]
FEW = ("--images", "6", "--seeds", "1", "--threads", "1", "--device", "cpu")


def told(capsys: Output) -> dict[str, object]:
    """The one object on stdout."""
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_a_run_and_a_name_become_a_report(finished_run: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "study"
    assert main(["study", "invariance", str(finished_run), "resnet18", *FEW, "--out", str(out), "--json"]) == 0
    answer = told(capsys)
    assert answer["study"] == str(out)
    assert answer["failed"] == {}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What textbooks say" in page
    assert "red or green" in page
    assert json.loads((out / "study.json").read_text())["state"] == "finished"
    assert len(list((out / "measured").iterdir())) == 2
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["state"] for row in rows} == {
        "trained", "untrained", "trained, no positions", "untrained, no positions",
    }  # fmt: skip
    assert {row["name"] for row in rows} == {"red or green", "resnet18"}
    own = [row for row in rows if row["state"] == "untrained, no positions" and row["family"] == "patch permutation"]
    assert float(next(row for row in own if row["amount"] == "2")["moved"]) < 1e-4  # its own 2 x 2 patches
    assert json.loads((out / "results.json").read_text())["claims"]


def test_a_dry_run_writes_nothing(finished_run: Path, tmp_path: Path, capsys: Output) -> None:
    words = ["study", "invariance", str(finished_run), "resnet18", *FEW, "--out", str(tmp_path / "no"), "--dry-run"]
    assert main([*words, "--json"]) == 0
    answer = told(capsys)
    assert [cell["states"] for cell in answer["cells"]] == [4, 1]  # type: ignore[attr-defined]
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


def test_a_killed_study_keeps_what_it_measured(
    finished_run: Path, tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    out = tmp_path / "study"
    # the process kills itself where the second model would be measured
    code = (
        "import os, signal, sys\n"
        "from vitrail.study.invariance import study\n"
        "from vitrail.cli.main import main\n"
        "whole = study.measure\n"
        "def measure(subject, *rest):\n"
        "    if subject.name == 'pvt_v2_b0': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(subject, *rest)\n"
        "study.measure = measure\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["study", "invariance", str(finished_run), "pvt_v2_b0", *FEW, "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = sorted((out / "measured").iterdir())
    assert len(kept) == 1
    content = kept[0].read_bytes()

    measured: list[str] = []
    whole = under_test.measure

    def watched(subject: under_test.Subject, *rest: object) -> under_test.Found:
        measured.append(subject.name)
        return whole(subject, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(under_test, "measure", watched)
    assert main(["study", "invariance", "--resume", str(out), "--json"]) == 0
    told(capsys)
    assert measured == ["pvt_v2_b0"]
    assert kept[0].read_bytes() == content
    assert (out / "report.html").is_file()

    # the same bits as of a study that was never killed
    monkeypatch.setattr(under_test, "measure", whole)
    again = tmp_path / "again"
    assert main([*words[:-1], str(again), "--json"]) == 0
    assert (again / "results.csv").read_bytes() == (out / "results.csv").read_bytes()


def test_ctrl_c_says_how_to_go_on(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(under_test, "measure", stopped)
    out = tmp_path / "study"
    assert main(["study", "invariance", str(finished_run), *FEW, "--out", str(out)]) == 130
    assert f"vitrail study invariance --resume {out}" in capsys.readouterr().err
    assert json.loads((out / "study.json").read_text())["state"] == "interrupted"


def test_a_model_that_fails_is_named_and_the_others_go_on(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    whole = under_test.measure

    def failing(subject: under_test.Subject, *rest: object) -> under_test.Found:
        if subject.name == "resnet18":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(subject, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(under_test, "measure", failing)
    out = tmp_path / "study"
    assert main(["study", "invariance", "resnet18", str(finished_run), *FEW, "--out", str(out), "--json"]) == 0
    answer = told(capsys)
    assert list(answer["failed"]) == ["resnet18"]  # type: ignore[call-overload]
    assert "resnet18 was not measured" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which models"),
        (["vit_tiny"], "state --data"),
        (["vit_tiny", "--data", "digits", "--images", "1"], "too few"),
        (["vit_tiny", "--data", "digits", "--seeds", "-1"], "no number of seeds"),
        (["vit_tiny", "--data", "digits", "--time", "0.01s"], "too little"),
        (["vit_tiny", "--resume", "x"], "leave out vit_tiny"),
        (["vit_tiny", "--threads", "-1"], "PyTorch's own choice, or more"),
        (["vit_tiny", "--name", "a", "--out", "b"], "leave one out"),
        (["--resume", "nothing"], "no such folder"),
    ],
)
def test_what_cannot_be_obeyed_is_said_in_words(words: list[str], message: str, tmp_path: Path, capsys: Output,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["study", "invariance", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists(), "nothing is left of a study that did not begin"
