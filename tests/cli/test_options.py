"""How the words of a command line are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.cli.options import Call, Operands, Options, flag, option, read
from vitrail.errors import UsageError


@dataclass(frozen=True)
class Some(Options):
    """Options of each type."""

    epochs: int | None = option("passes", "N")
    lr: float | None = option("rate", "RATE")
    image_size: int | None = option("side", "PIXELS")
    out: Path | None = option("where", "FOLDER")
    device: Literal["auto", "cpu"] | None = option("device", "NAME")
    name: str | None = option("name", "NAME")
    fast: bool = flag("fast")


ANY = Operands("DATA...", 0, None)


def parse(*words: str, operands: Operands = ANY, config: bool = False) -> Call[Some]:
    return read("verb", Some, operands, config, words)


def test_what_is_not_stated_is_none() -> None:
    assert parse().options == Some()
    assert Some().epochs is None


@pytest.mark.parametrize(
    "words",
    [
        ("--epochs", "3"),
        ("--epochs=3",),
        ("epochs=3",),
        ("--epochs", "5", "--epochs", "3"),
        ("--epochs", "9", "epochs=3"),
    ],
)
def test_an_option_may_be_written_in_three_ways_and_the_last_holds(words: tuple[str, ...]) -> None:
    assert parse(*words).options.epochs == 3


@pytest.mark.parametrize("word", ["--image-size=8", "--image_size=8", "image-size=8", "image_size=8"])
def test_dash_and_underscore_are_one(word: str) -> None:
    assert parse(word).options.image_size == 8


def test_values_have_the_type_of_their_field() -> None:
    options = parse("--lr", "1e-3", "--out", "a b", "--name", "5", "--device", "cpu", "--json").options
    assert options == Some(json=True, lr=1e-3, out=Path("a b"), name="5", device="cpu")


def test_a_value_may_begin_with_a_dash() -> None:
    assert parse("--epochs", "-1").options.epochs == -1
    assert parse("--name=--x").options.name == "--x"


@pytest.mark.parametrize(("words", "value"), [(("--fast",), True), (("fast=true",), True), (("--fast=no",), False)])
def test_a_flag_needs_no_value(words: tuple[str, ...], value: bool) -> None:
    assert parse(*words, "DATA").options.fast is value
    assert parse(*words, "DATA").operands == ("DATA",)


def test_a_path_with_an_equals_sign_stays_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "epoch=3").mkdir()
    words = ("photos/a=b", "a=b", "./epochs=3", "epoch=3", "=", "=x", "1=2", "x y=z")
    assert parse(*words).operands == words


def test_after_two_dashes_everything_is_an_operand() -> None:
    call = parse("a", "--", "--epochs", "epochs=3", "-x", "--")
    assert call.operands == ("a", "--epochs", "epochs=3", "-x", "--")
    assert call.options == Some()


def test_config_fields_are_stated_by_dotted_path_only_where_the_verb_takes_them() -> None:
    words = ("train.weight_decay=0.1", "--train.weight-decay", "0.2", "augment.crop_scale=[0.5, 1]", "--threads", "1")
    stated = parse(*words, "model.options.depth=6", config=True).stated
    assert stated == {
        "train.weight_decay": "0.2", "augment.crop_scale": [0.5, 1], "threads": "1", "model.options.depth": 6,
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"unknown option 'train\.weight_decay'"):
        parse("--train.weight_decay=0.1")


def test_what_was_given_is_named_as_the_user_writes_it() -> None:
    call = parse("--image-size", "8", "--fast", "train.beta1=0.8", config=True)
    assert list(call.given()) == ["--image-size", "--fast", "train.beta1"]


def test_the_words_are_kept_as_typed() -> None:
    assert parse("a", "--lr", "1").command == ("vitrail", "verb", "a", "--lr", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epoch", "3"), "unknown option 'epoch': did you mean 'epochs'?"),
        (("epoch=3",), "unknown option 'epoch': did you mean 'epochs'?"),
        (("--imagesize=3",), "unknown option 'imagesize': did you mean 'image-size'?"),
        (("--zzz",), "unknown option 'zzz': known are device, epochs, fast, image-size, json, lr, name, out"),
        (("-e", "3"), "unknown option '-e': options begin with two dashes (a file: ./-e)"),
        (("--epochs",), "--epochs needs a value: --epochs N"),
        (("--epochs", "--lr", "1"), "--epochs needs a value: --epochs N"),
        (("--epochs", "ten"), "--epochs takes a whole number, not 'ten'"),
        (("--epochs", "1.5"), "--epochs takes a whole number, not '1.5'"),
        (("--lr", "fast"), "--lr takes a number, not 'fast'"),
        (("--device", "gpu"), "--device takes one of auto, cpu, not 'gpu'"),
        (("--fast=maybe",), "--fast takes no value (got 'maybe')"),
    ],
)
def test_a_slip_is_named_with_what_is_right(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(*words)
    assert str(error.value) == message


def test_a_misspelt_field_gets_the_nearest_path() -> None:
    with pytest.raises(UsageError, match=r"unknown option 'train\.weight_decy': did you mean 'train\.weight_decay'\?"):
        parse("train.weight_decy=0.1", config=True)


@pytest.mark.parametrize(
    ("words", "operands", "message"),
    [
        ((), Operands("RUN SOURCE...", 2, None), "RUN is missing: expected RUN SOURCE..."),
        (("r",), Operands("RUN SOURCE...", 2, None), "SOURCE is missing: expected RUN SOURCE..."),
        (("a", "b"), Operands("DATA", 0, 1), "unexpected 'b': expected DATA only"),
        (("a",), Operands(), "unexpected 'a': this verb takes none"),
    ],
)
def test_too_few_and_too_many_operands(words: tuple[str, ...], operands: Operands, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(*words, operands=operands)
    assert str(error.value) == message


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=12), max_size=6), st.booleans())
def test_any_words_are_read_or_refused_in_words(words: list[str], config: bool) -> None:
    try:
        call = parse(*words, config=config)
    except UsageError:
        return
    assert set(call.operands) <= set(words)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1).filter(lambda text: text != "None"))
def test_a_text_comes_through_unchanged(text: str) -> None:
    assert parse(f"--name={text}").options.name == text
