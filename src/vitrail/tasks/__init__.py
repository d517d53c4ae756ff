"""One file is one task: its head, loss, metrics, and how a target is read and a prediction decoded.

A task's module offers `fit(targets, config, named)` (a task for these training targets), `numbered(outputs)` (one whose
outputs have numbers for names) and `restore(state)`. A folder here is no task, but what tasks share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vitrail.contracts import ROW, SPLIT_COLUMN, Rows, Task
from vitrail.errors import DataError, IntegrityError, UsageError, unknown
from vitrail.settings import TaskConfig

if TYPE_CHECKING:
    from torch import Tensor


def list_tasks() -> list[str]:
    """Names of all tasks."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)


def _module(name: str) -> ModuleType:
    if name not in list_tasks():
        raise unknown("task", name, list_tasks())
    return importlib.import_module(f"{__name__}.{name}")


def create_task(name: str, targets: Iterable[Any], config: TaskConfig | None = None, named: Sequence[str] = ()) -> Task:
    """A task fitted to the training targets as the source says them (classify: class names, with repeats).

    named: what the source calls the targets, such as the headers of a table's columns.
    """
    task: Task = _module(name).fit(targets, config or TaskConfig(name=name), named)
    return task


def numbered_task(name: str, outputs: int) -> Task:
    """A task of `outputs` outputs that have numbers for names, for a model that is not trained here."""
    task: Task = _module(name).numbered(outputs)
    return task


def restore(state: Mapping[str, Any]) -> Task:
    """The task whose `state()` this is; IntegrityError where it is no task's state."""
    try:
        name = state["task"]
        if name not in list_tasks():
            raise IntegrityError(f"labels.json names the task {name!r}, which this version does not have")
        task: Task = _module(name).restore(state)
        return task
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise IntegrityError(f"labels.json is damaged ({error!r}): it is no task's state") from None


def counterparts(student: Task, teacher: Task, what: str, wanted: Sequence[str], known: Sequence[str]) -> list[int]:
    """The place among a teacher's names of each name that a student of the same task wants.

    what: the names are of, in the plural.  Raises UsageError where the teacher is for another task, or lacks a name.
    """
    instead = "distill.kind=feature needs nothing of that in common"
    if teacher.name != student.name:
        raise UsageError(f"the teacher is for the task {teacher.name}, and this run is for {student.name}: {instead}")
    missing = [name for name in wanted if name not in known]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        has = ", ".join(map(repr, known[:5])) + (", ..." if len(known) > 5 else "")
        raise UsageError(
            f"the teacher does not know {len(missing)} of the {len(wanted)} {what}: {shown} (it knows {has}).\n"
            f"Give a teacher trained on these {what}, or let --teacher auto train one; {instead}"
        )
    return [known.index(name) for name in wanted]


def rows_by_name(what: str, wanted: Sequence[str], known: Sequence[str]) -> Rows | str:
    """The rows of a head that bear the wanted names, unchanged; or in a clause why not all of them do."""
    found = [name for name in wanted if name in known]
    if len(found) < len(wanted):
        if len(known) == 1 == len(wanted):
            return f"it answers {known[0]!r}, not {wanted[0]!r}"
        return f"its {len(known)} {what} have {len(found) or 'none'} of the {len(wanted)} names here"
    return Rows(tuple(known.index(name) for name in wanted), (1.0,) * len(wanted), (0.0,) * len(wanted))


def refuse_taken(names: Sequence[str], endings: Sequence[str], what: str) -> None:
    """Raise DataError where predictions.csv would have two columns of one name, saying which name to change.

    names: each makes a column with each of the endings.  what: the names are of, in the singular.
    """
    taken: dict[str, str] = {}
    for name in names:
        if not name:
            raise DataError(f"a {what} has no name: give it one")
        if list(names).count(name) > 1:
            raise DataError(f"a {what} stands twice among {', '.join(names)}: rename one")
        for ending in endings:
            column = f"{name}{ending}"
            if column in (*ROW, SPLIT_COLUMN):
                raise DataError(
                    f"the {what} '{name}' would stand in predictions.csv under the name of its column '{column}':"
                    " rename it in the data, and in --target where that names it"
                )
            if column in taken:
                raise DataError(
                    f"the {what}s '{taken[column]}' and '{name}' would both make a column '{column}' in"
                    f" predictions.csv: rename {_which(column, taken[column], name)}"
                )
            taken[column] = name


def _which(column: str, first: str, second: str) -> str:
    """Of two names that make one column, the one that is its name."""
    return f"'{column}'" if column in (first, second) else f"'{second}'"


LABEL_SEPARATOR = ";"
"""Between labels in one cell of a table."""


def refuse_parted(labels: Sequence[str], what: str) -> None:
    """Raise DataError for a name that could not be told from several, or from none, in a cell that lists names.

    what: the names are of, in the singular.
    """
    for label in labels:
        if LABEL_SEPARATOR in label:
            raise DataError(
                f"the {what} {label!r} has a '{LABEL_SEPARATOR}', which parts one {what} from the next in"
                " predictions.csv: rename it"
            )
        if not label.strip():
            raise DataError(f"a {what} has no name, but {label!r}: give it one")


def chosen(outputs: Tensor, places: Sequence[int]) -> Tensor:
    """The outputs (B, Y, ...) at those places of the second dimension, in their order."""
    return outputs if list(places) == list(range(outputs.shape[1])) else outputs[:, list(places)]
