"""Figures of the families side by side, from our own modules and counts: nothing here is trained or timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pages
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrail.assemble import create_model
from vitrail.contracts import CellMap
from vitrail.cost.catalogue import CatalogueRow, catalogue
from vitrail.cost.count import gmacs
from vitrail.layers.attention import AttentionLayout
from vitrail.layers.cells import kernel_cells
from vitrail.report import study_axes, study_charts
from vitrail.report.charts import INK, LINE, SERIES

Numbers = dict[str, str]
Drawn = tuple[Figure, Numbers]

SIDE, ASKED = 224, (100, 116)
"""Pixels of the images whose tokens are laid out, and the pixel (row, column) whose token looks around."""
SIZES = (224, 448, 672, 896, 1120)
COUNTED = ("vit_small_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b2", "resnet50")
FAMILIES = ("vit", "deit", "swin", "pvt", "pvt_v2", "resnet")


def layouts() -> Drawn:
    """Who may look at whom in the first block of each family: the keys of one query, drawn over the image."""
    figure = Figure(figsize=(7.4, 2.1), layout="constrained")
    panels = figure.subplots(1, 5)
    numbers: Numbers = {}
    for axes, (title, key, (seen, grid)) in zip(panels, _first_blocks(), strict=True):
        _lay(axes, seen, grid)
        axes.set_title(f"{title}\n{len(seen)} keys", loc="left", fontsize=8.5, color=INK)
        numbers[f"keys.{key}"] = str(len(seen))
    return figure, numbers


def _first_blocks() -> list[tuple[str, str, tuple[list[list[int]], tuple[int, int]]]]:
    with torch.device("meta"):  # who may look at whom hangs on no weight
        vit, swin, pvt = (create_model(name, outputs=10).backbone for name in COUNTED[:3])
    own: Any = [stage.blocks[0] for stage in (vit.stages()[0], swin.stages()[0], pvt.stages()[0])]
    shifted: Any = swin.stages()[0].blocks[1]
    grids = [model.stages()[0].grid for model in (vit, swin, pvt)]
    return [
        ("ViT", "vit", (_keys(own[0].attn.layout(grids[0])), grids[0])),
        ("Swin, first block", "swin", (_keys(own[1].attn.layout(grids[1])), grids[1])),
        ("Swin, second block", "swin_shifted", (_keys(shifted.attn.layout(grids[1])), grids[1])),
        ("PVT v2", "pvt", (_keys(own[2].attn.layout(grids[2])), grids[2])),
        ("a 3 x 3 convolution", "convolution", (_kernel(grids[1]), grids[1])),
    ]


def _keys(layout: AttentionLayout) -> list[list[int]]:
    """The cells of each key that stands in the window of the token that looks around."""
    window = 0 if layout.queries is None else _window(layout.queries, _cell(layout.grid))
    if layout.keys is None:
        return [[cell] for cell in range(layout.grid[0] * layout.grid[1])]
    return [[int(cell) for cell in token if cell >= 0] for token in layout.keys.cells[window]]


def _window(queries: CellMap, cell: int) -> int:
    return int((queries.cells[..., 0] == cell).nonzero()[0, 0])


def _kernel(grid: tuple[int, int]) -> list[list[int]]:
    under = kernel_cells(grid, 3, 1, padding=1).cells[0, _cell(grid)]
    return [[int(cell)] for cell in under if cell >= 0]


def _cell(grid: tuple[int, int]) -> int:
    row, column = (asked * side // SIDE for asked, side in zip(ASKED, grid, strict=True))
    return row * grid[1] + column


def _lay(axes: Axes, seen: list[list[int]], grid: tuple[int, int]) -> None:
    """Each key in one of two tones, so that neighbours are told apart; the token that looks is dark."""
    tones = np.zeros((*grid, 3))
    light, dark, empty = (np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for colour in
                          ("#9fc8e4", "#c9e1f1", LINE))  # fmt: skip
    tones[:] = empty
    for cells in seen:
        row, column = divmod(cells[0], grid[1])
        step = max(1, round(len(cells) ** 0.5))
        for cell in cells:
            tones[cell // grid[1], cell % grid[1]] = light if (row // step + column // step) % 2 else dark
    tones[divmod(_cell(grid), grid[1])] = [int(SERIES[1][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    axes.imshow(tones, interpolation="none")
    axes.set_axis_off()


def operations() -> Drawn:
    """Counted multiply-accumulates over the image's side: what N^2 comes to, and from when on."""
    counted: dict[str, study_charts.Growth] = {}
    for name in COUNTED:
        points = []
        for size in SIZES:
            with torch.device("meta"):
                model = create_model(name, outputs=1000, image_size=size)
            points.append((float(size), gmacs(model.requires_grad_(False).eval(), (size, size))))
        counted[name] = study_charts.Growth(points)
    figure = study_charts.power(counted, "image side, pixels", "billion multiply-accumulates")
    numbers: Numbers = {}
    for name, growth in counted.items():
        short = name.split("_")[0]
        first, last = growth.points[0][1], growth.points[-1][1]
        numbers |= {f"macs.{short}_first": f"{first:.1f}", f"macs.{short}_last": f"{last:.0f}",
                    f"macs.{short}_times": f"{last / first:.0f}"}  # fmt: skip
    for size in (SIZES[0], SIZES[-1]):
        tokens, width, depth = (size // 16) ** 2 + 1, 384, 12  # ViT-S: queries with keys, weights with values
        products = 2 * tokens**2 * width * depth / 1e9
        whole = dict(counted[COUNTED[0]].points)[float(size)]
        numbers[f"macs.share_{size}"] = pages.percent(products / whole)
    return figure, numbers


def sizes() -> Drawn:
    """Published ImageNet-1k accuracy of models trained on it alone, over their counted operations."""
    rows = catalogue()
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for place, family in enumerate(FAMILIES):
        points = sorted(_points(rows, family))
        if points:
            axes.plot(
                *zip(*points, strict=True), linestyle="none", color=SERIES[place % len(SERIES)], markersize=5,
                marker=study_axes.MARKERS[place], label=family,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(0.5, 400)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value):d}%")
    axes.set_xlabel("billion multiply-accumulates of one image")
    axes.set_ylabel("published top-1, ImageNet-1k alone")
    axes.legend(loc="lower right")
    by_name = {row.name: row for row in rows}
    said = {
        "tiny": "vit_tiny_patch16_224", "base": "vit_base_patch16_224", "huge": "vit_huge_patch14_224",
        "giant": "vit_giant_patch14_224", "gigantic": "vit_gigantic_patch14_224", "22b": "vit_22b_patch14_224",
    }  # fmt: skip
    return figure, {
        "sizes.models": str(len(rows)), **{f"sizes.{key}": _count(by_name[name]) for key, name in said.items()}
    }  # fmt: skip


def _points(rows: list[CatalogueRow], family: str) -> list[tuple[float, float]]:
    """GMACs and the first published accuracy of each model of a family at its own size."""
    found = []
    for row in rows:
        own = [one.accuracy for one in row.published if one.data == "1k" and one.image_size == row.image_size]
        if row.family == family and own:
            found.append((row.gmacs, own[0]))
    return found


def _count(row: CatalogueRow) -> str:
    return f"{row.parameters / 1e6:.1f}" if row.parameters < 1e8 else f"{row.parameters / 1e6:,.0f}"


FIGURES: dict[str, Callable[[], Drawn]] = {"layouts": layouts, "operations": operations, "sizes": sizes}
"""Name of the picture -> how it is drawn; inside `plots.style`."""
