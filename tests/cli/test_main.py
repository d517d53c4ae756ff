"""What every verb shares: help, versions, exit codes, and that a user never sees a traceback of their own mistake."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import vitrail
from vitrail.cli import main as command
from vitrail.cli import study as kinds
from vitrail.cli.layout import terminal_width
from vitrail.cli.main import SUMMARIES, VERBS, find, main
from vitrail.cli.options import read
from vitrail.cli.study import KINDS
from vitrail.cli.verb import Verb
from vitrail.errors import DataError, IntegrityError, Interrupted, TrainingError, UsageError, VitrailError

Output = pytest.CaptureFixture[str]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    code = "import sys; from vitrail.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


NAMES = [*(name for name in VERBS if name != "study"), *(f"study {kind}" for kind in KINDS)]
"""Every verb, those of study by their kinds."""


def leaf(words: Sequence[str]) -> tuple[Verb[Any], list[str]]:
    """The verb that a command line means, and the words after its name."""
    name, *rest = words
    found: Any = kinds.find(rest.pop(0)) if name == "study" else find(name)
    assert isinstance(found, Verb)
    return found, rest


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Make `vitrail models` do something else."""

    def install(action: Callable[[], int]) -> None:
        monkeypatch.setattr(command, "find", lambda name: lambda words: action())

    return install


# ------------------------------------------------------------------------------------------------------------- help


def test_every_verb_is_on_the_first_page_and_leads_to_its_own() -> None:
    listed = {term.split()[0] for rows in SUMMARIES.values() for term in rows}
    assert listed == set(VERBS)
    for name in NAMES:
        assert leaf(name.split())[0].name == name


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_help_is_no_error(words: Sequence[str], capsys: Output) -> None:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: vitrail VERB")
    assert err == ""


def test_no_words_at_all_are_a_usage_error_that_helps(capsys: Output) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: vitrail VERB")


def test_the_version(capsys: Output) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vitrail {vitrail.__version__}\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", [("--help",), ("x", "-h", "--nonsense")])
def test_each_verb_has_help_with_every_option_and_examples(name: str, words: Sequence[str], capsys: Output) -> None:
    assert main([*name.split(), *words]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: vitrail {name}")
    assert "Examples\n  vitrail " in out
    for option in ("--json", "--help"):
        assert f"  {option} " in out


@pytest.mark.parametrize("name", [*NAMES, "study"])
@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in ([*name.split(), "--help"], ["--help"]):
        assert main(words) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_every_command_in_the_help_and_the_guide_is_read_without_error() -> None:
    """Every option in an example exists and takes what the example gives it."""
    guide = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^vitrail .*", guide, re.MULTILINE)
    assert len(examples) > 5
    for name in NAMES:
        found, _ = leaf(name.split())
        assert all(example.startswith(f"vitrail {name}") for example in found.examples)
        examples += found.examples
    for example in examples:
        found, words = leaf(shlex.split(example)[1:])
        read(found.name, found.options, found.operands, found.config, words)


def test_kinds_of_study_are_listed_and_an_unknown_one_gets_the_nearest(capsys: Output) -> None:
    assert main(["study", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {kind} " in out for kind in KINDS)
    kind = next(iter(KINDS))
    assert main(["study", f"{kind}x"]) == 2
    assert f"did you mean '{kind}'?" in capsys.readouterr().err
    assert main(["study"]) == 2
    assert kind in capsys.readouterr().err


def test_the_width_is_never_absurd(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, expected in (("1", 30), ("500", 100), ("70", 70)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal_width() == expected


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], [], ["nonsense"], *([*name.split(), "--help"] for name in [*NAMES, "study"])]
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from vitrail.cli.main import main; main(sys.argv[1:]);"
        "sys.exit(bool({'torch', 'matplotlib', 'sklearn', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_misread_command_line_loads_no_torch() -> None:
    code = (
        "import sys; from vitrail.cli.main import main; main(['train', 'digits', '--epochs', 'x']);"
        "main(['train', '--lr', '-1', 'digits']); main(['predict']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# ------------------------------------------------------------------------------------------------------ exit codes


def test_an_unknown_verb_gets_the_nearest(capsys: Output) -> None:
    assert main(["trian", "x"]) == 2
    assert capsys.readouterr() == ("", "vitrail: unknown verb 'trian': did you mean 'train'?\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong"), 2), (DataError("wrong"), 3), (TrainingError("wrong"), 4), (IntegrityError("wrong"), 5),
        (Interrupted("wrong", 2), 130), (Interrupted("wrong", 15), 143), (VitrailError("wrong"), 1),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code_and_its_line(
    error: VitrailError, code: int, verb: Callable[[Callable[[], int]], None], capsys: Output
) -> None:
    def fail() -> int:
        raise error

    verb(fail)
    assert main(["models"]) == code
    assert capsys.readouterr() == ("", "vitrail models: wrong\n")
    assert main(["models", "--json"]) == code
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"message": "wrong", "exit_code": code}}
    assert err == "vitrail models: wrong\n"


def test_an_interrupt_is_one_line(verb: Callable[[Callable[[], int]], None], capsys: Output) -> None:
    def fail() -> int:
        raise KeyboardInterrupt

    verb(fail)
    assert main(["models"]) == 130
    assert capsys.readouterr() == ("", "vitrail models: interrupted\n")


def test_too_little_memory_is_no_bug(verb: Callable[[Callable[[], int]], None], capsys: Output) -> None:
    import torch

    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), _torch_says_no()):

        def fail(error: Exception = error) -> int:
            raise error

        verb(fail)
        assert main(["models"]) == 4
        assert capsys.readouterr().err == (
            "vitrail models: out of memory: lower --batch-size, or take smaller images\n"
        )


def _torch_says_no() -> Exception:
    """What torch itself raises when the machine has not so much memory."""
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    return caught.value


def test_a_bug_says_that_it_is_one(verb: Callable[[Callable[[], int]], None], capsys: Output) -> None:
    def fail() -> int:
        raise ZeroDivisionError

    verb(fail)
    assert main(["models"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "bug in Vitrail" in err.splitlines()[-1]


def test_a_broken_pipe_that_is_not_stdouts_is_a_bug(verb: Callable[[Callable[[], int]], None], capsys: Output) -> None:
    def fail() -> int:
        raise BrokenPipeError

    verb(fail)
    assert main(["models"]) == 1
    assert "bug in Vitrail" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["train", "--help"], ["train", "no-such-folder", "--json"]], ids=["answer", "failure"]
)
def test_a_reader_that_goes_away_is_no_fuss(words: list[str]) -> None:
    code = f"import sys; from vitrail.cli.main import main; sys.exit(main({words}))"
    loop = f"import sys, time; time.sleep(0.3)\n{code}"
    process = subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    said = "" if "--help" in words else err.splitlines()[0] + "\n"  # why it failed, and no traceback
    assert (process.wait(), err) == (141, said)


def test_an_undecodable_name_in_a_message_is_written_escaped(capsys: Output) -> None:
    assert main(["check", os.fsdecode(b"n\xff.jpg")]) == 2
    assert r"n\udcff.jpg" in capsys.readouterr().err


def test_words_that_are_no_unicode_reach_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-c", b"import sys; from vitrail.cli.main import main; sys.exit(main())",
         b"check", b"\xff\xfe"], capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert rb"\udcff\udcfe" in done.stderr


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"COLUMNS": "40"}, {"TERM": "dumb"}, {"LC_ALL": "C"}])
def test_output_is_plain_where_there_is_no_terminal(environment: dict[str, str]) -> None:
    done = run("--help", **environment)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "1000 "), ({"GOMP_SPINCOUNT": "7"}, "7 "), ({"OMP_WAIT_POLICY": "ACTIVE"}, " ACTIVE")]
)
def test_threads_wait_briefly_unless_the_user_says_how(
    given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that both are put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["--version"]) == 0
    assert f"{os.environ.get('GOMP_SPINCOUNT', '')} {os.environ.get('OMP_WAIT_POLICY', '')}" == expected


def test_an_error_takes_the_line_of_a_counter_on_a_terminal(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("vitrail: ")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("\r\x1b[Kvitrail: ")
