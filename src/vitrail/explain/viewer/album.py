"""The images of a page: gathered one by one, kept below a size, and written as explain.html."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from vitrail.contracts import CellMap, Floats
from vitrail.explain import overlay, page
from vitrail.explain.explainer import centre_window
from vitrail.explain.explanation import Explanation
from vitrail.explain.question import Question
from vitrail.explain.viewer import pack
from vitrail.explain.viewer.gaze import POOL, Gaze, GazeLayer, photo

MEGABYTES = 15.0
"""What a page may weigh unless told otherwise, in millions of bytes: a phone opens it, and a letter carries it."""

SIDE = 448
"""Longest side of a photograph on the page, pixels."""

HOPELESS = 5
"""Attention of more than so many weights for each byte that is left is not even packed."""

WORDS = 1000
"""Bytes that are kept free for the title and for saying what was left out."""

SCRIPTS = ("numbers.js", "gaze.js", "draw.js", "state.js", "page.js")


@dataclass
class _Shown:
    """One image under one model. size: of `entry` on the page.  heads, mean: attention, "" where it will not fit."""

    entry: dict[str, Any]
    size: int
    heads: str = ""
    mean: str = ""
    carried: str = "none"


class Album:
    """The explained images of one page.

    megabytes: how large explain.html may become. Every image carries its photograph and maps; of the attention, the
    first carries all layers and heads, then as many as fit the mean of heads, then as many as fit all. What is left out
    is said on the page.
    """

    def __init__(self, megabytes: float = MEGABYTES) -> None:
        self.limit = int(megabytes * 1e6)
        self._shown: list[_Shown] = []
        self._models: dict[str, dict[str, Any]] = {}
        self._maps: dict[str, int] = {}
        self._packed: list[dict[str, Any]] = []
        self._left = self.limit - len(_render("", _frame("", [], [], [], [])).encode()) - WORDS
        self._heads_left = self._mean_left = self._left
        self.left_out = 0

    @property
    def full(self) -> bool:
        """Whether further images will only be counted."""
        return self.left_out > 0

    def __len__(self) -> int:
        """Images under models that will be on the page."""
        return len(self._shown)

    def add(
        self, explanations: Sequence[Explanation], gaze: Gaze | None, model: str,
        layer: int | None = None, head: int | None = None, heads: Mapping[str, Sequence[Floats]] | None = None,
        question: Question | None = None,
    ) -> None:  # fmt: skip
        """One image under one model: what each method says of it, and where its tokens look.

        layer, head: where the sliders stand at first, negative from the end, None for what stands nearest to the
        answer.  heads: of methods other than raw attention, each layer's heads (A, h, w).  question: what the
        explanations were asked: the page begins with the token or the patch that it names. Models are told apart by
        their name; attention of one name has one shape. Once the page is full, further images are only counted.
        """
        if self.left_out:
            self.left_out += 1
            return
        geometry = 0
        if gaze is not None and "layers" not in self._models.get(model, {}):
            before = len(json.dumps(self._packed))
            self._models[model] = {"name": model, **self._geometry(gaze)}
            geometry = len(json.dumps(self._packed)) - before + len(json.dumps(self._models[model]))
        self._models.setdefault(model, {"name": model})
        entry = _entry(explanations, list(self._models).index(model), heads or {})
        entry |= {"attends": gaze is not None, **_start(gaze, layer, head), **_asked(gaze, question or Question())}
        size = len(_safe(entry)) + 200 + geometry
        if size > self._left:
            self.left_out += 1
            return
        self._left -= size
        shown = _Shown(entry, size)
        if gaze is not None:
            self._pack(shown, gaze)
        self._shown.append(shown)

    def write(self, folder: Path, title: str = "Explanations") -> Path:
        """Write explain.html into `folder`; returns its path. Names are escaped; TrainingError if the disk refuses."""
        self._share_out()
        blobs = [{"heads": shown.heads, "mean": shown.mean, "none": ""}[shown.carried] for shown in self._shown]
        entries = [{**shown.entry, "carries": shown.carried} for shown in self._shown]
        data = _frame(title, list(self._models.values()), self._packed, entries, self.notes())
        return page.write(folder / "explain.html", _render(title, data, blobs))

    def notes(self) -> list[str]:
        """What the page leaves out so as to stay below its size, in sentences; none where it leaves out nothing."""
        below = f"This page is kept below {self.limit / 1e6:g} MB"
        degrees = [shown.carried for shown in self._shown if shown.entry["attends"]]
        mean, none = degrees.count("mean"), degrees.count("none")
        said = []
        if mean:
            said.append(f"{below}: {_count(mean)} of {len(degrees)} {_carry(mean)} the mean of the heads only.")
        if none:
            said.append(f"{below}: {_count(none)} of {len(degrees)} {_carry(none)} no attention to hover over.")
        if self.left_out:
            said.append(f"{below}: {_count(self.left_out)} more would not fit.")
        return said

    def _pack(self, shown: _Shown, gaze: Gaze) -> None:
        """Attention of an image, but only what could still be on the page: the first images have the right of way."""
        if 0 < gaze.weights(mean=True) < HOPELESS * self._mean_left:
            shown.mean = pack.deflated(layer.steps(mean=True) for layer in gaze.layers)
            self._mean_left -= len(shown.mean)
        if 0 < gaze.weights(mean=False) < HOPELESS * self._heads_left:
            shown.heads = pack.deflated(layer.steps(mean=False) for layer in gaze.layers)
            self._heads_left -= len(shown.heads)

    def _share_out(self) -> None:
        """Choose what each image carries."""
        left = self._left
        for shown in self._shown:
            shown.carried = "none"
        for wanted, those in (("heads", self._shown[:1]), ("mean", self._shown), ("heads", self._shown)):
            for shown in those:
                blob = getattr(shown, wanted)
                more = len(blob) - len({"heads": shown.heads, "mean": shown.mean, "none": ""}[shown.carried])
                if blob and shown.carried != "heads" and more <= left:
                    shown.carried, left = wanted, left - more

    def _geometry(self, gaze: Gaze) -> dict[str, Any]:
        return {
            "grids": [list(stage.grid) for stage in gaze.stages],
            "spans": [list(span) for span in gaze.spans],
            "entries": [self._map(stage.entry) for stage in gaze.stages],
            "prefixes": [stage.prefix for stage in gaze.stages],
            "names": list(gaze.prefix_names),
            "readers": list(gaze.readers),
            "layers": [self._layer(layer) for layer in gaze.layers],
        }

    def _layer(self, layer: GazeLayer) -> dict[str, Any]:
        layout = layer.layer.layout
        return {
            "name": layer.name, "stage": layer.layer.stage, "shape": list(layer.shape),
            "prefix": [layout.prefix_queries, layout.prefix_keys],
            "queries": self._map(layout.queries), "keys": self._map(layout.keys),
        }  # fmt: skip

    def _map(self, cells: CellMap | None) -> int | None:
        """The place on the page of a map from tokens to cells; equal maps stand there once."""
        if cells is None:
            return None
        places, shares = cells.cells.cpu().numpy().astype(np.int32), cells.shares.cpu().numpy().astype(np.float32)
        packed = {"shape": list(places.shape), "data": pack.deflated([places, shares])}
        key = json.dumps(packed)
        if key not in self._maps:
            self._maps[key] = len(self._packed)
            self._packed.append(packed)
        return self._maps[key]


def _start(gaze: Gaze | None, layer: int | None, head: int | None) -> dict[str, int | None]:
    """Where the sliders stand at first, counted from 0."""
    blocks = [] if gaze is None else [one.layer for one in gaze.layers if one.name != POOL]
    if not blocks:
        return {"layer": None, "head": None}
    heads = blocks[-1 if layer is None else layer % len(blocks)].heads
    return {"layer": None if layer is None else layer % len(blocks), "head": None if head is None else head % heads}


def _asked(gaze: Gaze | None, question: Question) -> dict[str, Any]:
    """From whom the page looks at first, as a place on the image where it is a patch; whether in a region of it."""
    query: dict[str, Any] | None = None
    if gaze is not None and question.reader is not None:
        query = {"kind": "prefix", "place": gaze.prefix_names.index(question.reader)}
    elif gaze is not None and question.cell is not None:
        (row, column), (height, width), (down, across) = question.cell, gaze.stages[-1].grid, gaze.spans[-1]
        query = {"kind": "point", "x": across * (column + 0.5) / width, "y": down * (row + 0.5) / height}
    return {"query": query, "regional": question.region is not None}


def _entry(explanations: Sequence[Explanation], model: int, heads: Mapping[str, Sequence[Floats]]) -> dict[str, Any]:
    """An image under a model as the page reads it."""
    first = explanations[0]
    window = centre_window(first.raw.shape, first.preprocessor.windows)
    pixels = photo(first.preprocessor, first.image)
    return {
        "source": first.source,
        "model": model,
        "answer": first.answer,
        "part": "" if first.raw[window].shape == first.raw.shape else ", centre window",
        "photo": str(page.data_uri(overlay.as_rgb(pixels), SIDE)),
        "tiny": max(pixels.shape[:2]) <= 112,
        "methods": [
            {
                "name": made.method, "label": made.method.replace("_", " "), "caption": made.caption,
                "map": pack.heat(made.raw[window]),
                "layers": [pack.heats(layer) for layer in heads.get(made.method, ())],
            }
            for made in explanations
        ],
    }  # fmt: skip


def _frame(title: str, models: Any, maps: Any, images: Any, notes: Any) -> dict[str, Any]:
    return {
        "title": title, "models": models, "maps": maps, "images": images, "notes": notes,
        "palette": base64.b64encode(overlay.colours().tobytes()).decode(),
    }  # fmt: skip


def _render(title: str, data: dict[str, Any], blobs: Sequence[str] = ()) -> str:
    environment = page.environment()
    assert environment.loader is not None
    script = "\n".join(environment.loader.get_source(environment, f"viewer/{name}")[0] for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    images = data["images"]
    attends = not images or any(image["attends"] for image in images)  # a page still empty is weighed with all words
    return environment.get_template("viewer/page.html.j2").render(
        title=title, data=Markup(_safe(data)), blobs=[Markup(blob) for blob in blobs], script=Markup(script),
        digest=digest, notes=data["notes"], images=len(images), attends=attends, steps=pack.STEPS + 1,
    )  # fmt: skip


def _safe(data: Any) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or begins a comment."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"


def _carry(images: int) -> str:
    return "carries" if images == 1 else "carry"
