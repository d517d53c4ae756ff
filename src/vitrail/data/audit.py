"""The look at every sample before training: what can be used, what cannot and why, what is odd, what is there twice."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vitrail import durable
from vitrail.contracts import Failure, FileSource, Source
from vitrail.data.appearance import Looks, look
from vitrail.data.facts import Facts, digest, remarks
from vitrail.data.items import at_row
from vitrail.data.map_audit import MapAudit
from vitrail.data.scan_files import Progress, scan_files
from vitrail.data.scan_worker import Limits
from vitrail.errors import BadImage, DataError
from vitrail.settings import DataConfig


@dataclass(frozen=True)
class Audit:
    """What a scan found; `found == len(usable) + len(bad)`.

    usable: indices in the source, rising.  bad: samples that cannot be used.  odd: usable but noteworthy.
    ignored: what lies beside the samples and is none.  sizes: (width, height) in pixels of each usable sample, formats:
    its file format ("" without a file).  content: a hash per source index, equal for equal bytes; "" for bad samples.
    looks: how each usable sample looks, None where that was not learnt.  maps: what was found of targets that are masks
    or maps, None where there are none or they were not read.  lost: of the bad, those whose image is good, by source
    index: why they cannot be used all the same.
    """

    found: int
    usable: tuple[int, ...]
    bad: tuple[Failure, ...]
    odd: tuple[Failure, ...]
    ignored: tuple[Failure, ...]
    sizes: tuple[tuple[int, int], ...]
    formats: tuple[str, ...]
    content: tuple[str, ...]
    looks: Looks | None = None
    maps: MapAudit | None = None
    lost: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def remarks(self) -> Mapping[str, str]:
        """What is odd of a sample, by its key."""
        return {failure.key: failure.reason for failure in self.odd}


def scan(source: Source, config: DataConfig, progress: Progress | None = None, workers: int | None = None) -> Audit:
    """Decode every sample of `source` once and say what was found, in the order of the source.

    Files are decoded in child processes, see `scan_files`; sources that have no files are read in this process. The
    result does not depend on `workers`. Of each sample a few hundred bytes are kept.
    """
    report = progress or (lambda done, total: None)
    look_at = _look_at_files if isinstance(source, FileSource) else _look_here
    count = len(source.items)
    looks = Looks.room(count, config.channels)
    reasons, odd = dict[int, str](), dict[int, str]()
    content, formats = [""] * count, [""] * count
    sizes = np.zeros((count, 2), np.int64)
    with contextlib.closing(look_at(source, config, report, workers)) as answers:
        for index, fact in answers:
            if fact.reason:
                reasons[index] = fact.reason + at_row(source, index)
                continue
            content[index], formats[index], sizes[index] = fact.content, fact.format, (fact.width, fact.height)
            if fact.odd:
                odd[index] = "; ".join(fact.odd)
            if fact.look is not None:
                looks.put(index, fact.look)
    items = source.items
    usable = [index for index in range(count) if index not in reasons]
    return Audit(
        found=count,
        usable=tuple(usable),
        bad=tuple(Failure(items[index].key, reasons[index]) for index in sorted(reasons)),
        odd=tuple(Failure(items[index].key, odd[index]) for index in sorted(odd)),
        ignored=tuple(getattr(source, "ignored", ())),
        sizes=tuple((width, height) for width, height in sizes[usable].tolist()),
        formats=tuple(formats[index] for index in usable),
        content=tuple(content),
        looks=looks.of(usable),
    )


def _look_at_files(
    source: Source, config: DataConfig, report: Progress, workers: int | None
) -> Generator[tuple[int, Facts], None, None]:
    assert isinstance(source, FileSource)
    paths = [source.path(index) for index in range(len(source.items))]
    return scan_files(source.location, paths, Limits.of(config.channels, config.max_pixels), report, workers)


def _look_here(
    source: Source, config: DataConfig, report: Progress, workers: int | None
) -> Generator[tuple[int, Facts], None, None]:
    count = len(source.items)
    for index in range(count):
        try:
            content = source.content(index)
            pixels = source.read(index, config.channels)
        except BadImage as error:
            yield index, Facts(reason=error.reason)
        else:
            height, width, _ = pixels.shape
            yield index, Facts("", digest(content), width, height, "", tuple(remarks(pixels)), look=look(pixels))
        report(index + 1, count)


def refuse_if_too_bad(audit: Audit, max_bad_fraction: float) -> None:
    """Raise DataError when no sample can be used, or more than `max_bad_fraction` of them cannot."""
    bad, found = len(audit.bad), audit.found
    if audit.usable and bad <= max_bad_fraction * found:
        return
    first = "; ".join(f"{failure.key}: {failure.reason}" for failure in audit.bad[:3])
    more = f"; and {bad - 3} more" if bad > 3 else ""
    if not audit.usable:
        raise DataError(f"none of the {found} images can be used: {first}{more}")
    raise DataError(
        f"{bad} of {found} images ({bad / found:.1%}) cannot be used, more than the {max_bad_fraction:.1%} allowed: "
        f"{first}{more}\nMend or remove them, or allow more with data.max_bad_fraction={_above(bad / found)}."
    )


def _above(fraction: float) -> str:
    return f"{min(1.0, int(fraction * 100) / 100 + 0.01):.2f}"


def write_bad_files(path: Path, audit: Audit) -> None:
    """Write the samples that cannot be used as CSV with the columns path and reason; only the header when none."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "reason"))
    table.writerows((failure.key, failure.reason) for failure in audit.bad)
    durable.write_file(path, text.getvalue().encode("utf-8", "backslashreplace"))


def duplicates(audit: Audit) -> tuple[tuple[int, ...], ...]:
    """Groups of two and more source indices whose content is the same, bit by bit, by their first index."""
    same: dict[str, list[int]] = defaultdict(list)
    for index in audit.usable:
        same[audit.content[index]].append(index)
    return tuple(tuple(group) for group in same.values() if len(group) > 1)


def spanning(groups: Iterable[Sequence[int]], labels: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """The groups whose members have different labels (of class or split), `labels` being per source index."""
    return tuple(tuple(group) for group in groups if len({labels[i] for i in group}) > 1)


_SHOWN_GROUPS = 100


def summary(audit: Audit, source: Source, split: Sequence[str | None] = ()) -> dict[str, Any]:
    """The audit as counts and lists for JSON, the same for `check --json`, data.json and the report.

    split: of each sample, where it is not the source's own. `found` = `usable` + `bad` = the sum over `classes` (where
    targets are class names) and over `splits` (where there are some); `formats` and sizes are of usable samples; what
    is `ignored` is counted apart.
    """
    items = source.items
    usable = set(audit.usable)
    groups = duplicates(audit)
    splits = list(split) or [item.split for item in items]
    result: dict[str, Any] = {
        "found": audit.found,
        "usable": len(audit.usable),
        "bad": len(audit.bad),
        "odd": len(audit.odd),
        "ignored": len(audit.ignored),
    }
    if all(isinstance(item.target, str) for item in items):
        result["classes"] = _tally([item.target for item in items], usable)
    if any(splits):
        result["splits"] = _tally([name or "not said" for name in splits], usable)
    result["formats"] = dict(Counter(kind for kind in audit.formats if kind).most_common())
    result["sizes"] = _sizes(audit.sizes)
    result["duplicates"] = {
        "groups": len(groups),
        "extra": sum(len(group) - 1 for group in groups),
        "across_classes": len(spanning(groups, [str(item.target) for item in items])),
        "across_splits": len(spanning(groups, splits)),
        "files": [[items[i].key for i in group] for group in groups[:_SHOWN_GROUPS]],
    }
    result["bad_reasons"] = dict(Counter(kind_of_reason(failure.reason) for failure in audit.bad).most_common())
    for name in ("bad", "odd", "ignored"):
        result[f"{name}_files"] = [{"path": f.key, "reason": f.reason} for f in getattr(audit, name)]
    return result


def _tally(labels: Sequence[str], usable: set[int]) -> dict[str, dict[str, int]]:
    found = Counter(labels)
    good = Counter(label for index, label in enumerate(labels) if index in usable)
    return {name: {"usable": good[name], "bad": found[name] - good[name]} for name in sorted(found)}


def _sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Smallest, median and largest width and height in pixels, and the five most common sizes."""
    if not sizes:
        return {}
    result: dict[str, Any] = {}
    for axis, name in enumerate(("width", "height")):
        sides = [size[axis] for size in sizes]
        result[name] = {"min": min(sides), "median": int(statistics.median_low(sides)), "max": max(sides)}
    common = Counter(sizes)
    result["distinct"] = len(common)
    result["most_common"] = [{"width": w, "height": h, "count": n} for (w, h), n in common.most_common(5)]
    return result


def kind_of_reason(reason: str) -> str:
    """The sort of failure: a reason up to what is particular to the file."""
    if reason.startswith("declares"):
        return "too many pixels"
    return re.split(r"[:;,(]", reason)[0].strip()
