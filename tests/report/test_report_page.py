from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.contracts import Failure, Item, Prediction
from vitrail.data import audit
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import TrainingError
from vitrail.explain.explanation import Explanation
from vitrail.report import inventory, plots
from vitrail.report.data import Gallery, Key, Panel, Picture, ReportData, Strip
from vitrail.report.html import write_report

Make = Callable[..., ReportData]
VOID = {"meta", "link", "img", "br", "input", "hr", "path", "use", "rect"}


class Page(HTMLParser):
    """The page as a browser's parser would take it apart: elements, text, and whether every one is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def page(data: ReportData, folder: Path) -> Page:
    return Page(write_report(folder, data))


@pytest.fixture(scope="module")
def whole(run_data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with everything on it."""
    return write_report(tmp_path_factory.mktemp("run"), run_data)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page alone: drawing figures/*.png once more would only take time."""
    monkeypatch.setattr(plots, "to_png", lambda figure: b"")


def test_the_page_is_well_formed_and_has_its_parts_in_order(whole: Path) -> None:
    made = Page(whole)
    assert made.open == []
    sections = [attributes["id"] for tag, attributes in made.elements if tag == "section"]
    assert sections == [
        "summary", "training", "confusion", "classes", "calibration", "pictures", "attention", "seen", "data",
        "cost", "choices", "repeat",
    ]  # fmt: skip
    anchors = [value[1:] for tag, attributes in made.elements if tag == "a" for value in [attributes["href"]]]
    assert anchors == sections[1:]
    identities = made.values("id")
    assert len(identities) == len(set(identities))
    assert (whole.parent / "figures" / "confusion.png").is_file()


def test_the_page_holds_what_was_measured(run_data: ReportData, whole: Path) -> None:
    text = Page(whole).text
    view = run_data.evaluations["test"]
    for words in (
        f"{100 * view.accuracy:.1f}%", "95% interval", "2,057", "train.txt", "truncated after 1,204 bytes",
        "crab/z.jpg", "most often 300 x 200 (305)", "360 million", "1.3 GiB", "about 120,000 images", "image_size: 64",
        "vitrail train photos/caltech24", "2.15.0", "could not be read", "rollout: all 12 layers",
    ):  # fmt: skip
        assert words in text, words
    assert all(view.keys[row] in text for row in view.surest_wrong(12))


def test_every_section_with_numbers_of_a_split_says_which(whole: Path) -> None:
    html = whole.read_text()
    for section in ("confusion", "classes", "calibration", "pictures", "attention"):
        heading = re.search(rf'<section id="{section}">\s*<h2>(.*?)</h2>', html, re.DOTALL)
        assert heading
        assert '<span class="split">test</span>' in heading[1]


def test_the_page_asks_nothing_of_any_network(whole: Path) -> None:
    html, made = whole.read_text(), Page(whole)
    assert all(value.startswith("data:") for value in made.values("src"))
    assert all(value.startswith(("#", "data:")) for value in made.values("href"))
    assert not {"script", "iframe", "object", "embed", "form", "video", "audio", "base"} & {t for t, _ in made.elements}
    assert not re.search(r"https?://|url\((?!#)|@import|srcset", html)
    assert "default-src 'none'" in html


def test_the_page_of_a_usual_set_is_small(whole: Path) -> None:
    assert whole.stat().st_size < 1_500_000


NASTY = "<script>alert(1)</script>\"'&{{7*7}}"


def test_names_cannot_break_out_of_the_page(make_run: Make, tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 20))
    data = make_run(
        [NASTY, "猫"], images=60, name=NASTY, warnings=[NASTY], command=NASTY, versions={NASTY: NASTY},
        cost={NASTY: NASTY}, reasons=[(NASTY, NASTY, NASTY)], overlays=[Picture(NASTY, NASTY, image)],
        galleries=[Gallery(NASTY, NASTY, [Picture(NASTY, NASTY, image)])], key=Key([("red", NASTY)]),
        seen=Gallery("", NASTY, strips=[Strip(NASTY, NASTY, [Panel(NASTY, image)])]),
        audit={"found": 1, "bad_files": [{"path": NASTY, "reason": NASTY}], "formats": {NASTY: 1},
               "duplicates": {"groups": 1, "files": [[NASTY, NASTY]]}},
        split={"how": NASTY, "counts": {"train": {NASTY: 3}}},
    )  # fmt: skip
    made = page(data, tmp_path)
    assert made.open == []
    assert "script" not in {tag for tag, _ in made.elements}
    assert not any(name.startswith("on") for _, attributes in made.elements for name in attributes)
    assert made.text.count(NASTY) > 15
    assert NASTY in made.values("alt")


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("left_out", [
    "history", "best_epoch", "audit", "split", "galleries", "seen", "overlays", "cost", "reasons", "warnings",
    "versions", "evaluations",
])  # fmt: skip
def test_what_is_missing_leaves_its_part_out(left_out: str, make_run: Make, tmp_path: Path) -> None:
    empty = (
        None
        if left_out in ("best_epoch", "seen")
        else {}
        if left_out in ("audit", "split", "cost", "evaluations")
        else ()
    )
    if left_out == "versions":
        empty = {}
    made = page(make_run(["a", "b", "c"], images=90, **{left_out: empty}), tmp_path)
    assert made.open == []
    assert "None" not in made.text


def test_nothing_but_a_name_still_makes_a_page(make_run: Make, tmp_path: Path) -> None:
    full = make_run()
    made = page(ReportData(name="bare", config=full.config, labels=["a", "b"], evaluations={}), tmp_path)
    assert "cannot say how good the model is" in made.text


def test_a_perfect_model_has_no_mistakes_to_show(make_run: Make, tmp_path: Path) -> None:
    data = make_run(["a", "b"], images=80, skill=80.0)
    assert data.evaluations["test"].accuracy == 1
    assert "No mistake at all on the 80 test images." in page(data, tmp_path).text


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize(("classes", "tables"), [(2, True), (12, True), (26, True), (50, True), (51, False)])
def test_the_matrix_is_drawn_as_far_as_it_can_be_read(
    classes: int, tables: bool, make_run: Make, tmp_path: Path
) -> None:
    data = make_run([f"class {n}" for n in range(classes)], images=400)
    made = page(data, tmp_path)
    matrices = [attributes for tag, attributes in made.elements if "matrix" in attributes.get("class", "").split()]
    assert len(matrices) == tables
    assert "Most frequent mistakes" in made.text


def test_hundreds_of_classes_stay_a_page(make_run: Make, tmp_path: Path) -> None:
    data = make_run([f"n{n:08d}" for n in range(700)], images=2000, skill=6.0)
    made = page(data, tmp_path)
    assert "The 60 hardest of 700" in made.text
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def test_writing_again_gives_the_same_bytes(make_run: Make, tmp_path: Path) -> None:
    first = write_report(tmp_path, make_run(["a", "b", "c"])).read_bytes()
    assert write_report(tmp_path, make_run(["a", "b", "c"])).read_bytes() == first


def test_a_folder_that_cannot_be_written_is_told_in_words(make_run: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"):
        write_report(tmp_path / "file", make_run(["a", "b"]))


def test_an_explanation_becomes_a_picture_with_its_words() -> None:
    explanation = Explanation(
        np.eye(8, dtype=np.float32), np.zeros((8, 8, 3), np.uint8),
        Prediction("a.jpg", answer="cat 50.0%"), "rollout", "all 3 layers, mean of heads", "",
        Preprocessor(size=(8, 8)),
    )  # fmt: skip
    title, caption, image = Picture.explained(explanation)
    assert title == "cat 50.0%"
    assert caption == "rollout: all 3 layers, mean of heads. a.jpg"
    assert image.mode == "RGB"


# ------------------------------------------------------------------------------------------------------- the inventory


class FourFiles:
    """A source of four named samples."""

    name = location = "four"
    items = (Item("a/1.jpg", "a"), Item("a/2.jpg", "a"), Item("b/1.jpg", "b"), Item("b/2.jpg", "b"))


def test_the_audits_own_summary_is_understood() -> None:
    found = audit.Audit(
        found=4, usable=(0, 1, 2), bad=(Failure("b/2.jpg", "truncated after 12 bytes"),),
        odd=(Failure("a/1.jpg", "a PNG by its content"),), ignored=(Failure("notes.txt", "no image by its name"),),
        sizes=((30, 20), (30, 20), (64, 48)), formats=("PNG", "JPEG", "JPEG"), content=("x", "y", "x", ""),
    )  # fmt: skip
    taken = inventory.take(audit.summary(found, FourFiles()), {})  # type: ignore[arg-type]
    assert dict(taken.tiles) == {
        "images found": "4", "usable": "3", "unusable, left out": "1", "odd but usable": "1",
        "other files, ignored": "1",
    }  # fmt: skip
    rows = dict(taken.rows)
    assert "width 30 to 64 px (median 30), height 20 to 48 px" in rows["Sizes"]
    assert rows["Formats"] == "JPEG 2, PNG 1"
    assert rows["Duplicates"] == "1 set of files with the same bytes, 1 of them not needed; 1 in more than one class"
    listed = dict(taken.listings)
    assert listed["Files that could not be used (1)"] == [("b/2.jpg", "truncated after 12 bytes")]


def test_classes_stand_by_size_and_the_middle_of_many_is_left_out() -> None:
    counts = {
        "train": {f"c{n:02d}": n for n in range(1, 41)},
        "val": {f"c{n:02d}": 1 for n in range(1, 41)},
        "test": {},
    }
    balance = inventory.take({}, {"counts": counts}).balance
    assert balance
    assert balance.splits == ["train", "val"]
    assert (len(balance.rows), balance.left_out) == (30, 10)
    assert (balance.rows[0].label, balance.rows[0].total) == ("c40", 41)
    assert balance.rows[-1].label == "c01"
    assert sum(width for _, width in balance.rows[0].parts) == pytest.approx(100)


def test_labels_are_counted_where_images_have_several() -> None:
    counts = {"train": {"red": 3, "blue": 0}, "val": {"red": 1, "blue": 1}, "test": {}}
    balance = inventory.take({}, {"label_counts": counts}).balance
    assert balance
    assert balance.several
    assert [(row.label, row.total) for row in balance.rows] == [("red", 4), ("blue", 1)]


def test_an_empty_record_is_an_empty_inventory() -> None:
    assert not inventory.take({}, {})
    record: dict[str, Any] = {"images": {"train": 3, "val": 1}}
    assert [words for words, _ in inventory.take({}, record).tiles] == ["to train on (train)", "to choose by (val)"]
