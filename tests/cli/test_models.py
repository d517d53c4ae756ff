"""`vitrail models`."""

from __future__ import annotations

import json

import pytest

from vitrail.cli.main import main
from vitrail.models import list_models, variant

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def counted_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache that the tests of the whole catalogue share."""
    return str(tmp_path_factory.mktemp("counted"))


def test_a_row_has_parameters_cost_accuracy_and_its_source(capsys: Output) -> None:
    assert main(["models", "vit_tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "vit"
    assert lines[1].split() == ["model", "short", "params", "GMACs", "px", "top-1", "trained", "on", "from"]
    row = ["vit_tiny_patch16_224", "vit_tiny", "5.7", "M", "1.25", "224", "75.5%", "21k", "->", "1k", "[1]"]
    assert lines[3].split() == row
    assert any(line.strip().startswith("[1] ") for line in lines)
    assert lines[-1] == "Next    vitrail train PHOTOS --model vit_tiny"


def test_families_stand_apart_and_the_units_are_said(
    capsys: Output, counted_once: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAIL_CACHE", counted_once)
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    blocks = [block.splitlines() for block in told.split("\n\n")]
    assert [block[0] for block in blocks if block[1:] and block[1].startswith("model ")] == list(
        dict.fromkeys(variant(name).family for name in list_models())
    )
    words = " ".join(told.split())
    assert "GMACs (billions of multiply-accumulates of one image" in words
    assert "with 1000 classes" in words


@pytest.mark.parametrize("columns", [100, 80, 50])
def test_no_line_of_the_tables_leaves_the_terminal(
    columns: int, capsys: Output, counted_once: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAIL_CACHE", counted_once)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["models"]) == 0
    tables = capsys.readouterr().out.partition("params (M")[0].splitlines()
    assert max(map(len, tables)) <= columns
    for name in list_models():
        assert sum(name in line.split() for line in tables) == 1


def test_a_pattern_chooses_and_json_has_exact_numbers(capsys: Output) -> None:
    assert main(["models", "vit_tiny_patch16_*", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["name"] for row in rows] == ["vit_tiny_patch16_224", "vit_tiny_patch16_384"]
    assert rows[0]["parameters"] == 5_717_416  # DeiT-Ti with 1000 classes
    assert rows[0]["gmacs"] == pytest.approx(1.2537, abs=1e-4)


def test_nothing_that_matches_gets_the_nearest_name(capsys: Output) -> None:
    assert main(["models", "vit_tiney"]) == 2
    assert capsys.readouterr().err == "vitrail models: unknown model 'vit_tiney': did you mean 'vit_tiny'?\n"


def test_a_model_of_timm_is_shown_when_it_is_named(capsys: Output) -> None:
    pytest.importorskip("timm", reason="needs timm, whose model it is")
    assert main(["models", "timm:efficientnet_b0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert (row["name"], row["parameters"], row["published"]) == ("timm:efficientnet_b0", 5_288_548, [])
