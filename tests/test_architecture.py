"""The house keeps its plan: which room may import which, no circles, no cupboards, no endless files.

The table is that of docs/architecture.md. Every import is read from the source with `ast`: those at the top, those
inside functions, those under TYPE_CHECKING, and `import_module` with the name written out. The rules are themselves
tested on small trees that break them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vitrail"

BASE = {"contracts", "settings", "errors", "seeding", "durable"}
"""Small modules under everything; among themselves they import downward only, which the search for circles holds."""

ALLOWED: Mapping[str, set[str]] = {
    "base": set(),
    "layers": {"base"},
    "data": {"base"},
    "distributed": {"base"},
    "runtime": {"base"},
    "models": {"base", "layers"},
    "heads": {"base", "layers"},
    "tasks": {"base", "heads", "data"},
    "assemble": {"base", "layers", "models", "heads", "tasks"},  # layers: it gives the whole model its first values
    "artifact": {"base", "data", "tasks", "assemble"},  # tasks: a model folder brings its task back
    # layers: resizing; data, tasks, artifact: what is converted becomes a model folder with preprocessing and classes
    "checkpoints": {"base", "layers", "data", "models", "tasks", "assemble", "artifact"},
    "cost": {"base", "layers", "models", "assemble", "distributed"},  # layers: a step is traced as training computes it
    "evaluate": {"base", "data", "tasks", "distributed", "runtime"},
    "training": {"base", "data", "tasks", "distributed", "evaluate", "artifact", "cost"},
    "distill": {"base", "layers", "heads", "data", "tasks", "assemble", "artifact", "training"},
    "pretraining": {"base", "layers", "heads", "data", "tasks", "assemble", "artifact", "training"},
    "explain": {"base", "layers", "data", "tasks", "artifact", "runtime"},
    "predict": {"base", "data", "tasks", "artifact", "runtime", "explain"},
    "export": {"base", "data", "tasks", "artifact", "evaluate", "runtime"},
    "report": {"base", "data", "tasks", "evaluate", "explain", "cost"},
    "serving": {"base", "predict"},
}
"""Room -> rooms it may import besides itself."""

ANYTHING_BUT: Mapping[str, set[str]] = {
    "run": {"study", "serving", "cli"},
    "study": {"serving", "cli"},
    "cli": set(),
    "door": {"cli"},
}
"""Rooms that stand above the table -> what even they may not import. The door is `vitrail/__init__.py`."""

FAMILY_EXCEPTIONS = {("deit", "vit")}
"""One file or folder of models/ is one family, and families do not import each other, save these."""

CUPBOARDS = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
LONGEST, LONG = 600, 400


@dataclass(frozen=True)
class Import:
    """Module `importer` imports module `imported` (dotted, within the package) on a line of its file."""

    importer: str
    imported: str
    line: int


def room(module: str) -> str:
    """The room a module stands in: vitrail.data.image -> data, vitrail.errors -> base, vitrail -> door."""
    parts = module.split(".")
    if len(parts) == 1:
        return "door"
    if parts[1] == "__main__":  # the command by another name
        return "cli"
    return "base" if parts[1] in BASE else parts[1]


def family(module: str) -> str:
    """The file or folder of models/ that a module stands in; "" outside of any."""
    parts = module.split(".")
    return parts[2] if len(parts) > 2 else ""


def modules(source: Path) -> dict[str, Path]:
    """Dotted name -> file, for every module of the package at `source`."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = [source.name, *path.relative_to(source).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: Path) -> list[Import]:
    """Every import of one module of the package by another, wherever in the file it stands."""
    known = modules(source)
    return [
        Import(name, target, line)
        for name, path in known.items()
        for target, line in _targets(name, path, known)
        if target != name
    ]


def _targets(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    package = name.split(".")[0]
    here = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            written = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = here.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            origin = (parent + (node.module or "")).rstrip(".")
            if origin == package and all(alias.name == "__version__" for alias in node.names):
                continue  # the version is the one thing that is read from the door
            written = [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            first = node.args[0]
            written = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
        else:
            continue
        for dotted in written:
            while dotted and dotted not in known:  # `from vitrail.data.image import decode` is an import of the module
                dotted = dotted.rpartition(".")[0]
            if dotted:
                yield dotted, node.lineno


def wrong_edges(source: Path) -> list[str]:
    """Imports that the table forbids, and rooms that it lacks."""
    wrong = [f"{name}: the table has no room '{room(name)}'" for name in modules(source) if not _in_table(room(name))]
    for edge in imports(source):
        here, there = room(edge.importer), room(edge.imported)
        if not (_in_table(here) and _in_table(there)):
            continue
        allowed = there not in ANYTHING_BUT[here] if here in ANYTHING_BUT else there in ALLOWED[here] | {here}
        if not allowed:
            wrong.append(f"{edge.importer}:{edge.line} imports {edge.imported}: {here} may not import {there}")
        families = (family(edge.importer), family(edge.imported))
        if here == there == "models" and all(families) and families not in FAMILY_EXCEPTIONS and len(set(families)) > 1:
            wrong.append(f"{edge.importer}:{edge.line} imports {edge.imported}: a family may not import another")
    return wrong


def _in_table(name: str) -> bool:
    return name in ALLOWED or name in ANYTHING_BUT


def circles(source: Path) -> list[str]:
    """Circles of imports between modules, each once; only the door, which resolves its names when used, is left out."""
    graph: dict[str, list[str]] = {name: [] for name in modules(source)}
    for edge in imports(source):
        if "door" not in (room(edge.importer), room(edge.imported)):
            graph[edge.importer].append(edge.imported)
    found: set[tuple[str, ...]] = set()
    finished: set[str] = set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            ring = path[path.index(module) :]
            turn = ring.index(min(ring))
            found.add(tuple(ring[turn:] + ring[:turn]))
        elif module not in finished:
            for other in graph[module]:
                walk(other, [*path, module])
            finished.add(module)

    for module in graph:
        walk(module, [])
    return [" -> ".join([*ring, ring[0]]) for ring in sorted(found)]


def cupboards(source: Path) -> list[str]:
    """Modules and folders named after nothing in particular."""
    return [
        f"{name}: '{part}' says nothing of what is in it"
        for name in modules(source)
        for part in name.split(".")[1:]
        if part.strip("_") in CUPBOARDS
    ]


def longer_than(limit: int, *folders: Path) -> list[str]:
    """Python files with more lines than `limit`."""
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for f in folders for p in sorted(f.rglob("*.py"))}
    return [f"{path} has {length} lines (limit {limit})" for path, length in lengths.items() if length > limit]


# ----------------------------------------------------------------------------------------------------- on the house


def test_rooms_import_only_what_the_table_allows() -> None:
    assert wrong_edges(SOURCE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(SOURCE) == []


def test_no_module_is_a_cupboard() -> None:
    assert cupboards(SOURCE) == []


def test_no_file_is_endless() -> None:
    folders = [SOURCE, ROOT / "tests", ROOT / "benchmarks"]
    for line in longer_than(LONG, *folders):
        print("warning:", line)
    assert longer_than(LONGEST, *folders) == []


def test_every_import_of_the_house_was_seen() -> None:
    """The reader of imports is not blind: it knows edges that certainly exist."""
    edges = {(edge.importer, edge.imported) for edge in imports(SOURCE)}
    assert ("vitrail.settings.stated", "vitrail.errors") in edges
    assert ("vitrail", "vitrail.predict.predictor") in edges  # under TYPE_CHECKING
    assert ("vitrail.predict.predictor", "vitrail.artifact") in edges  # inside a function


def test_the_plan_on_paper_says_the_same() -> None:
    """docs/architecture.md and this file hold one table."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w, ]+?) \| ([^|]+?) \|$", text.partition("| room | may import")[2], re.MULTILINE)
    written = {
        name: set(re.split(r", ", re.sub(r" \(.*\)", "", allowed)))
        for names, allowed in rows
        for name in names.split(", ")
    }
    assert {name: allowed for name, allowed in written.items() if name in ALLOWED} == {
        name: allowed for name, allowed in ALLOWED.items() if name != "base"
    }
    assert written["cli"] == {"anything"}
    assert written["run"] == written["study"] == {"everything above"}


# ---------------------------------------------------------------------------------------------- on planted violations


def plant(folder: Path, files: Mapping[str, str]) -> Path:
    """A little package called vitrail with these files."""
    source = folder / "vitrail"
    for name, text in {"__init__.py": "", **files}.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for parent in path.relative_to(source).parents:
            (source / parent / "__init__.py").touch()
    return source


@pytest.mark.parametrize(
    "text",
    [
        "import vitrail.training.loop",
        "from vitrail.training import loop",
        "from vitrail.training.loop import run",
        "from ..training.loop import run",
        "from .. import training",
        "def later():\n    from vitrail.training.loop import run",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vitrail.training.loop import run",
        "import importlib\nloop = importlib.import_module('vitrail.training.loop')",
        "try:\n    import vitrail.training.loop as hidden\nexcept ImportError:\n    pass",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(tmp_path: Path, text: str) -> None:
    source = plant(tmp_path, {"data/image.py": text, "training/loop.py": "run = 1"})
    assert [line for line in wrong_edges(source) if "data may not import training" in line]


def test_allowed_imports_pass(tmp_path: Path) -> None:
    files = {
        "errors.py": "",
        "data/image.py": "from vitrail.errors import x\nfrom vitrail import __version__\nimport numpy",
        "training/loop.py": "from vitrail.data import image\nfrom vitrail.training import ema",
        "training/ema.py": "",
        "cli/main.py": "import vitrail.training.loop",
    }
    assert wrong_edges(plant(tmp_path, files)) == []


def test_the_door_gives_only_its_version_inward(tmp_path: Path) -> None:
    source = plant(tmp_path, {"data/image.py": "from vitrail import load", "errors.py": "import vitrail"})
    assert len(wrong_edges(source)) == 2


def test_a_room_that_the_table_lacks_is_found(tmp_path: Path) -> None:
    assert wrong_edges(plant(tmp_path, {"attic/box.py": ""})) == [
        "vitrail.attic: the table has no room 'attic'",
        "vitrail.attic.box: the table has no room 'attic'",
    ]


def test_a_family_that_imports_another_is_found(tmp_path: Path) -> None:
    files = {
        "models/vit.py": "",
        "models/deit.py": "import vitrail.models.vit",
        "models/swin.py": "from . import vit",
        "models/large/rows.py": "from vitrail.models.large import parts\nfrom vitrail.models import vit",
        "models/large/parts.py": "",
    }
    wrong = [line.split(" ")[0] for line in wrong_edges(plant(tmp_path, files))]
    assert wrong == ["vitrail.models.large.rows:2", "vitrail.models.swin:1"]


def test_a_circle_is_found_once(tmp_path: Path) -> None:
    files = {
        "data/a.py": "from vitrail.data.b import x",
        "data/b.py": "def f():\n    import vitrail.data.c",
        "data/c.py": "from . import a",
        "data/d.py": "from . import a",
    }
    assert circles(plant(tmp_path, files)) == [
        "vitrail.data.a -> vitrail.data.b -> vitrail.data.c -> vitrail.data.a",
    ]


@pytest.mark.parametrize("name", ["utils.py", "data/helpers.py", "misc/x.py", "training/_common.py"])
def test_a_cupboard_is_found(tmp_path: Path, name: str) -> None:
    assert cupboards(plant(tmp_path, {name: ""}))


def test_a_long_file_is_found(tmp_path: Path) -> None:
    source = plant(tmp_path, {"data/image.py": "x = 1\n" * 601, "data/split.py": "x = 1\n" * 600})
    assert [line.split("/")[-1] for line in longer_than(600, source)] == ["image.py has 601 lines (limit 600)"]
