"""What was in the data: the audit's record and the split's, as the pages show them.

Both come as the plain mappings that `data.findings.record` and `data.split.split_record` give; where a key is missing,
as in an older record, its line is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrail.data.findings.finding import named

SPLITS = ("train", "val", "test")

MOST_ROWS = 30
"""Classes in the balance chart; of more, the largest and the smallest are shown."""

MOST_FAILURES = 50
"""Files named on the page; bad_files.csv has them all."""

MOST_FILES = 8
"""Files of one such case that are named."""

MOST_CASES = 20
"""Cases of a finding that are named in a report; `vitrail check --json` has them all."""


@dataclass(frozen=True)
class BalanceRow:
    """A class or a label: its images in all, and each split's part of the bar as (split, width in percent)."""

    label: str
    total: int
    parts: list[tuple[str, float]]


@dataclass(frozen=True)
class Balance:
    """Images per class or label and split ("" where there is none), largest first.

    several: whether an image may have several, and so count in several rows.  left_out: rows between those shown.
    """

    splits: list[str]
    rows: list[BalanceRow]
    several: bool
    left_out: int


@dataclass(frozen=True)
class Found:
    """A finding of the audit: how severe, what, what it means, what to do, and some cases as (files, words)."""

    severity: str
    title: str
    meaning: str
    remedy: str
    cases: list[tuple[str, str]]
    left_out: int


@dataclass(frozen=True)
class Brightness:
    """How many images are how bright: (from, to, images, height in percent) of each bin, in percent of the range."""

    bins: list[tuple[int, int, int, float]]


@dataclass(frozen=True)
class Inventory:
    """tiles and rows are (what, value); listings are (title, [(file, reason)]).  findings: most urgent first."""

    tiles: list[tuple[str, str]]
    rows: list[tuple[str, str]]
    balance: Balance | None
    listings: list[tuple[str, list[tuple[str, str]]]]
    findings: list[Found]
    brightness: Brightness | None

    def __bool__(self) -> bool:
        return bool(self.tiles or self.rows or self.balance or self.listings or self.findings)


def take(audit: Mapping[str, Any], split: Mapping[str, Any]) -> Inventory:
    """Read `data.findings.record` and `data.split.split_record` into what the page shows."""
    tiles = [(words, f"{n:,}") for key, words in _TILES.items() if (n := count(audit.get(key))) is not None]
    tiles += [(words, f"{n:,}") for key, words in _USES.items() if (n := images_in(split, key)) is not None]
    listings = []
    for key, words in _LISTS.items():
        files = [(str(file["path"]), str(file["reason"])) for file in audit.get(key, ())]
        if files:
            more = f", the first {MOST_FAILURES} of them" if len(files) > MOST_FAILURES else ""
            listings.append((f"{words} ({len(files):,}{more})", files[:MOST_FAILURES]))
    groups = [(", ".join(map(str, group)), "the same bytes") for group in audit.get("duplicates", {}).get("files", ())]
    if groups:
        listings.append(("Files that are there more than once", groups[:MOST_FAILURES]))
    looks = audit.get("statistics", {})
    findings = [_found(finding) for finding in audit.get("findings", ())]
    labels = split.get("label_counts")
    balance = _balance(labels or split.get("counts") or _unsplit(audit.get("classes", {})), several=bool(labels))
    return Inventory(tiles, _rows(audit, split), balance, listings, findings, _brightness(looks.get("brightness")))


def _found(finding: Mapping[str, Any]) -> Found:
    kind = str(finding["kind"])
    cases = [(named(kind, case["files"], MOST_FILES), str(case["words"])) for case in finding["cases"][:MOST_CASES]]
    severity, title, meaning, remedy = (str(finding[key]) for key in ("severity", "title", "meaning", "remedy"))
    return Found(severity, title, meaning, remedy, cases, len(finding["cases"]) - len(cases))


def _brightness(counts: Sequence[int] | None) -> Brightness | None:
    if not counts or not max(counts):
        return None
    step, most = 100 / len(counts), max(counts)
    return Brightness(
        [(round(i * step), round((i + 1) * step), n, 100 * n / most) for i, n in enumerate(counts)],
    )


def _unsplit(classes: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Usable images per class of data that was not divided, in the form of a split's counts."""
    return {"": {name: tally["usable"] for name, tally in classes.items()}}


_TILES = {
    "found": "images found",
    "usable": "usable",
    "bad": "unusable, left out",
    "odd": "odd but usable",
    "ignored": "other files, ignored",
}
_USES = {"train": "to train on (train)", "val": "to choose by (val)", "test": "to judge by (test)"}
_LISTS = {
    "bad_files": "Files that could not be used",
    "odd_files": "Files that are odd but usable",
    "ignored_files": "Files that are no samples",
}


def count(value: Any) -> int | None:
    """A whole number as such; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def images_in(split: Mapping[str, Any], name: str) -> int | None:
    """Images of the split `name` in a split's record."""
    return count(split.get("images", {}).get(name))


def _rows(audit: Mapping[str, Any], split: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("How it was split", str(split.get("how", ""))),
        ("Sizes", _sizes(audit.get("sizes", {}))),
        ("Shapes", _aspect(audit.get("statistics", {}).get("aspect"))),
        ("Formats", _tally(audit.get("formats", {}))),
        ("Left out because", _tally(audit.get("bad_reasons", {}))),
        ("Duplicates", _duplicates(audit.get("duplicates"))),
        ("Near duplicates", _near(audit.get("near_duplicates"))),
        ("Masks", _masks(audit.get("masks"))),
        ("Colour", _colour(audit.get("statistics", {}))),
        ("Channels", _channels(audit.get("statistics", {}))),
        ("Fingerprint of the split", str(split.get("fingerprint", ""))),
    ]
    return [(what, value) for what, value in rows if value]


def _sizes(sizes: Mapping[str, Any]) -> str:
    sides = [
        f"{name} {side['min']:,} to {side['max']:,} px (median {side['median']:,})"
        for name in ("width", "height")
        if (side := sizes.get(name))
    ]
    common = [f"{size['width']} x {size['height']} ({size['count']:,})" for size in sizes.get("most_common", ())[:3]]
    if sizes.get("distinct") == 1:
        return f"all {sizes['most_common'][0]['width']} x {sizes['most_common'][0]['height']} px"
    return ", ".join(sides) + (f"; most often {', '.join(common)}" if common else "")


def _aspect(ratios: Mapping[str, float] | None) -> str:
    if not ratios:
        return ""
    if ratios["min"] == ratios["max"] == 1:
        return "all square"
    if ratios["min"] == ratios["max"]:
        return f"all {ratios['min']:.2f} times as wide as high"
    return f"{ratios['min']:.2f} to {ratios['max']:.2f} times as wide as high (median {ratios['median']:.2f})"


def _near(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    sets = found.get("groups", 0)
    said = f"{sets:,} set{'s' if sets != 1 else ''} of nearly the same picture" if sets else "none"
    return f"{said}; near means that {found['means']}" if "means" in found else said


def _masks(found: Mapping[str, int] | None) -> str:
    return f"{found['found']:,} found, {found['usable']:,} usable, {found['bad']:,} not" if found else ""


def _colour(looks: Mapping[str, Any]) -> str:
    words = [("coloured", "coloured"), ("grey", "grey"), ("constant", "of a single colour")]
    return ", ".join(f"{looks[key]:,} {word}" for key, word in words if looks.get(key))


def _channels(looks: Mapping[str, Any]) -> str:
    if not looks.get("mean"):
        return ""
    mean, std = (", ".join(f"{value:.3f}" for value in looks[key]) for key in ("mean", "std"))
    of = f"{looks['of']:,} {looks['split']} images".replace("  ", " ")
    return f"mean {mean}; standard deviation {std} (of {of}, values from 0 to 1)"


def normalisation(looks: Mapping[str, Any]) -> str:
    """The words that make `train` normalise by the data's own mean and standard deviation."""
    if not looks.get("mean"):
        return ""
    mean, std = ("[" + ",".join(f"{max(value, 0.001):.3f}" for value in looks[key]) + "]" for key in ("mean", "std"))
    return f"preprocess.mean={mean} preprocess.std={std}"


def _tally(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items())


def _duplicates(found: Mapping[str, int] | None) -> str:
    if found is None:
        return ""
    if not found.get("groups"):
        return "no two files have the same bytes"
    sets, extra = found["groups"], found.get("extra", 0)
    copies = f"{sets:,} set{'s' if sets != 1 else ''} of files with the same bytes, {extra:,} of them not needed"
    crossing = [f"{found[key]:,} {words}" for key, words in _CROSSING.items() if found.get(key)]
    return "; ".join([copies, *crossing])


_CROSSING = {"across_classes": "in more than one class", "across_splits": "in more than one split"}


def _balance(counts: Mapping[str, Mapping[str, int]] | None, several: bool) -> Balance | None:
    if not counts:
        return None
    splits = [name for name in (*SPLITS, "") if any(counts.get(name, {}).values())]
    labels = dict.fromkeys(label for name in splits for label in counts[name])
    totals = {label: sum(int(counts[name].get(label, 0)) for name in splits) for label in labels}
    largest = max(totals.values(), default=0)
    if not largest:
        return None
    order = sorted(labels, key=lambda label: -totals[label])
    left_out = len(order) - MOST_ROWS
    if left_out > 0:
        order = order[: MOST_ROWS // 2] + order[-(MOST_ROWS // 2) :]
    rows = [
        BalanceRow(
            str(label),
            totals[label],
            [(name, 100 * int(counts[name].get(label, 0)) / largest) for name in splits if counts[name].get(label, 0)],
        )
        for label in order
    ]
    return Balance(splits, rows, several, max(0, left_out))
