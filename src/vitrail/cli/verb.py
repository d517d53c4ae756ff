"""What a verb is: a function from a read command line to an outcome, with the help and the endings all verbs share."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from vitrail.cli import layout
from vitrail.cli.console import to_json
from vitrail.cli.options import Call, O_co, Operands, read, spelled


@dataclass(frozen=True)
class Outcome:
    """What a verb did.

    result: the keys of the JSON object beside outputs and warnings.  outputs: every file it wrote.  where: the one
    to look at, shown last with `next`, the commands that follow.  aside: stdout holds data, so the ending goes to
    stderr.  exit_code: of the whole command.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Path] = ()
    warnings: Sequence[str] = ()
    where: Path | None = None
    next: Sequence[str] = ()
    aside: bool = False
    exit_code: int = 0


@dataclass(frozen=True)
class Verb(Generic[O_co]):
    """A verb of the command line. Calling it with the words after its name runs it and returns the exit code."""

    name: str
    summary: str
    options: type[O_co]
    operands: Operands
    meanings: Mapping[str, str]
    """Operand -> what it is, for the help."""
    examples: Sequence[str]
    function: Callable[[Call[O_co]], Outcome]
    config: bool = False
    """Whether config fields may be stated by their dotted paths."""
    more: str = ""
    """A closing paragraph of the help."""

    def __call__(self, words: Sequence[str]) -> int:
        """Read the words, do it, say how it ended. Raises VitrailError for what a user can mend."""
        if wants_help(words):
            print(self.help(layout.terminal_width()), end="")
            return 0
        call = read(self.name, self.options, self.operands, self.config, words)
        if call.options.json:
            with contextlib.redirect_stdout(sys.stderr):
                outcome = self.function(call)
            told = {"outputs": outcome.outputs, "warnings": outcome.warnings}
            print(to_json({**outcome.result, **{key: value for key, value in told.items() if value}}))
        else:
            outcome = self.function(call)
            _end(outcome)
        return outcome.exit_code

    def help(self, width: int) -> str:
        """The verb's help page, wrapped to `width` columns."""
        usage = " ".join(["usage: vitrail", self.name, self.operands.names, "[--option value ...]"])
        groups: dict[str, list[tuple[str, str]]] = {}
        for entry in dataclasses.fields(self.options):
            term = f"{spelled(entry.name)} {entry.metadata['value']}".rstrip()
            groups.setdefault(entry.metadata["group"], []).append((term, entry.metadata["meaning"]))
        everywhere = groups.pop("Everywhere")
        groups["Everywhere"] = [*everywhere, ("--help", "show this page")]
        longest = max(len(term) for rows in groups.values() for term, _ in rows)
        return layout.page(
            [
                layout.paragraph(" ".join(usage.split()), width),
                layout.paragraph(self.summary, width),
                layout.entries("What it takes", list(self.meanings.items()), width) if self.meanings else "",
                *(layout.entries(title, rows, width, longest) for title, rows in groups.items()),
                layout.paragraph(self.more, width) if self.more else "",
                layout.examples(self.examples, width),
            ]
        )


def wants_help(words: Sequence[str]) -> bool:
    """Whether -h or --help stands among the words before a lone `--`."""
    before = words[: words.index("--")] if "--" in words else words
    return "-h" in before or "--help" in before


def command(*words: str | Path) -> str:
    """A command to copy: `vitrail` and the words, quoted where a shell needs it."""
    return shlex.join(["vitrail", *(str(word) for word in words)])


def first_usable(sources: Sequence[str], failed: Collection[str]) -> str:
    """The input to go on with: the first that did not itself fail, and where all did, the first."""
    return next((source for source in sources if source not in failed), sources[0])


def _end(outcome: Outcome) -> None:
    stream = sys.stderr if outcome.aside else sys.stdout
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if outcome.where is not None:
        print(f"\nOutput  {outcome.where}", file=stream)
    elif outcome.next:
        print(file=stream)
    for index, line in enumerate(outcome.next):
        print(f"{'Next' if index == 0 else '':6}  {line}", file=stream)
