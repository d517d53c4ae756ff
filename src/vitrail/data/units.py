"""The unit in a column's header."""

from __future__ import annotations

import re

_UNIT = re.compile(r"^(?P<name>.*?\S)\s*[\[(](?P<unit>[^\[\]()]+)[\])]\s*$")


def split_unit(header: str) -> tuple[str, str]:
    """A column's header as (name, unit): "mass [kg]" and "mass (kg)" are ("mass", "kg"); no unit is ""."""
    found = _UNIT.match(header.strip())
    return (found["name"], found["unit"].strip()) if found else (header.strip(), "")
