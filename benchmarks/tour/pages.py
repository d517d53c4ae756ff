"""What the two texts of the tour say of the code and of the figures: their links to lines, and their numbers.

A link to code is written [`symbol`](../src/vitrail/FILE#Lnumber): the line must define the symbol. A number is written
<!--key-->number<!--/-->, and tour.json says what stands between. Both are put right by `make.py`, and tests hold them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TEXTS = (DOCS / "tour.md", DOCS / "tour.zh-CN.md")
PICTURES = DOCS / "pictures" / "tour"
NUMBERS = PICTURES / "tour.json"

LINK = re.compile(r"\[`([\w.]+)`\]\((\.\./src/vitrail/[\w/.]+\.py)#L(\d+)\)")
NUMBER = re.compile(r"<!--([a-z0-9_.]+)-->(.*?)<!--/-->")


def defined(path: Path) -> dict[str, int]:
    """Dotted name of each class, function, method and module-level name of a file -> the line where it stands."""
    found: dict[str, int] = {}

    def walk(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found.setdefault(before + node.name, node.lineno)
                if isinstance(node, ast.ClassDef):
                    walk(node.body, f"{before}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        found.setdefault(before + target.id, node.lineno)

    walk(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def wrong_links(text: Path) -> list[str]:
    """Each link of a text whose line does not define its symbol, in words."""
    wrong = []
    for symbol, file, line in LINK.findall(text.read_text(encoding="utf-8")):
        path = (text.parent / file).resolve()
        stands = defined(path).get(symbol) if path.is_file() else None
        if stands != int(line):
            where = f"stands in line {stands}" if stands else "does not stand there"
            wrong.append(f"{text.name}: {symbol} in {file}#L{line}: {where}")
    return wrong


def wrong_numbers(text: Path, numbers: Mapping[str, str]) -> list[str]:
    """Each number of a text that is not what was measured, in words."""
    return [
        f"{text.name}: {key} is {numbers.get(key, 'not measured')}, not {said}"
        for key, said in NUMBER.findall(text.read_text(encoding="utf-8"))
        if numbers.get(key) != said
    ]


def put_right(text: Path, numbers: Mapping[str, str]) -> None:
    """Write a text again with the lines and numbers of today; what is not known stays as it is."""

    def link(hit: re.Match[str]) -> str:
        path = (text.parent / hit[2]).resolve()
        line = defined(path).get(hit[1]) if path.is_file() else None
        return f"[`{hit[1]}`]({hit[2]}#L{line or hit[3]})"

    said = LINK.sub(link, text.read_text(encoding="utf-8"))
    said = NUMBER.sub(lambda hit: f"<!--{hit[1]}-->{numbers.get(hit[1], hit[2])}<!--/-->", said)
    text.write_text(said, encoding="utf-8")


def percent(share: float) -> str:
    """A share as the texts write it: 66 %."""
    return f"{100 * share:.0f} %"


def interval(key: str, value: float, low: float, high: float) -> dict[str, str]:
    """A share with the ends of its interval, under `key`, `key`_low and `key`_high: 66 % (53 to 77 %)."""
    return {key: percent(value), f"{key}_low": percent(low).removesuffix(" %"), f"{key}_high": percent(high)}


def measured() -> dict[str, str]:
    """Key -> number, as the texts say it."""
    found: dict[str, str] = json.loads(NUMBERS.read_text(encoding="utf-8"))["numbers"]
    return found
