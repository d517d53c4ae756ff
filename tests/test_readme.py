"""The two READMEs show the same commands, and the commands are ones the program knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def test_both_readmes_have_the_same_blocks() -> None:
    english, chinese = _blocks("README.md"), _blocks("README.zh-CN.md")
    assert len(english) > 5
    assert english == chinese


def test_every_command_names_a_known_verb() -> None:
    from vitrail.cli.main import VERBS

    commands = re.findall(r"^vitrail (\w+)", "\n".join(text for _, text in _blocks("README.md")), re.MULTILINE)
    assert len(commands) > 5
    assert set(commands) <= set(VERBS)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(text for _, text in _blocks("README.md")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_public_name_in_the_python_block_exists() -> None:
    import vitrail

    code = next(text for language, text in _blocks("README.md") if language == "python")
    used = {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vitrail"
    }
    assert used
    assert used <= set(vitrail.__all__)


def test_the_tree_names_every_room() -> None:
    tree = next(text for _, text in _blocks("README.md") if "src/vitrail/" in text)
    rooms = {p.name for p in (ROOT / "src" / "vitrail").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    files = {p.name for p in (ROOT / "src" / "vitrail").glob("*.py")} - {"__init__.py"}
    shown = set(re.findall(r"^  ([\w.]+)/? ", tree, re.MULTILINE))
    assert shown == rooms | files


def test_the_chinese_readme_links_back() -> None:
    assert "(README.zh-CN.md)" in (ROOT / "README.md").read_text()
    assert "(README.md)" in (ROOT / "README.zh-CN.md").read_text()


def test_relative_links_and_pictures_exist() -> None:
    for name in ("README.md", "README.zh-CN.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), f"{name} links to {target}"
