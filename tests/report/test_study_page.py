from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_studies import MODELS, PARTS, made
from matplotlib.figure import Figure
from PIL import Image
from test_report_page import Page

from vitrail.errors import TrainingError
from vitrail.report.study_page import Chart, Part, StudyPage, Table, Trace, write_study


def bare(**changes: object) -> StudyPage:
    """A page with nothing on it that may be left out."""
    values: dict[str, object] = {"kind": "compare", "name": "leaves", "subtitle": "", "verdict": ["Take a."]}
    return StudyPage(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "models"), [*((kind, 5) for kind in PARTS), ("compare", 1), ("reach", 1)])
def test_a_study_becomes_a_page_and_its_figures(kind: str, models: int, tmp_path: Path) -> None:
    study = made(kind, MODELS[:models])
    first, *figures = write_study(tmp_path, study)
    assert first == tmp_path / "report.html"
    assert [path.stem for path in figures] == [chart.name for part in study.parts for chart in part.charts]
    for path in figures:
        with Image.open(path) as image:
            assert min(image.size) > 250
    page = Page(first)
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids)), "several charts on a page keep their ids apart"
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)
    for part in study.parts:
        assert part.title in page.text
        for chart in part.charts:
            assert chart.alternative in page.values("aria-label")
            assert chart.caption in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_percent_sign_stays_on_the_line_of_its_number(tmp_path: Path) -> None:
    study = bare(verdict=["It keeps 42 % (34 to 51 %) of 10 % {x}."], command="vitrail x 'a 5 %'")
    text = Page(write_study(tmp_path, study)[0]).text
    assert "It keeps 42\N{NO-BREAK SPACE}% (34 to 51\N{NO-BREAK SPACE}%) of 10\N{NO-BREAK SPACE}% {x}." in text
    assert "vitrail x 'a 5 %'" in text, "what is copied is left as it is"


def test_the_recommendation_stands_first(tmp_path: Path) -> None:
    text = Page(write_study(tmp_path, made("compare", MODELS[:1]))[0]).text
    places = [text.rindex(words) for words in ("Take vit", "One cell of 15", "Scores and costs", "How it was measured",
              "What this does not tell", "Where the figures come from", "How to repeat it")]  # fmt: skip
    assert places == sorted(places)


def test_nothing_is_asked_of_any_network(tmp_path: Path) -> None:
    text = write_study(tmp_path, made("reach", MODELS[:1]))[0].read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[\w+/=\s]+", "", text))
    assert "<script" not in text


def test_texts_of_users_are_escaped(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    table = Table(evil, [evil], [[evil]], evil)
    part = Part("a", evil, [evil], [table], [Chart("c", Figure(), evil, evil)], evil)
    study = bare(
        name=evil, subtitle=evil, verdict=[evil], cautions=[evil], parts=[part], method=[evil], limits=[evil],
        traces=[Trace(evil, "cells/<b>", evil, evil)], command=evil, versions={evil: evil}, settings=evil,
    )  # fmt: skip
    page = Page(write_study(tmp_path, study)[0])
    assert page.open == []
    assert not [tag for tag, attributes in page.elements if tag == "img" or "onerror" in attributes]
    assert page.text.count(evil) >= 18


def test_every_cell_leads_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "cells" / "叶子 #1?").mkdir(parents=True)
    (tmp_path / "cells" / "叶子 #1?" / "report.html").touch()
    (tmp_path / "cells" / "plain").mkdir()
    traces = [
        Trace("a", "cells/叶子 #1?", "", "finished"), Trace("b", "cells/plain", "", "failed"),
        Trace("c", "", "", "left out"), Trace("d", "javascript:alert(1)", "", ""),
    ]  # fmt: skip
    page = Page(write_study(tmp_path, bare(traces=traces))[0])
    links = [href for href in page.values("href") if href.startswith(("./", "java"))]
    folder = "./cells/%E5%8F%B6%E5%AD%90%20%231%3F/"
    assert links == [folder, f"{folder}report.html", "./cells/plain/", "./javascript%3Aalert%281%29/"]
    assert "with its own report" in page.text
    measured = Page(write_study(tmp_path, bare(traces=[Trace("a", "measured", "", "measured")]))[0]).text
    assert "where its figures are kept" in measured
    assert "with its own report" not in measured, "it has none"


@pytest.mark.parametrize("folder", ["/etc", "../other", "cells/../../b"])
def test_no_cell_leads_out_of_the_study(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in the study's folder"):
        write_study(tmp_path, bare(traces=[Trace("a", folder, "", "")]))


def test_parts_that_there_are_none_of_are_not_spoken_of(tmp_path: Path) -> None:
    page = Page(write_study(tmp_path, bare())[0])
    assert set(page.values("id")) == {"summary", "repeat"}
    assert page.values("href") == ["data:,", "#repeat"]


def test_two_charts_of_one_name_are_refused(tmp_path: Path) -> None:
    parts = [Part(anchor, "", charts=[Chart("same", Figure(), "")]) for anchor in ("a", "b")]
    with pytest.raises(ValueError, match="Two charts of the study are called 'same'"):
        write_study(tmp_path, bare(parts=parts))
    with pytest.raises(ValueError, match="Two parts of the study are called 'method'"):
        write_study(tmp_path, bare(parts=[replace(parts[0], anchor="method")]))
    assert not list(tmp_path.iterdir())


def test_cells_under_no_heading_are_refused() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table("", ["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="no column 'c'"):
        Table("", ["a", "b"], [], numbers=["c"])


def test_numbers_are_set_right(tmp_path: Path) -> None:
    table = Table("", ["Model", "Score"], [["a", "0.5"]], numbers=["Score"])
    page = Page(write_study(tmp_path, bare(parts=[Part("a", "", tables=[table])]))[0])
    assert [tag for tag, attributes in page.elements if attributes.get("class") == "number"] == ["th", "td"]


def test_a_disk_that_refuses_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot write figures"):
        write_study(tmp_path / "file", made("cost"))
