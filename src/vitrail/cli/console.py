"""What a command writes: tables that fit the terminal, one JSON object, a counter while it works."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from vitrail.cli.layout import terminal_width

COUNTER_SECONDS = 0.2


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = (), wide: bool = False
) -> str:
    """Aligned columns, `numbers` to the right; one record under another where the terminal is too narrow.

    Without a terminal, or with `wide`, the lines are as long as they need to be.
    """
    from rich.cells import cell_len

    if not rows:
        return ""
    widths = [max(cell_len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]
    if not wide and sys.stdout.isatty() and sum(widths) + 2 * (len(widths) - 1) > terminal_width():
        label = max(cell_len(header) for header in headers)
        pairs = [[(header, cell) for header, cell in zip(headers, row, strict=True) if cell] for row in rows]
        return "\n\n".join("\n".join(f"{header.ljust(label)}  {cell}" for header, cell in pair) for pair in pairs)

    def line(cells: Sequence[str]) -> str:
        padded = []
        for header, cell, width in zip(headers, cells, widths, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if header in numbers else cell + space)
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, rows)])


def to_json(value: Any) -> str:
    """One line of JSON: paths as text, a value that is not finite as null (KEY_is says which), non-Unicode escaped.

    See `report.study_tables.plain`, which raises TypeError for what JSON has not.
    """
    from vitrail.report.study_tables import plain

    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate becomes its own JSON escape


def count(number: int, noun: str, plural: str = "") -> str:
    """1 image, 2,054 images."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


class Counter:
    """One line on a terminal's stderr that counts while a command works; silent where there is no terminal."""

    def __init__(self, what: str, shown: bool = True) -> None:
        self.what = what
        self.shown = shown and sys.stderr.isatty()
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show how many are done, of how many, and how fast."""
        now = time.monotonic()
        if self.shown and now - self._last >= COUNTER_SECONDS:
            self._last = now
            of = f" of {total:,}" if total else ""
            line = f"{self.what} {done:,}{of}, {done / (now - self._start):.0f}/s"
            sys.stderr.write(f"\r{line[: terminal_width() - 1]}\x1b[K")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the line away."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
