"""`vitrail explain RUN SOURCE... --statistics`: what each model is like on the whole, as pictures and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitrail.cli.layout import wrapped

if TYPE_CHECKING:
    from torch import Tensor

    from vitrail.contracts import Pixels
    from vitrail.predict.predictor import Predictor

MOST = 64
"""Images that means are taken over, the first ones: more change them little."""


@dataclass
class Statistics:
    """Of one model. label: what it is called where there are several, "" for the only one."""

    predictor: Predictor
    label: str
    images: list[Tensor] = field(default_factory=list)

    def add(self, pixels: Pixels) -> None:
        """Keep an image as the model takes it, while there are few."""
        from vitrail.explain.viewer.gaze import prepared

        if len(self.images) < MOST:
            self.images.append(prepared(self.predictor.artifact, pixels))

    def write(self, folder: Path) -> tuple[list[Path], dict[str, Any]]:
        """Draw all that is known into `folder` and say what it shows; the paths, and a record for JSON."""
        import torch

        from vitrail.explain.statistics import profile
        from vitrail.predict.naming import file_safe
        from vitrail.report import plots

        found = profile(self.predictor.artifact.model, torch.cat(self.images))
        ending = file_safe(f"-{self.label}") if self.label else ""
        names = {name: f"{name}{ending}" for name in found.words()}
        figures = {names[name]: figure for name, figure in plots.draw_profile(found).items()}
        paths = plots.write_figures(folder, figures)
        whose = f" of {self.label}" if self.label else ""
        for name, words in found.words().items():
            print(wrapped(f"{names[name]}.png{whose}: {words}"))
        for why in found.missing:
            print(wrapped(f"not drawn{whose}: {why}"))
        return paths, {**({"model": self.label} if self.label else {}), **found.record()}


def write_all(folder: Path, statistics: Sequence[Statistics]) -> tuple[list[Path], list[dict[str, Any]]]:
    """Those of every model that explained an image."""
    made = [each.write(folder) for each in statistics if each.images]
    return [path for paths, _ in made for path in paths], [record for _, record in made]
