"""Claims of textbooks: each said once, and of whom it holds where models differ."""

from __future__ import annotations

import dataclasses

from vitrail.study.claims import NOT, PART, SHOWN, UNKNOWN, Claim, Sight, Verdict, part, summary, told


def claim(brief: str, *seen: tuple[str, str, Verdict]) -> Claim:
    """What each (model, state) shows."""
    return Claim(brief, f"Says: {brief}.", "px", tuple(Sight(*one, "1.5 (1.2 to 1.9)") for one in seen), "By rule.")


def test_a_claim_on_which_all_agree_names_no_model() -> None:
    both = claim("a ViT looks far", ("a", "trained", SHOWN), ("b", "trained", SHOWN))
    assert summary([both]) == ["Of what textbooks say, shown here: a ViT looks far."]


def test_where_models_differ_it_says_whose() -> None:
    mixed = claim("x", ("a", "trained", SHOWN), ("b", "trained", NOT), ("c", "trained", PART))
    other = claim("y", ("a", "trained", NOT))
    assert summary([mixed, other]) == [
        "Of what textbooks say, shown here: x (a).", "Shown in part: x (c).", "Not shown here: x (b); y.",
    ]  # fmt: skip


def test_weights_are_named_where_they_make_the_difference() -> None:
    both = claim("x", ("a", "trained", SHOWN), ("a", "untrained", UNKNOWN), ("b", "trained", SHOWN))
    assert summary([both]) == [
        "Of what textbooks say, shown here: x (a trained and b).", "Cannot tell: x (a untrained).",
    ]  # fmt: skip


def test_of_many_models_a_few_are_named() -> None:
    many = claim("x", *((name, "trained", SHOWN) for name in "abcde"), ("f", "trained", NOT))
    assert summary([many])[0].endswith("x (a, b, c and 2 more).")


def test_what_no_model_can_show_is_left_out() -> None:
    none = claim("x")
    assert told([none]) == []
    assert summary([]) == []


def test_a_claim_is_one_table_with_a_row_for_each_model() -> None:
    one = claim("x", ("a", "trained", SHOWN), ("a", "untrained", NOT))
    found = part([one, dataclasses.replace(one, says="Another.")], "val")
    assert [table.title for table in found.tables] == ["Says: x.", "Another."]
    assert list(found.tables[0].rows) == [
        ["a", "trained", "shown here", "1.5 (1.2 to 1.9)"], ["a", "untrained", "not shown here", "1.5 (1.2 to 1.9)"],
    ]  # fmt: skip
    assert found.split == "val"
