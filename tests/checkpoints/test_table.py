"""The language in which a layout is declared, read in both directions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitrail.checkpoints.layout import all_layouts
from vitrail.checkpoints.table import HWIO, TRANSPOSED, Table, Template, permuted, rows, split


@pytest.mark.parametrize(
    ("template", "name", "bindings"),
    [
        ("blocks.{i}.norm1.*", "blocks.11.norm1.weight", {"i": "11", "last": "weight"}),
        ("blocks.{i}.norm1.*", "blocks.11.norm1.scale", None),
        ("features.{2s+1}.{b}.norm", "features.5.0.norm", {"s": "2", "b": "0"}),
        ("features.{2s+1}.{b}.norm", "features.4.0.norm", None),
        ("features.{2s}.**", "features.4.reduction.weight", {"s": "2", "rest": "reduction.weight"}),
        ("block{s+1}.{b}.**", "block1.3.attn.q.bias", {"s": "0", "b": "3", "rest": "attn.q.bias"}),
        ("block{s+1}.{b}.**", "block0.3.attn.q.bias", None),
        ("layers.{s-1}.downsample", "layers.0.downsample", {"s": "1"}),
        ("{i}.{i}", "3.4", None),
        ("{i}.{i}", "3.3", {"i": "3"}),
        ("a.b", "aXb", None),
        ("blocks.{i}.x", "blocks.99999999999.x", None),
    ],
)
def test_a_name_is_matched_and_made_again(template: str, name: str, bindings: dict[str, str] | None) -> None:
    made = Template(template)
    assert made.match(name) == bindings
    if bindings is not None:
        assert made.fill(bindings) == name


@given(s=st.integers(0, 500), b=st.integers(0, 500))
def test_any_numbers_come_back(s: int, b: int) -> None:
    for text in ("x.{s}.{b}.*", "x{s+1}.{b}.*", "x.{2s+1}.{b}.*", "x.{2s}.{b}.*"):
        made = Template(text)
        bindings = {"s": str(s), "b": str(b), "last": "bias"}
        assert made.match(made.fill(bindings)) == bindings


@given(name=st.text(max_size=60))
def test_any_name_is_no_error(name: str) -> None:
    for layout in all_layouts().values():
        for table in layout.tables:
            table.ours_of(name)
            table.fits([name])


@pytest.mark.parametrize(
    ("how", "shapes"),
    [(split(3), [(2, 5)] * 3), (split(2), [(4,)] * 2), (TRANSPOSED, [(3, 7)]), (HWIO, [(2, 3, 4, 5)]),
     (permuted(2, 0, 1), [(2, 3, 4)])],
)  # fmt: skip
def test_a_transform_is_undone_by_itself(how: object, shapes: list[tuple[int, ...]]) -> None:
    theirs = [torch.randn(shape) for shape in shapes]
    again = how.write(how.read(theirs, None), None)
    assert all(torch.equal(a, b) for a, b in zip(theirs, again, strict=True))


def test_the_first_row_that_fits_counts_and_parts_must_be_whole() -> None:
    table = Table(
        "x",
        rows(
            (("a.{i}.q", "a.{i}.v"), "b.{i}.qv"),
            ("a.{i}.q", "b.{i}.lone"),
            ("a.{i}.kv", ("b.{i}.k", "b.{i}.v"), split(2)),
        ),
        needs=("b.{i}.qv",),
    )
    links, homeless = table.links(["a.0.q", "a.0.v", "a.1.q", "c"])
    assert [(link.ours, link.theirs) for link in links] == [
        (("a.0.q", "a.0.v"), ("b.0.qv",)),
        (("a.1.q",), ("b.1.lone",)),
    ]
    assert homeless == ["c"]
    assert set(table.translate({"b.0.k": torch.zeros(1), "b.1.k": torch.zeros(1), "b.1.v": torch.zeros(1)})) == {
        "a.1.kv"
    }


def test_no_two_names_of_ours_become_one_of_theirs() -> None:
    """In every layout, for a model of every family."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent))
    from small import MODELS, WRITABLE

    import vitrail
    from vitrail.models import family_of

    for layout, cases in WRITABLE.items():
        for case in cases:
            name, reduced = MODELS[case]
            with torch.device("meta"):
                model = vitrail.create_model(name, outputs=3, **reduced)
            family = family_of(model.backbone)
            table = all_layouts()[layout].table_for(family, model.backbone.config)
            links, homeless = table.links(list(model.state_dict()))
            theirs = [name for link in links for name in link.theirs]
            assert sorted(name for link in links for name in link.ours) == sorted(model.state_dict())
            assert homeless == []
            assert len(theirs) == len(set(theirs))
            back = [table.ours_of(name) for name in theirs]
            assert {name for names in back for name in names} >= set(model.state_dict())
