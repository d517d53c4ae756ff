"""`vitrail check DATA`: what is in there, what is broken, what is there twice, and whether it can be trained on."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrail.cli.console import Counter, count, table
from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import DataError

if TYPE_CHECKING:
    from vitrail.contracts import Failure, Source
    from vitrail.data.audit import Audit
    from vitrail.data.split import Split
    from vitrail.settings import DataConfig

SHOWN = 30
"""Lines shown of files with one and the same remark; files that cannot be used are always all shown."""

SMALL_CLASS = 10
"""A class with fewer usable images is warned of: its share of validation would be one image."""


@dataclass(frozen=True)
class CheckOptions(Options):
    """What would be stated to train."""

    split_file: str | None = option("lists of what is train, val and test", "FILE")
    target: str | None = option("a table's column of labels", "COLUMN")
    group: str | None = option("a table's column whose equal values stay in one split", "COLUMN")
    max_pixels: int | None = option("refuse images that declare more (50,000,000)", "N")
    out: Path | None = option("also write bad_files.csv there", "FOLDER")


@dataclass(frozen=True)
class Finding:
    """What was found, and why it cannot be trained on, if so."""

    source: Source
    audit: Audit
    split: Split | None
    problems: tuple[str, ...]


def check(call: Call[CheckOptions]) -> Outcome:
    """Scan, and say everything that was found."""
    from vitrail import durable
    from vitrail.data.audit import summary, write_bad_files

    data = call.operands[0]
    finding = look(data_config(call))
    warnings = _warnings(finding)
    outputs = []
    if call.options.out:
        path = call.options.out / "bad_files.csv"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bad_files(path, finding.audit)
        except OSError as error:
            raise durable.storage_error(error, f"cannot write {path}") from None
        outputs.append(path)
    if not call.options.json:
        _show(finding)
    counts = summary(finding.audit, finding.source)
    return Outcome(
        result={"check": {"trainable": not finding.problems, "problems": finding.problems, **counts}},
        outputs=outputs,
        warnings=warnings,
        where=outputs[0] if outputs else None,
        next=[] if finding.problems else [command("train", data)],
        exit_code=DataError.exit_code if finding.problems else 0,
    )


def data_config(call: Call[CheckOptions]) -> DataConfig:
    """The config of the data; UsageError for a value that its field refuses."""
    from vitrail.settings import build

    names = ("split_file", "target", "group", "max_pixels")
    stated = {f"data.{name}": getattr(call.options, name) for name in names}
    given = {path: value for path, value in stated.items() if value is not None}
    return build({"data.source": call.operands[0], **given}).data


def look(config: DataConfig) -> Finding:
    """Open, scan and split. What keeps the data from being trained on is kept, so that all else is still looked at.

    Raises UsageError and DataError where there is nothing to look at.
    """
    from vitrail.cli.loose import LooseFiles
    from vitrail.data.audit import refuse_if_too_bad, scan
    from vitrail.data.sources import open_source
    from vitrail.data.split import make_split

    problems: list[str] = []
    source: Source
    try:
        source = open_source(config)
    except DataError as error:
        root = Path(config.source).expanduser()
        source = LooseFiles(root, config.max_pixels)
        if not root.is_dir() or not source.items:
            raise
        problems.append(str(error))
    counter = Counter("checked")
    audit = scan(source, config, progress=counter)
    counter.close()
    split = None
    try:
        refuse_if_too_bad(audit, config.max_bad_fraction)
    except DataError as error:
        problems.append(str(error))
    if audit.usable and not isinstance(source, LooseFiles):
        try:
            split = make_split(source, audit.usable, audit.content, config)
        except DataError as error:
            problems.append(str(error))
    return Finding(source, audit, split, tuple(problems))


def _split_names(finding: Finding) -> list[str]:
    """The split of each sample, by source index; "" where it has none."""
    names: list[str] = [item.split or "" for item in finding.source.items]
    if finding.split is not None:
        for name in ("train", "val", "test"):
            for index in getattr(finding.split, name):
                names[int(index)] = name
    return names


def _warnings(finding: Finding) -> list[str]:
    """What does not stop a training but may spoil it."""
    from vitrail.data.audit import duplicates, spanning

    groups = duplicates(finding.audit)
    found = []
    targets = [str(item.target) for item in finding.source.items]
    mixed = spanning(groups, targets)
    if mixed:
        pictures = count(len(mixed), "image stands", "images stand")
        found.append(f"{pictures} under more than one label: {_names(finding, mixed[0])}")
    splits = _split_names(finding)
    leaks = spanning(groups, splits)
    if leaks:
        pictures = count(len(leaks), "image is", "images are")
        found.append(f"{pictures} in more than one split, which flatters the scores: {_names(finding, leaks[0])}")
    small = [(row[0], row[1]) for row in _class_rows(finding) if int(row[1].replace(",", "")) < SMALL_CLASS]
    if small:
        least = min(small, key=lambda row: int(row[1]))
        classes = count(len(small), "class has", "classes have")
        found.append(f"{classes} fewer than {SMALL_CLASS} usable images: '{least[0]}' has {least[1]}")
    return found


def _names(finding: Finding, group: Sequence[int]) -> str:
    return " = ".join(finding.source.items[index].key for index in group)


def _show(finding: Finding) -> None:
    """The findings as text, the files that cannot be used first."""
    audit, source = finding.audit, finding.source
    _list("Cannot be used", audit.bad, len(audit.bad))
    _list("Usable, but odd", audit.odd, SHOWN)
    _list("Ignored", audit.ignored, SHOWN)
    _show_duplicates(finding)
    rows = _class_rows(finding)
    if rows:
        headers = ["class", "usable", "bad", *(("train", "val", "test") if finding.split is not None else ())]
        print(f"{table(headers, rows, numbers=headers[1:])}\n")
    classes = f" in {count(len(rows), 'class', 'classes')}" if rows else ""
    print(f"{source.location}")
    ignored = f"; {count(len(audit.ignored), 'other file')} ignored" if audit.ignored else ""
    print(f"{count(audit.found, 'image')}{classes}: {len(audit.usable):,} usable, {len(audit.bad):,} not{ignored}.")
    if finding.split is not None:
        sizes = {name: len(getattr(finding.split, name)) for name in ("train", "val", "test")}
        print(f"Split: {', '.join(f'{n:,} {name}' for name, n in sizes.items())}; {finding.split.how}.")
    for problem in finding.problems:
        print(f"Cannot be trained on: {problem}")
    if not finding.problems:
        print("Can be trained on.")


def _list(title: str, failures: Sequence[Failure], most: int) -> None:
    """Every file with its remark; of one and the same remark at most `most`, and how many more."""
    if failures:
        print(f"{title} ({len(failures):,})")
        seen = Counted(failure.reason for failure in failures)
        shown = Counted[str]()
        for failure in failures:
            shown[failure.reason] += 1
            if shown[failure.reason] <= most:
                print(f"  {failure.key}: {failure.reason}")
            elif shown[failure.reason] == seen[failure.reason]:
                print(f"  ... and {seen[failure.reason] - most:,} more: {failure.reason} (--json lists all)")
        print()


def _show_duplicates(finding: Finding) -> None:
    from vitrail.data.audit import duplicates

    groups = duplicates(finding.audit)
    if groups:
        print(f"The same image more than once ({len(groups):,})")
        for group in groups[:SHOWN]:
            print(f"  {_names(finding, group)}")
        if len(groups) > SHOWN:
            print(f"  ... and {len(groups) - SHOWN:,} more")
        print()


def _class_rows(finding: Finding) -> list[list[str]]:
    """class, usable, bad and, once divided, train, val, test; nothing where targets are no class names."""
    items = finding.source.items
    if not all(isinstance(item.target, str) for item in items):
        return []
    usable, splits = set(finding.audit.usable), _split_names(finding)
    tally: dict[str, dict[str, int]] = {}
    for index, item in enumerate(items):
        row: dict[str, Any] = tally.setdefault(item.target, dict.fromkeys(("usable", "bad", "train", "val", "test"), 0))
        row["usable" if index in usable else "bad"] += 1
        if index in usable and splits[index]:
            row[splits[index]] += 1
    kept = ("usable", "bad", "train", "val", "test") if finding.split is not None else ("usable", "bad")
    return [[name, *(f"{tally[name][column]:,}" for column in kept)] for name in sorted(tally)]


CHECK = Verb(
    name="check",
    summary="What is in there: every file that cannot be used and why, odd files, images that are there twice, classes "
    "and their sizes. Trains nothing. Exit code 3 if it cannot be trained on.",
    options=CheckOptions,
    operands=Operands("DATA", 1, 1),
    meanings={
        "DATA": "a folder with a folder per class, with or without train/, val/, test/ above; a table (.csv, .parquet, "
        ".jsonl); or 'digits' or 'shapes'"
    },
    function=check,
    examples=["vitrail check PHOTOS", "vitrail check PHOTOS --out found", "vitrail check table.csv --json"],
)
