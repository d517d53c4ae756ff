"""How help is laid out: plain text, wrapped to the terminal, in one column where two do not fit."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

NARROW = 30
"""With fewer columns than this left beside a term, its meaning stands under it."""


def terminal_width() -> int:
    """Columns to write in: the terminal's (or COLUMNS), between 30 and 100; 80 where there is none."""
    return max(30, min(100, shutil.get_terminal_size((80, 24)).columns))


def paragraph(text: str, width: int, indent: str = "") -> str:
    """Text wrapped to `width`, words and paths kept whole."""
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def wrapped(text: str) -> str:
    """A sentence as wide as the terminal; where there is none, as in a file, it stays one line."""
    return paragraph(text, terminal_width()) if sys.stdout.isatty() else text


def entries(title: str, rows: Sequence[tuple[str, str]], width: int, longest: int = 0) -> str:
    """A titled list of (term, meaning), side by side where the width allows it.

    longest: the longest term of all lists on the page, so that they share a column.
    """
    column = max(longest, *(len(term) for term, _ in rows)) + 4
    lines = [title]
    for term, meaning in rows:
        if width - column < NARROW:
            lines += [f"  {term}", paragraph(meaning, width, " " * 6)]
        else:
            lines.append(f"  {term}".ljust(column) + paragraph(meaning, width, " " * column).lstrip())
    return "\n".join(lines)


def examples(commands: Iterable[str], width: int) -> str:
    """Commands to copy, never broken inside a word; a long one goes on after a backslash."""
    lines = ["Examples"]
    for command in commands:
        wrapped = textwrap.wrap(
            command, width - 2, initial_indent="  ", subsequent_indent="      ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        lines += [f"{line} \\" for line in wrapped[:-1]] + wrapped[-1:]
    return "\n".join(lines)


def page(blocks: Iterable[str]) -> str:
    """Blocks of a help page, a blank line between them."""
    return "\n\n".join(block for block in blocks if block) + "\n"
