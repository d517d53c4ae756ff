"""Decodes many files in child processes, so that one that breaks its decoder costs itself alone.

Each child is led by a thread of ours that hands it one file and waits: when the child dies, the file is known. The
calling thread collects the facts and watches the clock. Plain subprocesses are used and not `multiprocessing`, so that
nothing is pickled and a user's script needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from vitrail.data.facts import Facts
from vitrail.data.scan_worker import READY, Limits, encode_path

COMMAND = (sys.executable, "-P", "-m", "vitrail.data.scan_worker")  # -P: no module is taken from the working folder

_PATIENCE = 4
"""Wall-clock seconds granted per second of processor time: a slow disk or a busy machine is not the file's fault."""

_WATCH_EVERY = 0.25


def examine_files(
    files: Sequence[tuple[int, Path]], limits: Limits, workers: int, command: Sequence[str] = COMMAND
) -> Generator[tuple[int, Facts], None, None]:
    """(index, facts) of every (index, path), in the order in which they are done.

    workers: child processes, at least 1.  command: what starts one, less the limits.  Leaving the iterator early, as
    an interrupt does, ends every child. Raises RuntimeError where children cannot be started.
    """
    jobs: queue.SimpleQueue[tuple[int, Path]] = queue.SimpleQueue()
    for job in files:
        jobs.put(job)
    replies: queue.SimpleQueue[tuple[int, Facts] | Exception] = queue.SimpleQueue()
    leaders = [_Leader(jobs, replies, limits, command) for _ in range(min(workers, len(files)))]
    try:
        for leader in leaders:
            leader.start()
        watched = time.monotonic()
        done = 0
        while done < len(files):
            try:
                reply = replies.get(timeout=_WATCH_EVERY)
            except queue.Empty:
                reply = None
            if isinstance(reply, Exception):
                raise reply
            if reply is not None:
                done += 1
                yield reply
            if time.monotonic() - watched > _WATCH_EVERY:
                watched = time.monotonic()
                for leader in leaders:
                    leader.end_if_overdue()
    finally:
        for leader in leaders:
            leader.stop()
        for leader in leaders:
            leader.join()


class _Leader(threading.Thread):
    """Leads one child process through files until none is left, and starts another when it dies."""

    def __init__(
        self, jobs: queue.SimpleQueue[Any], replies: queue.SimpleQueue[Any], limits: Limits, command: Sequence[str]
    ) -> None:
        super().__init__(daemon=True)
        self._jobs, self._replies, self._limits = jobs, replies, limits
        self._command = [*command, json.dumps(dataclasses.asdict(limits))]
        self._guard = threading.Lock()  # over the three below, which the collecting thread reads and ends
        self._child: subprocess.Popen[bytes] | None = None
        self._since: float | None = None
        self._stopped = False
        self._overdue = False

    def run(self) -> None:
        try:
            while not self._stopped:
                index, path = self._jobs.get_nowait()
                facts = self._examine(path)
                self._replies.put((index, facts))
        except (queue.Empty, _Stopped):
            pass
        except Exception as error:
            self._replies.put(error)
        finally:
            self._dismiss()

    def end_if_overdue(self) -> None:
        """Kill a child that has had one file for too long."""
        with self._guard:
            if self._child and self._since and time.monotonic() - self._since > _PATIENCE * self._limits.seconds:
                self._overdue = True
                self._child.kill()

    def stop(self) -> None:
        """Kill the child and take no other file; to be followed by `join`."""
        with self._guard:
            self._stopped = True
            if self._child:
                self._child.kill()

    def _examine(self, path: Path) -> Facts:
        """Facts of one file. A crash is believed when it happens twice: the first may be the machine's."""
        for attempt in (1, 2):
            child = self._child or self._hire()
            answer = Facts.unpack(self._ask(child, encode_path(path)))
            if answer is not None:
                return answer
            code = self._dismiss()
            if self._stopped:
                raise _Stopped
            if self._overdue:
                return Facts(reason=f"did not decode in {_PATIENCE * self._limits.seconds} s", lasting=False)
            how = _how(code)
            if how == "SIGXCPU":
                return Facts(reason=f"takes more than {self._limits.seconds} s of processor time to decode")
            if attempt == 2:
                break
        return Facts(reason=f"crashes its decoder ({how})")

    def _hire(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path for path in sys.path if path)  # the child finds what we found
        quiet = {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as complaints:
            with self._guard:
                if self._stopped:
                    raise _Stopped
                child = self._child = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env={**os.environ, **quiet},
                )
            if self._ask(child, b"") != READY:
                self._dismiss()
                if self._stopped:
                    raise _Stopped
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                raise RuntimeError(
                    f"a process to read images in could not be started: {said[-1] if said else 'no word'}"
                )
        return child

    def _ask(self, child: subprocess.Popen[bytes], line: bytes) -> Any:
        """The child's next answer, None where it died or made no sense."""
        assert child.stdin is not None
        assert child.stdout is not None
        self._overdue = False  # a kill that came as the last answer did is not this line's fault
        self._since = time.monotonic()
        try:
            child.stdin.write(line)
            child.stdin.flush()
            return json.loads(child.stdout.readline())
        except (OSError, ValueError):
            return None
        finally:
            self._since = None

    def _dismiss(self) -> int:
        """End the child, if there is one, and return how it ended."""
        with self._guard:
            child, self._child = self._child, None
        if child is None:
            return 0
        assert child.stdout is not None
        try:
            child.communicate(timeout=1)  # its input ends: a child at rest leaves by itself
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        return child.returncode


def _how(code: int) -> str:
    """How a process ended, by its return code: SIGSEGV, exit code 1."""
    names = {int(number): number.name for number in signal.Signals}
    return names.get(-code, f"signal {-code}") if code < 0 else f"exit code {code}"


class _Stopped(Exception):
    """The scan was left."""
