"""How a published layout is declared: a table of names, ours beside theirs, that is read in both directions.

A name is a template. `{s}` stands for a number, `{s+1}`, `{s-1}` and `{2s+1}` for one computed from it; `*` for the
last part of a name (weight, bias, running_mean, ...); `**` for any rest. Where a tensor is not the same on both sides,
the row says how it becomes the other (`Transform`), both ways. The first row that fits a name is the one that counts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

Bindings = dict[str, str]
"""What each placeholder of a template stands for: a number in digits, or the part of a name that a star took."""

FORMULA = re.compile(r"\{(\d*)([a-z])([+-]\d+)?\}")
LAST_PART = "weight|bias|gamma|running_mean|running_var|num_batches_tracked"


class Template:
    """One side of a row: matches a name to bindings, and fills bindings into a name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.formulas = [(int(m[1] or 1), m[2], int(m[3] or 0)) for m in FORMULA.finditer(text)]
        pattern = re.escape(text)
        pattern = re.sub(r"\\\{\d*[a-z](?:\\?[+-]\d+)?\\\}", r"(\\d+)", pattern)
        pattern = pattern.replace(re.escape("**"), "(?P<rest>.+)").replace(re.escape("*"), f"(?P<last>{LAST_PART})")
        self.pattern = re.compile(pattern)

    def match(self, name: str) -> Bindings | None:
        """The bindings under which the template is this name, or None."""
        found = self.pattern.fullmatch(name)
        if found is None:
            return None
        bindings = {key: value for key, value in found.groupdict().items() if value is not None}
        numbers = [
            text for index, text in enumerate(found.groups(), start=1) if index not in found.re.groupindex.values()
        ]
        for (factor, letter, offset), text in zip(self.formulas, numbers, strict=True):
            value, rest = divmod(int(text) - offset, factor)
            if rest or value < 0 or bindings.setdefault(letter, str(value)) != str(value) or len(text) > 6:
                return None
        return bindings

    def fill(self, bindings: Bindings) -> str:
        """The name that these bindings make."""
        name = FORMULA.sub(lambda m: str(int(m[1] or 1) * int(bindings[m[2]]) + int(m[3] or 0)), self.text)
        return name.replace("**", bindings.get("rest", "")).replace("*", bindings.get("last", ""))


@cache
def template(text: str) -> Template:
    """The template of a text, compiled once."""
    return Template(text)


@dataclass(frozen=True)
class Transform:
    """How tensors of one side become those of the other.

    read: theirs -> ours.  write: ours -> theirs.  Both take the tensors in the row's order and the backbone's config,
    which is None while the model is not known yet (shapes alone are read then).
    """

    read: Callable[[Sequence[Tensor], Any], Sequence[Tensor]]
    write: Callable[[Sequence[Tensor], Any], Sequence[Tensor]]
    what: str = ""
    """In a word, for the report; empty where nothing changes."""


SAME = Transform(lambda theirs, _: theirs, lambda ours, _: ours)


def split(parts: int) -> Transform:
    """Ours is theirs concatenated along the first dimension: q, k, v -> qkv; k, v -> kv."""
    return Transform(
        lambda theirs, _: [torch.cat(list(theirs))],
        lambda ours, _: list(ours[0].chunk(parts)),
        f"{parts} tensors to 1",
    )


def permuted(*order: int, what: str = "transposed") -> Transform:
    """Ours is theirs with its dimensions in another order; `order` leads from theirs to ours."""
    back = sorted(range(len(order)), key=order.__getitem__)
    return Transform(lambda theirs, _: [theirs[0].permute(order)], lambda ours, _: [ours[0].permute(back)], what)


TRANSPOSED = permuted(1, 0)
"""A dense layer of JAX (in, out) as PyTorch keeps it (out, in)."""
HWIO = permuted(3, 2, 0, 1)
"""A convolution of JAX (H, W, in, out) as PyTorch keeps it (out, in, H, W)."""


@dataclass(frozen=True)
class Row:
    """Tensors of ours that are made of tensors of theirs."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    how: Transform = SAME


Written = (
    tuple[str | tuple[str, ...], str | tuple[str, ...]] | tuple[str | tuple[str, ...], str | tuple[str, ...], Transform]
)


def rows(*written: Written) -> tuple[Row, ...]:
    """Rows from (ours, theirs) or (ours, theirs, how), where a side of one name may be written as plain text."""
    return tuple(Row(_tuple(row[0]), _tuple(row[1]), row[2] if len(row) == 3 else SAME) for row in written)


def _tuple(side: str | tuple[str, ...]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


@dataclass(frozen=True)
class Link:
    """One row with its placeholders filled: these tensors of ours are those of theirs."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    how: Transform


@dataclass(frozen=True)
class Table:
    """A family's names in one layout.

    needs, lacks: templates of which some tensor of theirs must, and none may, be there for a file to be of this table.
    derived: tensors of theirs that are computed and not learned, so that ours makes them itself.
    head: tensors of theirs that only a head of theirs uses; they may be left out together with the head.
    """

    family: str
    rows: tuple[Row, ...]
    needs: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    keep: Callable[[Any], bool] = field(default=lambda config: True)
    """Whether a model of this config is written by this table, where a layout has several for a family."""

    def fits(self, names: Sequence[str]) -> bool:
        """Whether a file with these names is of this table."""
        return all(any_match(need, names) for need in self.needs) and not any(
            any_match(lack, names) for lack in self.lacks
        )

    def links(self, ours: Sequence[str]) -> tuple[list[Link], list[str]]:
        """From the names of a model: every link, and the names that the layout has no place for."""
        known, links, homeless = set(ours), [], []
        done: set[str] = set()
        for name in ours:
            if name in done:
                continue
            for link in self._candidates(name):
                if known.issuperset(link.ours):
                    links.append(link)
                    done.update(link.ours)
                    break
            else:
                homeless.append(name)
        return links, homeless

    def _candidates(self, name: str) -> Iterator[Link]:
        for row in self.rows:
            for ours in row.ours:
                bindings = template(ours).match(name)
                if bindings is not None:
                    yield _filled(row, bindings)

    def ours_of(self, name: str) -> tuple[str, ...]:
        """The names of ours that a tensor of theirs is made into; () for one that the table does not know."""
        for row in self.rows:
            for theirs in row.theirs:
                bindings = template(theirs).match(name)
                if bindings is not None:
                    return _filled(row, bindings).ours
        return ()

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors under our names, as far as the table knows them; what is incomplete or unknown is left out."""
        ours: dict[str, Tensor] = {}
        for name in tensors:
            for row in self.rows:
                bindings = template(row.theirs[0]).match(name)
                if bindings is None:
                    continue
                link = _filled(row, bindings)
                if all(other in tensors for other in link.theirs):
                    with contextlib.suppress(RuntimeError, ValueError, IndexError):  # shapes that cannot be joined
                        values = row.how.read([tensors[other] for other in link.theirs], None)
                        ours.update(zip(link.ours, values, strict=True))
                    break
        return ours


def _filled(row: Row, bindings: Bindings) -> Link:
    ours, theirs = ([template(text).fill(bindings) for text in side] for side in (row.ours, row.theirs))
    return Link(tuple(ours), tuple(theirs), row.how)


def any_match(text: str, names: Sequence[str]) -> bool:
    """Whether some name is one of the template's."""
    pattern = template(text)
    return any(pattern.match(name) is not None for name in names)
