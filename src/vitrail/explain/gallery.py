"""explain.html: all explanations of a set of images on one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.explain import page
from vitrail.explain.explanation import Explanation

SIDE = 700
"""Longest side of a picture on the page, pixels: as large as `Explanation.panels` draws it."""


def write_gallery(folder: Path, explanations: Sequence[Explanation], title: str = "Explanations") -> Path:
    """Write explain.html into `folder`; returns its path. Names are escaped. TrainingError where the disk refuses."""
    template = page.environment().get_template("gallery.html.j2")
    shown = [(explanation, explanation.panels()) for explanation in explanations]
    methods = sorted({explanation.method.replace("_", " ") for explanation in explanations})
    return page.write(
        folder / "explain.html", template.render(title=title, shown=shown, methods=", ".join(methods), side=SIDE)
    )
