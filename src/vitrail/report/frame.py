"""What the templates of every report are read with."""

from __future__ import annotations

import jinja2

from vitrail.explain import page
from vitrail.report.data import percent, thousands


def environment() -> jinja2.Environment:
    """Templates of this room, with how figures are written: `percent`, `thousands`, and `share`, where None is –."""
    made = page.environment("vitrail.report")
    made.filters |= {"percent": percent, "thousands": thousands, "share": _share}
    return made


def _share(fraction: float | None) -> str:
    return "–" if fraction is None else percent(fraction)
