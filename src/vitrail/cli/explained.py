"""The files that `explain` writes: a picture for each image and method, sheets of many, and the page with all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from vitrail.errors import BadImage, UsageError

if TYPE_CHECKING:
    from vitrail.cli.profiled import Statistics
    from vitrail.explain.explanation import Explanation
    from vitrail.explain.question import Mask, Question
    from vitrail.explain.viewer.album import Album
    from vitrail.predict.naming import FileNames
    from vitrail.predict.predictor import Input, Predictor


@dataclass(frozen=True)
class Explainer:
    """A model and what is asked of it. label: its name where there are several.  question: whose class is by name.
    methods: names.  sheets: methods whose every layer and head is drawn.  statistics: what is to be known of the model
    on the whole, None where nothing is.
    """

    predictor: Predictor
    label: str
    question: Question
    methods: Sequence[str]
    layer: int | None = None
    head: int | None = None
    sheets: Sequence[str] = ()
    statistics: Statistics | None = None

    def explain(self, source: Input, name: str) -> list[Explanation]:
        """An explanation by each method; raises BadImage, and NotHere where the image has no such answer."""
        from vitrail.explain.explainer import explain

        pixels, q = self.predictor.read(source), self.question
        return [
            explain(
                self.predictor.artifact, pixels, name, method=method, target=q.target, against=q.against,
                region=q.region, reader=q.reader, cell=q.cell, layer=self.layer, head=self.head,
            )
            for method in self.methods
        ]  # fmt: skip


@dataclass
class Files:
    """Everything is written as it is made, but for the page. outputs: in order.  rows: of the JSON object."""

    folder: Path
    album: Album
    taken: FileNames
    outputs: list[Path] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, source: Input, name: str, explainers: Sequence[Explainer]) -> None:
        """Explain one image with every model; those of which it has no such answer as was asked for say so in a row.

        Raises BadImage where it cannot be read.
        """
        from vitrail.explain.question import NotHere

        made, several = [], len(explainers) > 1
        for explainer in explainers:
            try:
                made.append((explainer, explainer.explain(source, name)))
            except NotHere as error:
                self.failed(name, str(error), explainer.label if several else "")
        every = [(explainer.label, each) for explainer, explanations in made for each in explanations]
        for label, each in every:
            ending = f"-{label}-{each.method}" if several else f"-{each.method}"
            row = {"path": name, "status": "ok", **({"model": label} if several else {}), "method": each.method}
            self.rows.append({**row, "picture": str(self._write(each.overlay(), name, ending))})
        for explainer, explanations in made:
            self._page(explainer, explanations)
            if explainer.statistics is not None:
                explainer.statistics.add(explanations[0].image)
            for method in explainer.sheets:
                self._sheet(explainer, explanations, method, name, f"-{explainer.label}" if several else "")
        if len(every) > 1:
            from vitrail.explain.side_by_side import side_by_side

            labels = [label for label, _ in every] if several else []
            sheet = side_by_side([each for _, each in every], labels)
            self.rows[-1]["side_by_side"] = str(self._write(sheet, name, "-side-by-side"))

    def failed(self, name: str, reason: str, label: str = "") -> None:
        """Note and say why an image was not explained; by which model, where there are several."""
        self.rows.append({"path": name, "status": "failed", **({"model": label} if label else {}), "reason": reason})
        print(f"{name}: {f'{label}: ' if label else ''}{reason}", file=sys.stderr)

    def _write(self, picture: Any, name: str, ending: str) -> Path:
        from vitrail.explain.explanation import write_picture
        from vitrail.predict.naming import file_safe

        self.outputs.append(write_picture(picture, self.folder / f"{self.taken.of(name, file_safe(ending))}.png"))
        return self.outputs[-1]

    def _page(self, explainer: Explainer, explanations: Sequence[Explanation]) -> None:
        """Onto the page, where there is room: where the tokens look, and layers and heads of methods that have them."""
        from vitrail.explain.explainer import explain_heads
        from vitrail.explain.methods import get_method
        from vitrail.explain.viewer.gaze import gaze

        artifact, pixels = explainer.predictor.artifact, explanations[0].image
        looked, heads = None, {}
        if not self.album.full:
            looked = gaze(artifact, pixels)
            by_head = [each.method for each in explanations if get_method(each.method).per_head is not None]
            heads = {
                method: explain_heads(artifact, pixels, method, explainer.question)
                for method in by_head
                if method != "raw_attention"
            }
        self.album.add(
            explanations, looked, explainer.label, explainer.layer, explainer.head, heads, explainer.question
        )

    def _sheet(
        self, explainer: Explainer, explanations: Sequence[Explanation], method: str, name: str, ending: str
    ) -> None:
        from vitrail.explain.explainer import explain_heads
        from vitrail.explain.layer_grid import layer_grid
        from vitrail.explain.viewer.gaze import photo

        artifact, first = explainer.predictor.artifact, explanations[0]
        question = explainer.question
        if method not in explainer.methods:  # raw attention, which shows the same for every class
            of_region = question.target if isinstance(question.region, str) else None
            question = replace(question, target=of_region, against=None)
        layers = explain_heads(artifact, first.image, method, question)
        explained = next((each.target for each in explanations if each.method == method), "")
        lines = (sheet_words(method, question, explained), name)
        sheet = layer_grid(photo(artifact.preprocessor, first.image), layers, first.answer, lines)
        self._write(sheet, name, f"{ending}-{method}-heads")


def sheet_words(method: str, question: Question, explained: str) -> str:
    """What a sheet of layers and heads shows; explained: the output it is of, "" where it is the same for all."""
    said = [f"{method.replace('_', ' ')}: a row a layer, a column a head"]
    if question.reader is not None:
        said.append(f"read from {question.reader}")
    if question.cell is not None:
        said.append("gaze of patch {},{}".format(*question.cell))
    if question.region is not None and not explained:
        drawn = f"where the answer is {'that' if question.target is None else question.target}"
        said.append(f"read {drawn if isinstance(question.region, str) else 'in a region'}")
    if explained:
        said.append(f"for class {explained}")
    return ", ".join(said)


def choose(model: Any, named: str | None, question: Question, layer: int | None, head: int | None) -> list[str]:
    """Names of the methods to explain a model by: the one that is named, of "all" those that fit the model and can be
    asked so, else the model's default, or where that cannot be asked so (it shows the same for every class, say, and
    one is asked for), one that can.

    Raises UsageError where of all none can be asked so.
    """
    from vitrail.explain.defaults import default_method, fitting
    from vitrail.explain.explainable import unread
    from vitrail.explain.methods import Method, get_method

    def able(method: Method) -> bool:
        of_class = question.target is not None or question.against is not None
        of_token = question.reader is not None and unread(model, question.reader)
        asked = (
            (of_class, method.by_class), (question.cell is not None or of_token, method.by_cell),
            (layer is not None, method.by_layer), (head is not None, method.by_head),
        )  # fmt: skip
        return all(can for wanted, can in asked if wanted)

    if named not in (None, "all"):
        return [get_method(str(named)).name]
    fits = fitting(model)
    can = [name for name in fits if able(get_method(name))]
    if named == "all":
        if not can:
            raise UsageError("no method that fits this model can be asked all of this together: leave some of it out")
        return can
    usual = default_method(model)
    return [next((name for name in (usual, *NEXT, *can) if name in can), usual)]


NEXT = ("relevance", "grad_cam", "rollout", "raw_attention")
"""What is used first where the default method cannot be asked so: for a class, and for a patch, a layer or a head."""


def by_name(text: str | None, labels: Sequence[str]) -> str | int | None:
    """An output as it is written: its name, or its place where no name is a number like it."""
    if text is None or text in labels or not text.isdecimal():
        return text
    return int(text)


def region_of(text: str | None) -> Mask | Literal["answer"] | None:
    """The region "answer", or the mask in a file; UsageError where that cannot be read."""
    if text is None or text == "answer":
        return cast(Literal["answer"] | None, text)
    from vitrail.contracts import MapFile
    from vitrail.data.masks import read_mask

    if not Path(text).is_file():
        raise UsageError(f"--region takes 'answer' or a mask file, and there is no file '{text}'")
    try:
        return cast("Mask", read_mask(MapFile(Path(text))) != 0)
    except BadImage as error:
        raise UsageError(f"--region: '{text}' is no mask: {error.reason}") from None


def cell_of(text: str | None) -> tuple[int, int] | None:
    """ "3,4" -> (3, 4); UsageError for another form."""
    if text is None:
        return None
    row, comma, column = text.partition(",")
    if not (comma and row.strip().isdecimal() and column.strip().isdecimal()):
        raise UsageError(f"--cell takes a row and a column of patches, such as 3,4, not '{text}'")
    return int(row), int(column)
