"""`vitrail models`."""

from __future__ import annotations

import json

import pytest

from vitrail.cli.main import main

Output = pytest.CaptureFixture[str]


def test_a_row_has_parameters_cost_accuracy_and_its_source(capsys: Output) -> None:
    assert main(["models", "vit_tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "short", "parameters", "GMACs", "pixels", "published"]
    assert lines[2].split() == ["vit_tiny_patch16_224", "vit_tiny", "5.7", "M", "1.25", "224", "75.5%", "@224", "[1]"]
    assert any(line.strip().startswith("[1] ") for line in lines)
    assert lines[-1] == "Next    vitrail train PHOTOS --model vit_tiny"


def test_a_pattern_chooses_and_json_has_exact_numbers(capsys: Output) -> None:
    assert main(["models", "vit_tiny_patch16_*", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["name"] for row in rows] == ["vit_tiny_patch16_224", "vit_tiny_patch16_384"]
    assert rows[0]["parameters"] == 5_717_416  # DeiT-Ti with 1000 classes
    assert rows[0]["gmacs"] == pytest.approx(1.2537, abs=1e-4)


def test_nothing_that_matches_gets_the_nearest_name(capsys: Output) -> None:
    assert main(["models", "vit_tiney"]) == 2
    assert capsys.readouterr().err == "vitrail models: unknown model 'vit_tiney': did you mean 'vit_tiny'?\n"
