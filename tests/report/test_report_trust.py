"""The part of the report on how far explanations can be trusted, and on what the model is like inside."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitrail.explain.profile import Profile
from vitrail.explain.trust.table import CENTRE, RANDOM, Measured, Trust
from vitrail.report.data import ReportData
from vitrail.report.html import write_report

Make = Callable[..., ReportData]


def made_up_trust(images: int = 20, skill: float = 0.3, located: bool = True) -> Trust:
    """A method called good that beats the controls by `skill`, one called lucky that does not."""
    draw = np.random.default_rng(0)

    def row(name: str, gain: float, sanity: float | None = None) -> Measured:
        noise = draw.normal(0, 0.05, (images, 1))
        deletion = np.full((images, 1), 0.5) - (gain + noise) / 2
        where = draw.random(images) < 0.5 + gain if located else np.full(images, np.nan)
        energy = np.full(images, 0.25 if located else np.nan)
        shuffled = {} if sanity is None else {"all": np.full(images, sanity)}
        return Measured(name, deletion, 1 - deletion, where.astype(np.float64), energy, shuffled)

    rows = [row("good_one", skill, 0.1), row("lucky", 0.0, 0.8), row(CENTRE, 0.0), row(RANDOM, 0.0)]
    return Trust(images, "the probability of the class that is said", ("blur",), rows, {"odd": "it is odd"}, "test")


def test_the_report_says_which_method_to_believe_and_shows_every_row(make_run: Make, tmp_path: Path) -> None:
    html = write_report(tmp_path, make_run(trust=made_up_trust())).read_text()
    part = html[html.index('<section id="trust">') : html.index('<section id="seen">')]
    assert '<a href="#trust">Trust</a>' in html
    assert "On 20 test images, the method to believe on this model is good one" in part
    assert "Maps of lucky (0.80) stay much the same" in part
    assert "Its highest point lies on the object in" in part
    assert re.findall(r"<td>([a-z ]+)</td>", part) == ["good one", "lucky", CENTRE, RANDOM]
    assert part.count('class="control"') == 2
    assert part.count('class="range"') == 3  # the centre is not beside itself
    assert "Not measured: odd: it is odd." in part
    assert "a strong blur" in part
    assert "mean colour" not in part  # nothing was hidden by that
    for style in re.findall(r'style="left:(-?[\d.]+)%;width:([\d.]+)%"', part):
        assert 0 <= float(style[0]) <= float(style[0]) + float(style[1]) <= 100.01


def test_the_table_has_a_column_for_one_part_where_that_was_measured(make_run: Make, tmp_path: Path) -> None:
    trust = made_up_trust()
    parts = {"stem alone": 0.2, "last block alone": 0.9, "head": 1.0}
    sanity = {level: np.full(20, rho) for level, rho in parts.items()}
    measured = [replace(row, sanity={**row.sanity, **sanity}) if row.name == "good_one" else row for row in trust.rows]
    with_parts = write_report(tmp_path / "a", make_run(trust=replace(trust, rows=measured))).read_text()
    assert '<th class="number">One part</th>' in with_parts
    assert '<td class="number">0.20 to 1.00</td>' in with_parts
    assert "One part: the same with the weights of one part alone shuffled (stem, last block, head)" in with_parts
    assert with_parts.count('<td class="number">–</td>') == 5  # nobody else's, and no control is shuffled at all
    assert "One part" not in write_report(tmp_path / "b", make_run(trust=trust)).read_text()


def test_what_beats_nothing_is_not_to_be_believed(make_run: Make, tmp_path: Path) -> None:
    html = write_report(tmp_path, make_run(trust=made_up_trust(skill=0.0, located=False))).read_text()
    assert "none of the 2 methods beats both a mark at the image&#39;s centre and a random map" in html
    assert ">Pointing<" not in html


@pytest.mark.parametrize("why", ["", "20 images are too few <b>"])
def test_without_figures_there_is_no_table_and_the_reason_is_said(why: str, make_run: Make, tmp_path: Path) -> None:
    html = write_report(tmp_path, make_run(untrusted=why)).read_text()
    assert 'id="trust"' not in html
    assert '"#trust"' not in html
    assert ("How far to trust these pictures is not known" in html) == bool(why)
    assert "<b>." not in html


def test_the_report_shows_what_the_model_is_like_inside(make_run: Make, inside: Profile, tmp_path: Path) -> None:
    page = write_report(tmp_path, make_run(profile=inside)).read_text()
    assert '<a href="#heads">Inside</a>' in page
    part = page[page.index('<section id="heads">') : page.index('<section id="seen">')]
    assert part.count("<svg") == part.count("<figcaption>") == 4
    assert 'aria-label="Mean attention distance of every head, by layer"' in part
    assert "attention would look 25 pixels far" in part
    assert "Not shown: Odd &lt;b&gt;: no registers." in part
    drawn = set(re.findall(r"#[0-9a-f]{6}", part.partition("<figcaption>")[0]))
    assert not drawn, "every colour is the page's, so that it can be read in light and dark"
    assert {f"{name}.png" for name in inside.words()} <= {path.name for path in (tmp_path / "figures").iterdir()}
    assert 'id="heads"' not in write_report(tmp_path, make_run()).read_text()
