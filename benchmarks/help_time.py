"""How long the command takes to say what it can do, from a cold process.

    python benchmarks/help_time.py [--times 20]

Promised on two cores: `vitrail --help` under 0.3 s. Prints the median and the slowest of each, in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vitrail.cli.main import VERBS

PROMISED_MS = 300


def measure(command: Sequence[str], times: int) -> list[float]:
    """Milliseconds of so many runs, after one that warms the disk's cache."""
    taken = []
    for _ in range(times + 1):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        taken.append(1000 * (time.perf_counter() - start))
    return taken[1:]


def main() -> int:
    """Print a row per page; 1 if the first page is slower than promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    program = shutil.which("vitrail", path=str(Path(sys.executable).parent)) or shutil.which("vitrail")
    if program is None:
        print("the command 'vitrail' is not installed beside this Python", file=sys.stderr)
        return 2
    print(
        f"{time.strftime('%Y-%m-%d')}  {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    first = measure([program, "--help"], times)
    rows = {"--help": first, **{f"{verb} --help": measure([program, verb, "--help"], times) for verb in VERBS}}
    for name, taken in rows.items():
        print(f"vitrail {name:<16}  median {statistics.median(taken):5.0f} ms  slowest {max(taken):5.0f} ms")
    kept = statistics.median(first) < PROMISED_MS
    print(f"promised: under {PROMISED_MS} ms: {'kept' if kept else 'broken'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
