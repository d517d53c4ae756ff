"""A family at several sizes, its width, depth and MLP grown by the exponents of SoViT.

Alabdulmohsin et al. 2023 (arXiv 2305.13035): with the compute t of a training, the best depth grows as t^0.45, the best
width as t^0.22 and the best MLP as t^0.60. Those are of other data and larger models; here they say only how one size
differs in shape from the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitrail.errors import UsageError, unknown
from vitrail.models import variant
from vitrail.models.vit import ViTConfig
from vitrail.settings import Stated
from vitrail.study.entries import Entry

WIDTH, DEPTH, HIDDEN = 0.22, 0.45, 0.60
"""Exponents of compute, in the order of the table: the MLP grows fastest, then depth, then width."""
STEP = 2.0
"""From one size to the next, the factor that the exponents are of."""
FAMILIES: Mapping[str, str] = {"vit": "vit_tiny"}
"""Family -> the model of scale 1."""
FEWEST, MOST = 5, 12
SHAPE = ("width", "depth", "heads", "hidden")


@dataclass(frozen=True)
class Shape:
    """One size. scale: what the exponents are of, 1 for the family's own model.  asked: width, depth and hidden width
    of the MLP before they were rounded.
    """

    family: str
    scale: float
    width: int
    depth: int
    heads: int
    hidden: int
    asked: tuple[float, float, float]

    @property
    def label(self) -> str:
        """The shape as a name: vit-w104-d3-m144."""
        return f"{self.family}-w{self.width}-d{self.depth}-m{self.hidden}"

    @property
    def entry(self) -> Entry:
        """What is trained."""
        stated: Stated = {f"model.options.{name}": getattr(self, name) for name in SHAPE}
        return Entry(self.label, {"model.name": FAMILIES[self.family], **stated})


def grown(base: ViTConfig, family: str, scale: float) -> Shape:
    """The shape at a scale. Width is rounded to a multiple of 4 heads, heads being as wide as the base's, about.

    Depth is rounded to whole blocks, the MLP's width to a multiple of 4; all are at least one of those.
    """
    width, depth, hidden = base.width * scale**WIDTH, base.depth * scale**DEPTH, base.hidden * scale**HIDDEN
    heads = max(1, round(width * base.heads / base.width))
    each = 4 * heads
    return Shape(
        family, scale, each * max(1, round(width / each)), max(1, round(depth)), heads, 4 * max(1, round(hidden / 4)),
        (width, depth, hidden),
    )  # fmt: skip


def shapes(family: str, count: int, largest: float = 1.0) -> tuple[Shape, ...]:
    """The family at `count` sizes, smallest first, each twice the scale of the one before. largest: the last's scale.

    Raises UsageError for an unknown family, fewer than 5 sizes, and scales at which two sizes would be the same.
    """
    if family not in FAMILIES:
        raise unknown("--family", family, FAMILIES)
    if not FEWEST <= count <= MOST:
        raise UsageError(f"--sizes {count}: give {FEWEST} to {MOST}")
    if not 0 < largest <= 1e6:
        raise UsageError(f"--largest {largest:g}: give a number above 0; 1 is {FAMILIES[family]}")
    base = variant(FAMILIES[family]).config
    assert isinstance(base, ViTConfig), "families that are grown are plain ViTs"
    made = tuple(grown(base, family, largest * STEP ** (place + 1 - count)) for place in range(count))
    if len({shape.label for shape in made}) < count:
        raise UsageError(f"--sizes {count} --largest {largest:g}: two sizes would be the same: give a larger --largest")
    return made


def refuse_shape(stated: Stated) -> None:
    """UsageError for a field stated for all sizes that tells them apart."""
    for name in SHAPE:
        if f"model.options.{name}" in stated:
            raise UsageError(f"model.options.{name} is what the sizes differ in: --sizes and --largest say how")
