"""The few errors a user can cause, each with the exit code of the command.

Raise one of these where a user can mend something; anything else that escapes is a bug and shows its traceback.
A message is one or two lines: what is wrong, where (file, row, key), what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class VitrailError(Exception):
    """Base of every error a user can cause. `exit_code` is what the command returns."""

    exit_code: ClassVar[int] = 1


class UsageError(VitrailError):
    """An option, a name or a combination that cannot be obeyed (exit 2)."""

    exit_code = 2


class DataError(VitrailError):
    """The images, labels or splits cannot be used as they are (exit 3)."""

    exit_code = 3


class TrainingError(VitrailError):
    """Training cannot go on: not finite, out of memory, disk full (exit 4)."""

    exit_code = 4


class IntegrityError(VitrailError):
    """A file is damaged, incomplete or could run code, and is refused (exit 5)."""

    exit_code = 5


class Interrupted(VitrailError):
    """Stopped by a signal after a checkpoint was written (exit 130 for SIGINT, 143 for SIGTERM)."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def code(self) -> int:
        """The exit code a shell expects: 128 + signal number."""
        return 128 + self.signal_number


class BadImage(VitrailError):
    """One image cannot be used. `reason` is a short clause that stands in `bad_files.csv` and in a failed row."""

    exit_code = 3

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_out_of_memory(error: BaseException) -> bool:
    """Python's, a device's (torch's class, known by its name without loading torch) or the CPU allocator's."""
    name, text = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known names most like `name`, best first; empty when none is close."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """A UsageError for a misspelt name, offering the nearest right one or, when none is close, where to look."""
    names = sorted(known)
    close = nearest(name, names, count=3)
    likeness = [difflib.SequenceMatcher(None, name, other).ratio() for other in close]
    close = [other for other, ratio in zip(close, likeness, strict=True) if ratio > likeness[0] - 0.05]
    if close:
        return UsageError(f"unknown {kind} '{name}': did you mean {' or '.join(repr(c) for c in close)}?")
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return UsageError(f"unknown {kind} '{name}': known are {shown}")
