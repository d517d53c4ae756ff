"""The child process of a scan: decodes the files it is told, one at a time, within limits the system enforces.

Started as `python -m vitrail.data.scan_worker LIMITS`. It reads a path a line (JSON) and answers each with its facts,
a line of JSON. A decoder that crashes, hangs or eats memory ends this process and nothing else; see `scan_pool`.
It ends when its input does, so it never outlives its parent by more than one file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.data.facts import Facts, examine_file, examine_map

READY = ["ready"]


@dataclass(frozen=True)
class Limits:
    """What one file may ask for. seconds: of processor time.  memory: bytes beyond those of the idle process.

    kind: "image", or "map" for masks and maps of numbers.
    """

    channels: int
    max_pixels: int
    seconds: int
    memory: int
    kind: str = "image"

    @classmethod
    def of(cls, channels: int, max_pixels: int, kind: str = "image") -> Limits:
        """Limits that every honest image of `max_pixels` keeps, several times over in time.

        The hungriest decoder, WebP's, was measured at 16 bytes a pixel beyond the file itself.
        """
        seconds, memory = 10 + max_pixels // 10_000_000, 64 * 2**20 + 18 * max_pixels
        return cls(channels, max_pixels, seconds, memory, kind)


def encode_path(path: Path) -> bytes:
    """A line for the child: any path at all, as JSON of its bytes."""
    return json.dumps(os.fsencode(path).decode("latin-1")).encode() + b"\n"


def serve(examine: Callable[[Path, int, int], Facts]) -> None:
    """Answer paths on standard input until it ends."""
    limits = Limits(**json.loads(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints cannot garble the answers
    _confine(limits.memory)
    _answer(answers, READY)
    for line in sys.stdin.buffer:
        path = Path(os.fsdecode(json.loads(line).encode("latin-1")))
        _grant_seconds(limits.seconds)
        _forget_complaints()
        try:
            facts = examine(path, limits.channels, limits.max_pixels)
        except MemoryError:
            facts = Facts(reason=f"needs more than {limits.memory // 2**20:,} MB of memory to decode")
        complaint = _complaint()
        if complaint and not facts.reason:
            facts = dataclasses.replace(facts, odd=(*facts.odd, f"the decoder remarked: {complaint}"))
        _answer(answers, facts.pack())


def _answer(answers: Any, content: list[Any]) -> None:
    answers.write(json.dumps(content).encode() + b"\n")
    answers.flush()


def _confine(memory: int) -> None:
    """Bound the address space: a larger allocation fails in this process before the machine feels it."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is reported, not dumped


def _grant_seconds(seconds: int) -> None:
    """Let the next file have so much processor time; beyond it the system ends this process with SIGXCPU."""
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _forget_complaints() -> None:
    with contextlib.suppress(OSError):  # standard error is a file when `scan_pool` starts this
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)


def _complaint() -> str:
    """The first line that a decoder printed about the last file; libtiff says only there that data is damaged."""
    with contextlib.suppress(OSError):
        os.lseek(2, 0, os.SEEK_SET)
        return os.read(2, 120).decode(errors="replace").strip().partition("\n")[0]
    return ""


if __name__ == "__main__":
    serve(examine_map if json.loads(sys.argv[1])["kind"] == "map" else examine_file)
