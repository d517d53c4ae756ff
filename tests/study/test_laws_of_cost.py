"""Exponents, crossings and shares that a study of cost says of cells whose law is known."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from cells_of_cost import made, seconds, tokens

from vitrail.study.claims import NOT, PART
from vitrail.study.folder import Study
from vitrail.study.growth import page, words
from vitrail.study.growth.laws import crossings, laws
from vitrail.study.growth.measured import PASSES, Measured
from vitrail.study.growth.order import Cell
from vitrail.study.statistics.growth import fit_exponent

SIZES = (64, 96, 128, 192, 256, 384, 512)


def cells(*models: str, noise: float = 0.0) -> list[Measured]:
    return [made(model, size, what, noise=noise) for size in SIZES for model in models for what in ("forward", "step")]


def test_attention_of_all_tokens_grows_with_their_square_and_that_of_windows_in_proportion() -> None:
    found = {(law.model, law.what): law for law in laws(cells("vit", "swin", noise=0.02))}
    for what in ("forward", "step"):
        square, linear = found["vit", what].attention, found["swin", what].attention
        assert square is not None
        assert linear is not None
        assert square.exponent.value == pytest.approx(2, abs=0.05)
        assert linear.exponent.value == pytest.approx(1, abs=0.05)
        assert square.exponent.holds(2)
        assert not square.exponent.holds(1)


def test_a_whole_model_has_a_linear_and_a_quadratic_term() -> None:
    (law, _) = laws(cells("vit"))
    assert law.terms is not None
    linear, quadratic = (2e-5 / 256, 4e-8 / 256**2)  # of tokens -> of pixels, 256 to a token
    assert law.terms.linear.value == pytest.approx(linear, rel=1e-6)
    assert law.terms.quadratic.value == pytest.approx(quadratic, rel=1e-6)
    whole, attention = seconds("vit", 512)
    assert law.terms.share(512**2) == pytest.approx(attention / whole)


def test_what_a_call_costs_whatever_its_size_is_left_out_of_the_exponent() -> None:
    slow = [
        dataclasses.replace(cell, seconds=tuple(one + 0.05 for one in cell.seconds))
        for cell in [made("cnn", size) for size in (32, *SIZES, 1024)]
    ]
    (law,) = laws(slow)
    assert law.dropped[:2] == (32, 64)
    assert law.time is not None
    plain = laws([made("cnn", size) for size in SIZES])[0].time
    assert plain is not None
    assert plain.exponent.value == pytest.approx(1)
    assert law.time.exponent.value > 0.5
    whole = fit_exponent([cell.tokens for cell in slow], np.array([cell.time for cell in slow]))
    assert whole.exponent.value < law.time.exponent.value < 1


def test_too_few_sizes_have_no_exponent() -> None:
    (law,) = laws([made("vit", size) for size in SIZES[:3]])
    assert (law.time, law.attention, law.terms) == (None, None, None)
    assert "four sizes" in words.verdict([law], [])[0]
    assert "--image-sizes" in words.verdict([law], [])[0]


def test_where_the_time_was_too_short_it_says_how_much_would_do() -> None:
    found = laws([made("vit", size) for size in SIZES[:3]])
    first = words.verdict(found, [], needed=200.0)[0]
    assert "four sizes" in first
    assert "--time 4m" in first
    assert "64, 96 and 128 px" in first


def test_a_crossing_within_the_sizes_is_measured_there() -> None:
    found = [one for one in crossings(laws(cells("vit", "cnn"))) if one.what == "forward"]
    (one,) = found
    assert (one.cheaper, one.dearer, one.predicted) == ("cnn", "vit", False)
    assert one.size.low in SIZES
    assert one.size.high in SIZES
    slower = {size: seconds("vit", size)[0] > seconds("cnn", size)[0] for size in SIZES}
    assert not slower[int(one.size.low)]
    assert slower[int(one.size.high)]
    assert "measured" in words.crossed(one, 512)


def test_a_crossing_beyond_the_sizes_is_predicted_and_said_to_be() -> None:
    small = [cell for cell in cells("vit", "swin", noise=0.005) if cell.size <= 256 and cell.what == "forward"]
    (one,) = crossings(laws(small))
    assert one.predicted
    assert (one.cheaper, one.dearer) == ("swin", "vit")
    truth = 16 * math.sqrt((16 * 4.3e-6 - 2e-5) / 4e-8)  # where 2e-5 n + 4e-8 n^2 meets 4.3e-6 x 16 n
    assert one.size.low <= truth <= one.size.high
    assert "predicted" in words.crossed(one, 256)


def test_a_busy_machine_is_said_to_be_one() -> None:
    quiet = cells("vit")
    assert words.cautions(quiet) == []
    busy = [dataclasses.replace(cell, load=(3.0, 4.0), seconds=(1.0, 2.0)) for cell in quiet]
    assert len(words.cautions(busy)) == 2


def test_a_summary_is_short_and_has_the_growth_first() -> None:
    fitted = laws(cells("vit", "swin", "cnn"))
    said = words.verdict(fitted, crossings(fitted))
    assert len(said) <= 5
    assert "in vit" in said[0]
    assert "N^1.00 (1.00 to 1.00) in swin" in said[0]
    assert said[1].startswith("The fastest in a forward pass is vit at 64 px (")
    assert "and cnn at 512 px (" in said[1]
    alone = words.verdict(laws([*cells("cnn"), *cells("swin")]), [])[1]
    assert "is cnn at 64 px (0.768 ms an image) and still at 512 px" in alone
    assert said[2] == (
        "Of what textbooks say, shown here: attention costs the square of the number of tokens; attention in windows "
        "costs in proportion to the tokens."
    )


def test_attention_is_held_to_what_its_operations_say() -> None:
    linear = [dataclasses.replace(cell, attention=(0.001 * cell.tokens,)) for cell in cells("vit")]
    claims = words.claims(laws(linear))
    assert [(claim.brief, {sight.seen for sight in claim.sights}) for claim in claims] == [
        ("attention costs the square of the number of tokens", {NOT})
    ]
    between = [dataclasses.replace(cell, attention=(0.001 * cell.tokens**1.5,)) for cell in cells("vit")]
    assert words.claims(laws(between))[0].sights[0].seen == PART
    steep = [dataclasses.replace(cell, attention=(0.001 * cell.tokens**1.5,)) for cell in cells("swin")]
    assert words.claims(laws(steep))[0].sights[0].seen == NOT
    assert words.claims(laws(cells("cnn"))) == []


def test_what_was_left_out_is_one_sentence_for_each_reason() -> None:
    left: dict[Cell, str] = {}
    for model in ("vit", "swin"):
        for what in PASSES:
            for size in (256, 384):
                left[Cell(model, what, size)] = f"too little time: it would take about {size} s, and 3 s are left"
    left[Cell("cnn", "step", 384)] = "too little memory: it would take 9 GiB, and 2 are free"
    left[Cell("pvt", "forward", 64)] = "failed: no kernel"
    assert words.left_out(left) == [
        "Left out for too little time: vit from 256 px on and swin from 256 px on.",
        "Left out for too little memory: a training step of cnn from 384 px on.",
        "Left out since it failed (no kernel): a forward pass of pvt from 64 px on.",
    ]


def test_a_cell_is_read_back_as_it_was_written() -> None:
    assert Measured.of(json.loads(json.dumps(made("vit", 64).record()))) == made("vit", 64)


def test_the_page_has_a_row_for_each_cell_and_says_what_was_left_out(tmp_path: Path) -> None:
    study = Study.create("cost", "x", tmp_path / "study", ["vitrail"], {"models": ["vit"]})
    measured = cells("vit", "swin", "cnn")
    about = {"machine": "a machine", "threads": "1 thread", "precision": "fp32", "batch": "2", "command": "vitrail"}
    fitted = laws(measured)
    left = {Cell("cnn", "step", 768): "failed: no <time>"}
    paths = page.write(study, measured, fitted, crossings(fitted), left, 0.0, about)
    html = paths[0].read_text()
    assert "no &lt;time&gt;" in html
    assert f"{tokens('vit', 512):,}" in html
    rows = (study.folder / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + len(measured)
    assert {path.stem for path in paths if path.suffix == ".png"} >= {"time-forward", "attention-step", "memory-step"}


def test_a_crossing_within_the_noise_of_the_rounds_is_not_told() -> None:
    rough = [dataclasses.replace(cell, seconds=(cell.seconds[0] * 9, cell.seconds[1])) for cell in cells("vit", "cnn")]
    fitted = laws(rough)
    found = crossings(fitted)
    assert found
    assert not any(one.clear for one in found)
    assert not any("measured, between" in sentence for sentence in words.verdict(fitted, found))
    assert any(
        "measured, between" in sentence for sentence in words.verdict(fitted, crossings(laws(cells("vit", "cnn"))))
    )
