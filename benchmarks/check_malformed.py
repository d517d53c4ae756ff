"""How long a scan of odd and broken images takes, how much memory, and every reason, to be read by a person.

    python benchmarks/check_malformed.py ../shared/data/malformed_mini [--workers N] [--json]

Promised on two cores: under 60 s, under 1 GB in this process and in each child, no file left without a verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from vitrail.contracts import Failure, Hints, Item, Pixels
from vitrail.data import image
from vitrail.data.audit import scan, summary
from vitrail.settings import DataConfig


class AnyFiles:
    """Every file below a folder as a sample, whatever it is called."""

    hints = Hints()
    target_names: tuple[str, ...] = ()
    ignored: tuple[Failure, ...] = ()

    def __init__(self, root: Path) -> None:
        self.name, self.location = root.name, str(root.absolute())
        self._paths = sorted(path for path in root.absolute().rglob("*") if path.is_file())
        self._items = [Item(path.relative_to(root.absolute()).as_posix(), path.parent.name) for path in self._paths]

    @property
    def items(self) -> list[Item]:
        return self._items

    def path(self, index: int) -> Path:
        return self._paths[index]

    def read(self, index: int, channels: int) -> Pixels:
        return image.read(self._paths[index], channels)

    def content(self, index: int) -> bytes:
        return image.read_bytes(self._paths[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON instead of the reasons")
    options = parser.parse_args()
    source = AnyFiles(options.folder)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["VITRAIL_CACHE"] = cache  # measured without what an earlier scan left
        begun = time.perf_counter()
        audit = scan(source, DataConfig(source=source.location), workers=options.workers)
        seconds = time.perf_counter() - begun
        again = time.perf_counter()
        scan(source, DataConfig(source=source.location), workers=options.workers)
        again = time.perf_counter() - again
    if options.json:
        print(json.dumps(summary(audit, source), indent=1))
        return
    for title, failures in (("cannot be used", audit.bad), ("odd", audit.odd)):
        print(f"{title}:")
        for failure in failures:
            print(f"  {failure.key}: {failure.reason}")
    ours, children = (resource.getrusage(who).ru_maxrss // 1024 for who in (0, resource.RUSAGE_CHILDREN))
    print(f"{audit.found} files: {len(audit.usable)} usable, {len(audit.bad)} bad, {len(audit.odd)} odd")
    print(f"{seconds:.2f} s, {again * 1000:.0f} ms from the cache; peak {ours} MB here, {children} MB in a child")


if __name__ == "__main__":
    main()
