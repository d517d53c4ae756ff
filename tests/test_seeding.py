"""Keys and their streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vitrail.seeding import derive_seed, generator

KEYS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=4)


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derive_seed(0, "init", "head.weight") == 2143708567837542724
    assert derive_seed(1) != derive_seed("1")


@given(KEYS, KEYS)
def test_different_keys_give_different_seeds(a: list, b: list) -> None:
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)
    assert 0 <= derive_seed(*a) < 2**63


def test_streams_are_independent_of_each_other() -> None:
    first = generator(0, 1).random(4)
    generator(0, 2).random(100)
    assert (generator(0, 1).random(4) == first).all()
    assert (generator(0, 2).random(4) != first).all()
