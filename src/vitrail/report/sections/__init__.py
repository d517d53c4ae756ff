"""One file is one task's part of the report. This folder is the catalogue: each file offers `SECTION`."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from vitrail.report.section import Section


@cache
def section_of(task: str) -> Section[Any]:
    """The section of a task by its name; every file of `tasks/` has one."""
    section: Section[Any] = importlib.import_module(f"{__name__}.{task}").SECTION
    return section
