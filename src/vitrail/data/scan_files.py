"""Facts of many files: remembered where nothing changed, else learnt in child processes, within limits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from vitrail.data.facts import Facts
from vitrail.data.scan_cache import ScanCache, stamp
from vitrail.data.scan_pool import examine_files
from vitrail.data.scan_worker import Limits

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""

_FILES_PER_PROCESS = 64
"""Starting a process costs about as much as decoding so many photos."""


def scan_files(
    location: str, paths: Sequence[Path], limits: Limits, report: Progress, workers: int | None = None
) -> Generator[tuple[int, Facts], None, None]:
    """(index, facts) of every path, each once, in any order.

    location: of the source, under whose name what is learnt is kept. Every file is given to one of `workers` child
    processes (by default as many as there are cores and work for them); one that crashes, hangs or bloats its decoder
    is bad and costs nothing else. What is learnt is written down as it comes: a killed scan goes on where it was.
    """
    cache = ScanCache(location, limits)
    stamps = [stamp(path) for path in paths]  # before reading: a file that changes meanwhile is read again next time
    places: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        places.setdefault(str(path), []).append(index)
    done = 0
    for name, facts in cache.recall({name: stamps[where[0]] for name, where in places.items()}):
        for index in places.pop(name, ()):
            done += 1
            yield index, facts
    report(done, len(paths))
    unknown = [(index, paths[index]) for index in sorted(where for group in places.values() for where in group)]
    if unknown:
        crew = workers or min(cores(), 1 + len(unknown) // _FILES_PER_PROCESS)
        try:
            with contextlib.closing(examine_files(unknown, limits, crew)) as answers:
                for index, facts in answers:
                    cache.put(paths[index], stamps[index], facts)
                    yield index, facts
                    done += 1
                    report(done, len(paths))
        finally:
            cache.flush()


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
