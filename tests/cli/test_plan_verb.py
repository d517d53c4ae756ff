"""`vitrail plan`."""

from __future__ import annotations

import json

import pytest

from vitrail.cli.main import main

Output = pytest.CaptureFixture[str]
SMALL = ["vit_tiny", "--image-size", "32", "--devices", "2", "--batch", "8", "--classes", "5", "--device-memory", "24G"]


def test_the_table_fits_a_terminal_and_says_what_its_figures_are(capsys: Output) -> None:
    assert main(["plan", *SMALL, "--hardware", "a100", "--mfu", "0.4", "--price", "2", "--ema"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    rows = {line.split("  ")[0]: line.split() for line in told.splitlines()}
    assert rows["recompute"][1:] == ["no", "yes"] * 3
    assert rows["fits"][1:] == ["yes"] * 6
    assert len(rows["peak"]) == len(rows["ema"]) == 7
    words = " ".join(told.split())
    assert "1,000,000 images at 40.0% of 312 TFLOP/s" in words
    assert "are counted, by the model's own code" in words
    assert "Estimated: what a process takes besides its tensors" in words
    assert told.splitlines()[-1] == "Next    vitrail train PHOTOS --model vit_tiny"


def test_json_has_bytes_of_every_kind_and_their_sum(capsys: Output) -> None:
    assert main(["plan", *SMALL, "--parallel", "ddp", "--recompute", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["plan"]
    (row,) = made["rows"]
    assert row["peak"] == sum(row["memory"].values())
    assert row["largest_batch"] == 2 * row["largest"]
    assert (row["parallel"], row["recompute"], row["fits"]) == ("ddp", True, True)
    assert made["expense"] is None
    assert made["counted"]
    assert made["checked"]


def test_an_unknown_model_gets_the_nearest_name_in_one_line(capsys: Output) -> None:
    assert main(["plan", "vit_tinny"]) == 2
    assert capsys.readouterr().err == "vitrail plan: unknown model 'vit_tinny': did you mean 'vit_tiny'?\n"
