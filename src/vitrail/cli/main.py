"""The command `vitrail`: finds the verb's function, calls it, and turns every ending into an exit code.

Nothing is imported before it is needed: `vitrail --help` reads this file and little else.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from vitrail import __version__
from vitrail.errors import Interrupted, TrainingError, UsageError, VitrailError, is_out_of_memory, unknown

VERBS = {
    "train": "vitrail.cli.train:TRAIN",
    "pretrain": "vitrail.cli.pretrain:PRETRAIN",
    "evaluate": "vitrail.cli.evaluate:EVALUATE",
    "predict": "vitrail.cli.predict:PREDICT",
    "explain": "vitrail.cli.explain:EXPLAIN",
    "check": "vitrail.cli.check:CHECK",
    "convert": "vitrail.cli.convert:CONVERT",
    "models": "vitrail.cli.models:MODELS",
    "plan": "vitrail.cli.plan:PLAN",
    "compare": "vitrail.cli.compare:COMPARE",
    "study": "vitrail.cli.study:study",
    "doctor": "vitrail.cli.doctor:DOCTOR",
}
"""Verb -> "module:function"; the function takes the words after the verb and returns the exit code."""

SUMMARIES = {
    "Train": {
        "check DATA": "what is in there, what is broken, what leaks across splits",
        "train DATA": "audit, split, train, evaluate, report",
        "pretrain DATA": "learn from images alone; train --from RUN goes on",
    },
    "Use what was trained": {
        "evaluate RUN": "metrics on a split",
        "predict RUN SOURCE...": "files, folders, globs: one row per image",
        "explain RUN SOURCE...": "heat maps of what the model looked at",
    },
    "Choose": {
        "compare DATA": "several models on your images: one recommendation, and how sure",
        "study KIND ...": "what is said of vision transformers, measured on your images",
    },
    "Bring in, hand on": {
        "convert SOURCE DEST": "read any published checkpoint, write any other",
    },
    "Look around": {
        "models [PATTERN]": "the models there are: size, cost, published accuracy",
        "plan MODEL": "memory, time and cost of training it, on devices not here",
        "doctor": "versions, devices, what will be used and why",
    },
}

OUTPUT_CLOSED = 141
"""What a shell reports of a command whose reader went away: 128 + SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (sys.argv[1:] by default) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _write_any_name()
    _share_cores()
    try:
        return _answered(words)
    except BrokenPipeError:  # of an answer, or of what there was to say of a failure
        if not _reader_is_gone():
            return _bug()
        return OUTPUT_CLOSED


def _answered(words: Sequence[str]) -> int:
    """Run one command; say of a failure what it is. BrokenPipeError where nobody reads."""
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        raise
    except Interrupted as stop:
        return _fail(words, str(stop), stop.code)
    except VitrailError as error:
        return _fail(words, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(words, "interrupted", 130)
    except Exception as error:
        if is_out_of_memory(error):
            return _fail(words, "out of memory: lower --batch-size, or take smaller images", TrainingError.exit_code)
        return _bug()


def _run(words: Sequence[str]) -> int:
    if not words:
        print(overview(), end="", file=sys.stderr)
        return UsageError.exit_code
    if words[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    if words[0] in ("-V", "--version"):
        print(f"vitrail {__version__}")
        return 0
    return find(words[0])(words[1:])


def find(verb: str) -> Callable[[Sequence[str]], int]:
    """The function of a verb; UsageError with the nearest name for one that is not there."""
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    module, _, name = VERBS[verb].partition(":")
    function: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), name)
    return function


def overview() -> str:
    """The page of `vitrail --help`."""
    from vitrail.cli import layout

    width = layout.terminal_width()
    longest = max(len(term) for rows in SUMMARIES.values() for term in rows)
    return layout.page(
        [
            layout.paragraph("usage: vitrail VERB ... [--option value ...]", width),
            layout.paragraph("From a folder of images to a trained, measured and explained vision transformer.", width),
            *(layout.entries(title, list(rows.items()), width, longest) for title, rows in SUMMARIES.items()),
            layout.paragraph(
                "DATA is a folder with a folder per class, a table (.csv, .parquet, .jsonl), or one of the built-in "
                "sets 'digits' and 'shapes'. RUN is the folder that train made.",
                width,
            ),
            layout.examples(["vitrail train PHOTOS", "vitrail VERB --help", "vitrail --version"], width),
        ]
    )


def _fail(words: Sequence[str], message: str, code: int) -> int:
    """Say what is wrong in plain lines on stderr and, for a script, as an object on stdout."""
    verb = f" {words[0]}" if words and words[0] in VERBS else ""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")  # a counter that was cut off, or the terminal's own ^C
    print(f"vitrail{verb}: {message}", file=sys.stderr)
    if "--json" in words:
        from vitrail.cli.console import to_json

        print(to_json({"error": {"message": message, "exit_code": code}}), flush=True)
    return code


def _bug() -> int:
    import traceback

    traceback.print_exc()
    print(f"This is a bug in Vitrail {__version__}, not your mistake: please report the lines above.", file=sys.stderr)
    return 1


def _write_any_name() -> None:
    """File names are bytes: one that is no Unicode is written escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _share_cores() -> None:
    """Let torch's threads wait for each other briefly, then sleep; before torch is loaded, unless the user said how.

    Left alone they spin for milliseconds at each of thousands of meetings, and where anything else wants the cores a
    training takes many times as long: docs/log.md has the figures.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _reader_is_gone() -> bool:
    """Whether a broken pipe is stdout's (`vitrail ... | head`); if so, Python's flush at exit is kept quiet."""
    import select

    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if not poll.poll(0):
            return False
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return True
