"""How long `vitrail check` takes for many small files, how much memory, and that a killed one goes on where it was.

    python benchmarks/check_many.py [--files 20000] [--folder /tmp/many] [--kill]

Draws the files (JPEG, 96 x 72, 20 classes; one in a hundred is a near duplicate of another), checks them with an empty
cache, then again; with --kill also kills a check with SIGKILL halfway and says how many files the next one still read.
Promised: 100,000 files in minutes on two cores, in memory that grows by about a kilobyte a file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 20
COPIES = 100
"""One file in so many is another one, saved once more at lower quality."""


def draw(folder: Path, files: int) -> None:
    """Fill `folder`, unless it is already full."""
    done = folder / f".{files} files"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    draws = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"class {number:02d}").mkdir(parents=True)
    for number in range(files):
        copy = number > 0 and number % COPIES == 0
        if not copy:
            rough = Image.fromarray(draws.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            picture = rough.resize((96, 72), Image.Resampling.BICUBIC)
        place = folder / f"class {number % CLASSES:02d}" / f"{number}.jpg"
        picture.save(place, quality=60 if copy else 85)
    done.touch()


def check(folder: Path, cache: Path) -> tuple[float, dict[str, Any], int]:
    """Seconds of the whole command, what it said, and its peak memory in MB."""
    code = (
        "import resource, sys\nfrom vitrail.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)\nsys.exit(code)\n"
    )
    begun = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", code, "check", str(folder), "--json"],
        env={**os.environ, "VITRAIL_CACHE": str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    return seconds, json.loads(ran.stdout)["check"], int(ran.stderr.split()[-1])


def kill_halfway(folder: Path, cache: Path, seconds: float) -> None:
    """Start a check and end it with SIGKILL after `seconds`."""
    code = "import sys; from vitrail.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "check", str(folder), "--json"]
    started = subprocess.Popen(command, env={**os.environ, "VITRAIL_CACHE": str(cache)}, stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    started.send_signal(signal.SIGKILL)
    started.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vitrail-many")
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    draw(options.folder, options.files)
    with tempfile.TemporaryDirectory() as cache:
        first, told, memory = check(options.folder, Path(cache))
        again, _, _ = check(options.folder, Path(cache))
    print(f"{told['found']:,} files: {first:.1f} s, {told['found'] / first:,.0f} a second; again {again:.1f} s")
    print(f"peak memory: {memory} MB")
    print(f"near duplicates: {told['near_duplicates']['groups']:,} sets (planted: {options.files // COPIES - 1:,})")
    for finding in told["findings"]:
        print(f"  {finding['severity']}: {finding['title']}")
    if options.kill:
        with tempfile.TemporaryDirectory() as cache:
            kill_halfway(options.folder, Path(cache), first / 2)
            known = sum(len(gzip.decompress(path.read_bytes()).splitlines()) for path in Path(cache).glob("scan/*"))
            rest, _, _ = check(options.folder, Path(cache))
        print(f"killed after {first / 2:.1f} s, when {known:,} files were known; the next check took {rest:.1f} s")


if __name__ == "__main__":
    main()
