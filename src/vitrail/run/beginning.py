"""What stands in a run's folder before its first step: the settings and why, the split, and what cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from vitrail import durable
from vitrail.data.audit import Audit, refuse_if_too_bad, write_bad_files
from vitrail.errors import DataError, UsageError
from vitrail.run.folder import Run
from vitrail.settings import Config, to_yaml
from vitrail.training.recipes import Choice, Reason


def write_beginning(run: Run, choice: Choice, audit: Audit, record: Mapping[str, Any]) -> None:
    """args.yaml, bad_files.csv and data.json. record: of the split, to which the reasons are added."""
    durable.write_file(run.folder / "args.yaml", to_yaml(choice.config))
    write_bad_files(run.folder / "bad_files.csv", audit)
    reasons = [{"field": r.field, "value": r.value, "why": r.why} for r in choice.reasons]
    text = json.dumps({**record, "reasons": reasons}, indent=1, ensure_ascii=False)
    durable.write_file(run.folder / "data.json", text + "\n")


def read_reasons(run: Run) -> tuple[Reason, ...]:
    """Why each setting is what it is, as it was written."""
    return tuple(Reason(str(r["field"]), r["value"], str(r["why"])) for r in run.data.get("reasons", ()))


def refuse_bad(audit: Audit, config: Config, make_folder: Callable[[], Run] | None) -> None:
    """DataError where too much is bad; the list is what the user needs then: it gets a run folder all the same."""
    try:
        refuse_if_too_bad(audit, config.data.max_bad_fraction)
    except DataError as error:
        if make_folder is None:
            raise
        run = make_folder()
        write_bad_files(run.folder / "bad_files.csv", audit)
        run.mark("failed", reason=str(error))
        raise DataError(f"{error} Every one is named in {run.folder / 'bad_files.csv'}.") from None


def refuse_finished(run: Run) -> None:
    """UsageError for a run that has nothing to resume."""
    if run.status == "finished":
        raise UsageError(f"{run.folder} is finished: nothing to resume; its report is {run.folder / 'report.html'}")
