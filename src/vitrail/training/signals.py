"""Signals that ask for a stop, noticed between two updates."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any


class Signals:
    """While entered, the first of the given signals is noted in `received`; a second one interrupts at once.

    Outside the main thread Python allows no handlers: then nothing is caught and the caller's own rules hold.
    """

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self.numbers = tuple(numbers)
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
