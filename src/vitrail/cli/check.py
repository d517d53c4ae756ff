"""`vitrail check DATA`: what is in there, what is broken, what is there twice, and whether it can be trained on."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrail.cli.console import Counter, count, table, to_json
from vitrail.cli.layout import paragraph, terminal_width
from vitrail.cli.options import Call, Operands, Options, option, spelled
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import DataError

if TYPE_CHECKING:
    from vitrail.contracts import Failure, Source
    from vitrail.data.findings.finding import Finding
    from vitrail.data.findings.survey import Groups, Survey
    from vitrail.data.split import Split
    from vitrail.settings import DataConfig

SHOWN = 30
"""Lines shown of files with one and the same remark; files that cannot be used are always all shown."""

SHOWN_CASES = 3
"""Cases of a finding in the list of what to fix first."""


@dataclass(frozen=True)
class CheckOptions(Options):
    """What would be stated to train."""

    split_file: str | None = option("lists of what is train, val and test", "FILE")
    target: str | None = option("a table's column of labels", "COLUMN")
    group: str | None = option("a table's column whose equal values stay in one split", "COLUMN")
    task: str | None = option("whose targets to look for: classify, multilabel, regress, segment, depth", "TASK")
    max_pixels: int | None = option("refuse images that declare more (50,000,000)", "N")
    out: Path | None = option("also write check.html, check.json and bad_files.csv there", "FOLDER")


@dataclass(frozen=True)
class Looked:
    """What was looked at: the source with all that is known of it, how it would be divided, and for which task."""

    survey: Survey
    split: Split | None
    task: str

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it cannot be trained on."""
        return self.survey.problems


def check(call: Call[CheckOptions]) -> Outcome:
    """Scan, and say everything that was found."""
    from vitrail.data.findings.ranking import rank
    from vitrail.data.findings.record import record

    looked = look(data_config(call), call.options.task)
    findings = rank(looked.survey)
    told = {"trainable": not looked.problems, "problems": looked.problems, **record(looked.survey, findings)}
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


def _next(call: Call[CheckOptions], looked: Looked) -> list[str]:
    if looked.problems:
        return []
    stated = [(name, getattr(call.options, name)) for name in ("split_file", "target", "group", "task", "max_pixels")]
    words = [word for name, value in stated if value is not None for word in (_option_of_train(name), str(value))]
    return [command("train", call.operands[0], *words)]


def _option_of_train(name: str) -> str:
    return "--data.max_pixels" if name == "max_pixels" else spelled(name)


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
        write_check(page, survey, findings, told, divided)
        durable.write_file(data, to_json(told) + "\n")
        write_bad_files(bad, survey.trained)
    except OSError as error:
        raise durable.storage_error(error, f"cannot write to {out}") from None
    return [page, data, bad]


def data_config(call: Call[CheckOptions]) -> DataConfig:
    """The config of the data; UsageError for a value that its field refuses."""
    from vitrail.settings import build

    names = ("split_file", "target", "group", "max_pixels")
    stated = {f"data.{name}": getattr(call.options, name) for name in names}
    given = {path: value for path, value in stated.items() if value is not None}
    return build({"data.source": call.operands[0], **given}).data


def look(config: DataConfig, task: str | None = None) -> Looked:
    """Open, scan and split. What keeps the data from being trained on is kept, so that all else is still looked at.

    Raises UsageError and DataError where there is nothing to look at.
    """
    from vitrail.data.audit import refuse_if_too_bad, scan
    from vitrail.data.findings.record import split_names
    from vitrail.data.findings.survey import Survey
    from vitrail.data.inference import infer_task
    from vitrail.data.map_audit import scan_maps
    from vitrail.data.sources import open_source
    from vitrail.data.split import make_split
    from vitrail.data.target_audit import target_faults, without

    problems: list[str] = []
    source: Source
    loose = False
    try:
        source = open_source(config, task)
    except DataError as error:
        found = _loose(config)
        if found is None:
            raise
        source, loose = found, True
        problems.append(str(error))
    counter = Counter("checked")
    audit = scan(source, config, progress=counter)
    counter.close()
    counter = Counter("read masks,")
    maps = None if loose else scan_maps(source, config, progress=counter)
    counter.close()
    trained = audit if maps is None else without(audit, source, target_faults(audit, maps))
    split, settled = None, task or "classify"
    try:
        refuse_if_too_bad(trained, config.max_bad_fraction)
    except DataError as error:
        problems.append(str(error))
    if trained.usable and not loose:
        try:
            settled = infer_task(source, task).task
            split = make_split(source, trained.usable, trained.content, config, settled)
        except DataError as error:
            problems.append(str(error))
    survey = Survey(source, audit, split_names(source, split), maps, problems=tuple(problems))
    return Looked(survey, split, settled)


def _loose(config: DataConfig) -> Source | None:
    """What can be looked at where nothing can be trained on: images of any folder, rows of a table as they stand."""
    from vitrail.cli.loose_table import LooseTable
    from vitrail.run.loose import LooseFiles

    place = Path(config.source).expanduser()
    if place.is_dir():
        files = LooseFiles(place, config.max_pixels)
        return files if files.items else None
    try:
        return LooseTable(place, config)
    except DataError:
        return None


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
    examples=["vitrail check PHOTOS", "vitrail check PHOTOS --out found", "vitrail check table.csv --json"],
)
