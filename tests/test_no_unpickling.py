"""Nothing in the package unpickles, evaluates or loads YAML unsafely."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "vitrail"
BANNED = {
    "torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "joblib.load", "eval", "exec", "compile", "numpy.load", "np.load",
}  # fmt: skip

ALLOWED = {"checkpoints/unpickle.py": {"torch.load"}, "durable.py": {"np.load"}}
"""The checkpoint door's child process, which loads with weights_only=True under limits, and the reader of arrays."""


def _calls(text: str) -> set[str]:
    tree = ast.parse(text)
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return (called | imported) & BANNED


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_no_file_runs_code_from_data(path: Path) -> None:
    assert _calls(path.read_text(encoding="utf-8")) == ALLOWED.get(path.relative_to(SOURCE).as_posix(), set())


def test_the_one_reader_of_pickles_makes_tensors_alone() -> None:
    """torch.load stands once, with weights_only=True written out."""
    tree = ast.parse((SOURCE / "checkpoints" / "unpickle.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]
    assert [ast.unparse(k.value) for call in calls for k in call.keywords if k.arg == "weights_only"] == ["True"]
    assert len(calls) == 1


def test_the_one_reader_of_arrays_unpickles_none() -> None:
    tree = ast.parse((SOURCE / "durable.py").read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "np.load"]
    assert [ast.unparse(k.value) for call in calls for k in call.keywords if k.arg == "allow_pickle"] == ["False"]
    assert len(calls) == 1


@pytest.mark.parametrize(
    "line", ["import torch; torch.load('x')", "from pickle import loads", "import yaml; yaml.load(f)"]
)
def test_the_rule_bites(line: str) -> None:
    assert _calls(line)
