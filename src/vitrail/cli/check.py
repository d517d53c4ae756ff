"""`vitrail check DATA`: what is in there, what is broken, what is there twice, and whether it can be trained on."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrail.cli.console import count, table, to_json
from vitrail.cli.layout import paragraph, terminal_width
from vitrail.cli.look import Looked, look
from vitrail.cli.options import Call, Operands, Options, option, spelled
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.data.statement import READ_BY, words
from vitrail.errors import DataError, UsageError, unknown

if TYPE_CHECKING:
    from vitrail.contracts import Failure
    from vitrail.data.findings.finding import Finding
    from vitrail.data.findings.survey import Groups, Survey
    from vitrail.settings import Stated

SHOWN = 30
"""Lines shown of files with one and the same remark; files that cannot be used are always all shown."""

SHOWN_CASES = 3
"""Cases of a finding in the list of what to fix first."""


@dataclass(frozen=True)
class CheckOptions(Options):
    """What would be stated to train."""

    split_file: str | None = option("lists of what is train, val and test", "FILE")
    target: str | None = option("what is learned: a table's column or several, a folder of masks, classes", "NAME")
    group: str | None = option("a table's column whose equal values stay in one split", "COLUMN")
    task: str | None = option("whose targets to look for: classify, multilabel, regress, segment, depth", "TASK")
    max_pixels: int | None = option("refuse images that declare more (50,000,000)", "N")
    out: Path | None = option("also write check.html, check.json and bad_files.csv there", "FOLDER")


OPTIONS = {
    "split_file": "data.split_file",
    "target": "data.target",
    "group": "data.group",
    "task": "task.name",
    "max_pixels": "data.max_pixels",
}
"""Option -> the field that it states."""
MEANT_BY = ("name", "labels", "foreground", "ignore", "scale", "missing")
"""Fields of the task that say what targets mean."""
TAKEN = frozenset((*(f"data.{name}" for name in READ_BY), *(f"task.{name}" for name in MEANT_BY)))


def check(call: Call[CheckOptions]) -> Outcome:
    """Scan, and say everything that was found."""
    from vitrail.data.findings.ranking import rank
    from vitrail.data.findings.record import record

    looked = look(statements(call))
    findings = rank(looked.survey)
    told = {"trainable": not looked.problems, "problems": looked.problems, **_read_as(looked)}
    told |= record(looked.survey, findings)
    outputs = _write(call.options.out, looked, findings, told) if call.options.out else []
    if not call.options.json:
        _show(looked, findings)
    return Outcome(
        result={"check": told},
        outputs=outputs,
        warnings=[_line(finding) for finding in findings if finding.severity != "note"] if call.options.json else [],
        where=outputs[0] if outputs else None,
        next=_next(call, looked),
        exit_code=DataError.exit_code if looked.problems else 0,
    )


def _read_as(looked: Looked) -> dict[str, Any]:
    """What the targets are taken for and why, the settings that go with it, and what else was guessed."""
    found = looked.inference
    notes: dict[str, Any] = {"notes": looked.notes}
    if found is None:
        return notes
    settings = {path: {"value": value, "why": why} for path, (value, why) in found.also.items()}
    return {"task": {"name": found.task, "why": found.why, "settings": settings}, **notes}


def _lines(looked: Looked) -> list[str]:
    """The same for people."""
    return [*looked.notes, *(looked.inference.lines() if looked.inference is not None else ())]


def _next(call: Call[CheckOptions], looked: Looked) -> list[str]:
    """The training of what was checked, with all that was stated."""
    if looked.problems:
        return []
    given = {path: getattr(call.options, name) for name, path in OPTIONS.items()}
    stated = {path: value for path, value in given.items() if value is not None} | call.stated
    return [command("train", call.operands[0], *words(stated))]


def _write(out: Path, looked: Looked, findings: list[Finding], told: Mapping[str, Any]) -> list[Path]:
    """check.html, check.json and bad_files.csv in `out`."""
    from vitrail import durable
    from vitrail.data.audit import write_bad_files
    from vitrail.data.split import split_record
    from vitrail.report.check_page import write_check

    survey = looked.survey
    task = {"class": "classify", "labels": "multilabel"}.get(survey.kind, "")
    divided = split_record(looked.split, survey.source, task) if looked.split is not None else {}
    page, data, bad = out / "check.html", out / "check.json", out / "bad_files.csv"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_check(page, survey, findings, told, divided, _lines(looked))
        durable.write_file(data, to_json(told) + "\n")
        write_bad_files(bad, survey.trained)
    except OSError as error:
        raise durable.storage_error(error, f"cannot write to {out}") from None
    return [page, data, bad]


def statements(call: Call[CheckOptions]) -> Stated:
    """The fields that a command line states; UsageError for one that has no use here, and a value that is refused."""
    from vitrail.settings import build
    from vitrail.tasks import list_tasks

    stated: Stated = {"data.source": call.operands[0]}
    for name, path in OPTIONS.items():
        value = getattr(call.options, name)
        if value is not None:
            stated[path] = value
            if path in call.stated:
                raise UsageError(f"{spelled(name)} and {path} are the same field: state one")
    for path, value in call.stated.items():
        if path not in TAKEN:
            raise UsageError(
                f"{path}: check trains nothing and has no use for it; of the settings it takes those of data and task "
                "that say what is read"
            )
        if path in stated:
            raise UsageError(f"DATA and {path} are the same field: state one")
        stated[path] = value
    config = build(stated)
    if config.task.name not in list_tasks():
        raise unknown("task", config.task.name, list_tasks())
    return stated


def _line(finding: Finding) -> str:
    """A finding and its first case in a line."""
    from vitrail.data.findings.finding import named

    first = finding.cases[0] if finding.cases else None
    if first is None:
        return finding.title
    return f"{finding.title}: {named(finding.kind, first.keys)}{f' ({first.words})' if first.words else ''}"


def _show(looked: Looked, findings: Sequence[Finding]) -> None:
    """The findings as text: every file that cannot be used, then what to fix first, then the counts."""
    survey, audit = looked.survey, looked.survey.trained
    _list("Cannot be used", audit.bad, len(audit.bad))
    _list("Usable, but odd", audit.odd, SHOWN)
    _list("Ignored", audit.ignored, SHOWN)
    _sets(survey, "The same image more than once", survey.same)
    _sets(survey, "Nearly the same image", survey.alike)
    rows = _class_rows(looked)
    if rows:
        headers = ["class", "usable", "bad", *(("train", "val", "test") if looked.split is not None else ())]
        print(f"{table(headers, rows, numbers=headers[1:])}\n")
    _rank(findings)
    classes = f" in {count(len(rows), 'class', 'classes')}" if rows else ""
    print(f"{survey.source.location}")
    ignored = f"; {count(len(audit.ignored), 'other file')} ignored" if audit.ignored else ""
    print(f"{count(audit.found, 'image')}{classes}: {len(audit.usable):,} usable, {len(audit.bad):,} not{ignored}.")
    if survey.maps is not None:
        bad = survey.bad_masks
        print(f"{count(len(survey.maps.facts), 'mask')}: {len(survey.maps.facts) - bad:,} usable, {bad:,} not.")
    for line in _lines(looked):
        print(f"Read as: {line}")
    if looked.split is not None:
        sizes = {name: len(getattr(looked.split, name)) for name in ("train", "val", "test")}
        print(f"Split: {', '.join(f'{n:,} {name}' for name, n in sizes.items())}; {looked.split.how}.")
    for problem in looked.problems:
        print(f"Cannot be trained on: {problem}")
    if not looked.problems:
        print("Can be trained on.")


def _rank(findings: Sequence[Finding]) -> None:
    """What to fix first, each finding with what it means and what to do."""
    from vitrail.data.findings.finding import named

    if not findings:
        print("Nothing to fix was found.\n")
        return
    width = terminal_width()
    print(f"What to fix first ({len(findings):,})")
    for number, finding in enumerate(findings, start=1):
        title = paragraph(f"{finding.severity}: {finding.title}", width, "     ")
        print(f"{number:>3}. {title[5:]}")
        print(paragraph(finding.meaning, width, "     "))
        print(paragraph(f"-> {finding.remedy}", width, "     "))
        for case in finding.cases[:SHOWN_CASES]:
            print(f"       {named(finding.kind, case.keys)}{f' ({case.words})' if case.words else ''}")
        if finding.count > SHOWN_CASES:
            print(f"       ... and {finding.count - SHOWN_CASES:,} more (--json and --out list all)")
    print()


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


def _sets(survey: Survey, title: str, groups: Groups) -> None:
    if groups:
        print(f"{title} ({len(groups):,})")
        for group in groups[:SHOWN]:
            print(f"  {' = '.join(survey.source.items[index].key for index in group)}")
        if len(groups) > SHOWN:
            print(f"  ... and {len(groups) - SHOWN:,} more (--json lists all)")
        print()


def _class_rows(looked: Looked) -> list[list[str]]:
    """class, usable, bad and, once divided, train, val, test; nothing where targets are no class names."""
    survey = looked.survey
    if survey.kind != "class":
        return []
    tally: dict[str, dict[str, int]] = {}
    for index, labels in enumerate(survey.labels):
        name = labels[0] if labels else "(no label)"
        row = tally.setdefault(name, dict.fromkeys(("usable", "bad", "train", "val", "test"), 0))
        row["usable" if index in survey.usable else "bad"] += 1
        if index in survey.usable and survey.splits[index]:
            row[survey.splits[index]] += 1
    kept = ("usable", "bad", "train", "val", "test") if looked.split is not None else ("usable", "bad")
    return [[name, *(f"{tally[name][column]:,}" for column in kept)] for name in sorted(tally)]


CHECK = Verb(
    name="check",
    summary="What is in there and what to fix first: files that cannot be used and why, duplicates and near duplicates "
    "across classes and splits, labels, sizes, masks, numbers. Trains nothing; a killed check goes on where it was. "
    "Exit code 3 if it cannot be trained on.",
    options=CheckOptions,
    operands=Operands("DATA", 1, 1),
    meanings={
        "DATA": "a folder with a folder per class, or of images/ beside masks/, with or without train/, val/, test/; a "
        "table (.csv, .parquet, .jsonl); annotations of COCO (.json) or Pascal VOC; a set saved by Hugging Face's "
        "datasets, or hf:NAME; or 'digits' or 'shapes'"
    },
    function=check,
    config=True,
    more="Settings of train that say what is read are taken by their dotted paths: "
    + ", ".join(sorted(TAKEN - {"data.source", *OPTIONS.values()}))
    + ".",
    examples=[
        "vitrail check PHOTOS",
        "vitrail check PHOTOS --out found",
        "vitrail check table.csv --json",
        "vitrail check cells.csv --target count data.images=images/{name}.png data.weight=certainty",
    ],
)
