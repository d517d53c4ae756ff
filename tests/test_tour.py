"""The tour says what the code and the figures say, in both languages alike."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import vitrail
from vitrail.cli.main import VERBS
from vitrail.cli.study import KINDS
from vitrail.tasks.classify import Classify

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "tour"
NAMES = ("pages", "families", "inside", "make")
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[([^\]]+)\]\(([^)]+)\)")
VERB = re.compile(r"(?:^|`)(vitrail [a-z]+[^`\n]*)", re.MULTILINE)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts, imported as they import each other."""
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in NAMES}
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def texts(scripts: dict[str, ModuleType]) -> dict[str, str]:
    """Name -> text."""
    return {path.name: path.read_text(encoding="utf-8") for path in scripts["pages"].TEXTS}


def test_every_linked_line_defines_what_the_link_says(scripts: dict[str, ModuleType], texts: dict[str, str]) -> None:
    pages = scripts["pages"]
    for path in pages.TEXTS:
        assert len(pages.LINK.findall(texts[path.name])) > 20
        assert texts[path.name].count("../src/vitrail/") == len(pages.LINK.findall(texts[path.name]))
        wrong = pages.wrong_links(path)
        assert not wrong, "run `python benchmarks/tour/make.py --pages`:\n" + "\n".join(wrong)


def test_every_number_is_the_measured_one(scripts: dict[str, ModuleType], texts: dict[str, str]) -> None:
    pages = scripts["pages"]
    for path in pages.TEXTS:
        assert pages.wrong_numbers(path, pages.measured()) == []
        assert texts[path.name].count("<!--") == 2 * len(pages.NUMBER.findall(texts[path.name]))
    used = {key for key, _ in pages.NUMBER.findall("".join(texts.values()))}
    assert len(used) > 40


def test_a_wrong_line_and_a_wrong_number_are_found_and_put_right(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    pages = scripts["pages"]
    (tmp_path / "src" / "vitrail").mkdir(parents=True)
    (tmp_path / "src" / "vitrail" / "a.py").write_text("\nA: int = 1\n\nclass B:\n    def c(self) -> None: ...\n")
    (tmp_path / "docs").mkdir()
    text = tmp_path / "docs" / "tour.md"
    link = "[`{}`](../src/vitrail/a.py#L{})"
    text.write_text(
        f"{link.format('B.c', 4)} {link.format('A', 2)} {link.format('D', 1)} <!--n-->1<!--/--> <!--m-->7<!--/-->"
    )
    assert pages.wrong_links(text) == [
        "tour.md: B.c in ../src/vitrail/a.py#L4: stands in line 5",
        "tour.md: D in ../src/vitrail/a.py#L1: does not stand there",
    ]
    assert pages.wrong_numbers(text, {"n": "2"}) == ["tour.md: n is 2, not 1", "tour.md: m is not measured, not 7"]
    pages.put_right(text, {"n": "2"})
    assert text.read_text() == (
        f"{link.format('B.c', 5)} {link.format('A', 2)} {link.format('D', 1)} <!--n-->2<!--/--> <!--m-->7<!--/-->"
    )


def test_both_languages_have_the_same_structure(scripts: dict[str, ModuleType], texts: dict[str, str]) -> None:
    pages = scripts["pages"]
    english, chinese = texts["tour.md"], texts["tour.zh-CN.md"]
    assert BLOCK.findall(english) == BLOCK.findall(chinese)
    assert [path for _, path in PICTURE.findall(english)] == [path for _, path in PICTURE.findall(chinese)]
    for pattern in (r"^#+ ", r"^\| ", r"^#+ (?:\d+|Part \d|第)"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE))
    step = re.compile(r"^### \d+\. ", re.MULTILINE)
    for own, other in zip(step.split(english), step.split(chinese), strict=True):
        assert sorted(pages.LINK.findall(own)) == sorted(pages.LINK.findall(other))
        assert sorted(pages.NUMBER.findall(own)) == sorted(pages.NUMBER.findall(other))
        assert sorted(re.findall(r"`vitrail [^`]+`", own)) == sorted(re.findall(r"`vitrail [^`]+`", other))
    assert "(tour.zh-CN.md)" in english
    assert "(tour.md)" in chinese


def test_every_picture_is_there_and_shown(scripts: dict[str, ModuleType], texts: dict[str, str]) -> None:
    shown = {path for _, path in PICTURE.findall(texts["tour.md"])}
    drawn = {*scripts["inside"].FIGURES, *scripts["families"].FIGURES, scripts["make"].SHIFTED}
    assert shown == {f"pictures/tour/{name}.png" for name in drawn}
    assert {path.stem for path in scripts["pages"].PICTURES.glob("*.png")} == drawn
    for name, text in texts.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (ROOT / "docs" / target).exists(), f"{name} links to {target}"


def test_the_commands_are_those_that_were_run(scripts: dict[str, ModuleType], texts: dict[str, str]) -> None:
    assert json.loads(scripts["pages"].NUMBERS.read_text())["commands"] == scripts["make"].COMMANDS
    for text in texts.values():
        assert [command for command in scripts["make"].COMMANDS.values() if f"\n{command}\n" not in text] == []


def test_every_command_names_verbs_that_there_are(texts: dict[str, str]) -> None:
    commands = [shlex.split(command) for command in VERB.findall(texts["tour.md"])]
    assert len(commands) > 12
    assert {words[1] for words in commands} <= set(VERBS)
    assert {words[2] for words in commands if words[1] == "study"} <= set(KINDS)


def test_who_may_look_at_whom_is_counted_as_the_text_says(scripts: dict[str, ModuleType]) -> None:
    _, numbers = scripts["families"].layouts()
    recorded = scripts["pages"].measured()
    assert numbers == {key: recorded[key] for key in numbers}
    assert numbers == {
        "keys.vit": "196", "keys.swin": "49", "keys.swin_shifted": "49", "keys.pvt": "49", "keys.convolution": "9"
    }  # fmt: skip


def test_the_figures_of_a_run_are_drawn_from_any_small_vit(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    options: Any = {"image_size": 8, "patch_size": 2, "width": 24, "heads": 3, "hidden": 32, "depth": 2}
    model = vitrail.create_model("vit_tiny", Classify(("a", "b")), **options).eval()
    artifact = argparse.Namespace(model=model, task=model.task)
    (tmp_path / "results.csv").write_text("epoch,train/loss,val/loss,lr\n1,2.0,1.5,0.1\n2,1.0,0.5,0.1\n")
    rows = [{"label": "a", "target": "a"}, {"label": "a", "target": "b"}]
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    run = scripts["inside"].Run(tmp_path, artifact, rows, images, np.arange(64, dtype=np.uint8).reshape(8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers: dict[str, str] = {}
    for draw in scripts["inside"].FIGURES.values():
        figure, found = draw(run)
        figure.draw_without_rendering()
        numbers |= found
    assert numbers["patch.count"] == "16"
    assert float(numbers["tokens.off"]) < 1e-5, "a convolution is cutting and one linear layer"
    assert float(numbers["positions.none"]) < 1e-4, "without positions order says nothing"
    assert float(numbers["attention.off"]) < 1e-5
    assert (numbers["receptive.token"], numbers["receptive.first"]) == ("4", "64")
    assert numbers["test.accuracy"] == "0.500"
    assert numbers["epochs"] == "2"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model is as it was"
