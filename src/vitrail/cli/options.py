"""From the words of a command line to typed options: which word is an option, a config field or an operand.

The rules, the same for every verb: `--key value`, `--key=value`, and `key=value` where key is an option or a field the
verb knows; `-` and `_` are one in keys; everything else is an operand, and so is all that follows `--`. An unknown key
is refused with the nearest right one. tyro turns each text into the type its dataclass field declares.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from vitrail.errors import UsageError, nearest, unknown

if typing.TYPE_CHECKING:
    from vitrail.settings import Stated

O_co = TypeVar("O_co", bound="Options", covariant=True)
"""The options of one verb."""

KEY = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def option(meaning: str, value: str, group: str = "Options") -> Any:
    """An option that takes a value; None means that it was not stated. value: how help names it, such as FILE."""
    return dataclasses.field(default=None, metadata={"meaning": meaning, "value": value, "group": group})


def flag(meaning: str, group: str = "Options", default: bool | None = False) -> Any:
    """An option that is there or not. default: None for a field of the config, where not said is not false."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "value": "", "group": group})


@dataclass(frozen=True)
class Options:
    """The options of every verb. A verb's own stand in a dataclass derived from this one.

    One whose name is a word of Python's has a "_" behind it there, and nowhere else: `from_` is --from.
    """

    json: bool = flag("print one JSON object on stdout, all else on stderr", group="Everywhere")


@dataclass(frozen=True)
class Operands:
    """The words a verb takes besides options: how usage names them, and how many there may be (None: any number)."""

    names: str = ""
    least: int = 0
    most: int | None = 0


@dataclass(frozen=True)
class Call(Generic[O_co]):
    """One command line, read: typed options, operands in order, config fields by dotted path, the words as typed."""

    options: O_co
    operands: tuple[str, ...]
    stated: Stated
    command: tuple[str, ...]

    def given(self) -> Iterator[str]:
        """The names of everything stated, as a user writes them."""
        for field in dataclasses.fields(self.options):
            if getattr(self.options, field.name) != field.default:
                yield spelled(field.name)
        yield from self.stated


def key_of(name: str) -> str:
    """The key of a dataclass field: its name, without the "_" behind one that would be a word of Python's: from_."""
    return name.removesuffix("_")


def spelled(name: str) -> str:
    """An option as a user writes it: image_size -> --image-size, from_ -> --from."""
    return "--" + key_of(name).replace("_", "-")


def read(verb: str, kind: type[O_co], operands: Operands, config: bool, words: Sequence[str]) -> Call[O_co]:
    """Read the words after a verb. config: whether any field of settings.Config may be stated by its dotted path.

    Raises UsageError for an unknown option, a missing or unusable value, and too many or too few operands.
    """
    reader = _Reader({key_of(field.name): field for field in dataclasses.fields(kind)}, config)
    reader.read(words)
    _check_count(reader.operands, operands)
    return Call(_typed(kind, reader.texts), tuple(reader.operands), reader.stated, ("vitrail", verb, *words))


class _Reader:
    """known: key -> field.  texts: key -> what was given, for the fields that were."""

    def __init__(self, known: dict[str, dataclasses.Field[Any]], config: bool) -> None:
        self.known = known
        self.config = config
        self.texts: dict[str, str] = {}
        self.operands: list[str] = []
        self.stated: Stated = {}

    def read(self, words: Sequence[str]) -> None:
        """Sort words into texts of options, stated fields and operands; of an option given twice the last holds."""
        rest = list(reversed(words))
        while rest:
            word = rest.pop()
            if word == "--":
                self.operands += reversed(rest)
                return
            key, equals, value = word.partition("=")
            if word.startswith("--"):
                self._option(key[2:], value if equals else None, rest)
            elif word.startswith("-") and len(word) > 1:
                raise UsageError(f"unknown option '{word}': options begin with two dashes (a file: ./{word})")
            elif equals and KEY.fullmatch(key) and self._takes(key):
                self._option(key, value, rest)
            else:
                if equals and KEY.fullmatch(key):
                    self._refuse_misspelt(word, key)
                self.operands.append(word)

    def _takes(self, key: str) -> bool:
        return key.replace("-", "_") in self.known or self._field(key) is not None

    def _field(self, key: str) -> str | None:
        """The config field that a key names, or None."""
        if not self.config:
            return None
        from vitrail.settings import known_path

        try:
            return known_path(key)
        except UsageError:
            return None

    def _option(self, key: str, value: str | None, rest: list[str]) -> None:
        name = key.replace("-", "_")
        if name not in self.known and self._field(key) is None:
            raise self._unknown(key)
        if name in self.known and not self.known[name].metadata["value"]:
            self._flag(name, value)
            return
        if value is None:
            if not rest or rest[-1].startswith("--"):
                raise UsageError(f"--{key} needs a value: --{key} {self._value_name(name)}")
            value = rest.pop()
        if name in self.known:
            self.texts[name] = value
        else:
            from vitrail.settings import state

            self.stated |= state(key, value)

    def _flag(self, name: str, value: str | None) -> None:
        text = "true" if value is None else value.lower()
        if text not in TRUE + FALSE:
            raise UsageError(f"{spelled(name)} takes no value (got '{value}')")
        self.texts[name] = "True" if text in TRUE else "False"

    def _value_name(self, name: str) -> str:
        return str(self.known[name].metadata["value"]) if name in self.known else "VALUE"

    def _names(self, key: str) -> Iterable[str]:
        """What a misspelt key may have meant."""
        if not self.config:
            return self.known
        from vitrail.settings import fields

        paths = [path for path, _ in fields()]
        return paths if "." in key else [*self.known, *(path for path in paths if "." not in path)]

    def _unknown(self, key: str) -> UsageError:
        """Keys are compared and shown without dashes, which would make any two of them look alike."""
        return unknown("option", key, {n if "." in n else n.replace("_", "-") for n in self._names(key)})

    def _refuse_misspelt(self, word: str, key: str) -> None:
        """A path may hold `=`; but what is no path and looks much like an option is a slip of the pen."""
        if not os.path.lexists(word) and nearest(key.replace("-", "_"), self._names(key)):
            raise self._unknown(key)


def _check_count(given: Sequence[str], operands: Operands) -> None:
    if len(given) < operands.least:
        missing = operands.names.split()[len(given)].rstrip(".")
        raise UsageError(f"{missing} is missing: expected {operands.names}")
    if operands.most is not None and len(given) > operands.most:
        expected = f"expected {operands.names} only" if operands.names else "this verb takes none"
        raise UsageError(f"unexpected '{given[operands.most]}': {expected}")


# ------------------------------------------------------------------------------------------------- types, by tyro


def _typed(kind: type[O_co], texts: dict[str, str]) -> O_co:
    try:
        return _tyro(kind, texts)
    except SystemExit:
        for name, text in texts.items():
            try:
                _tyro(kind, {name: text})
            except SystemExit:
                raise _bad_value(kind, name, text) from None
        raise


def _tyro(kind: type[O_co], texts: dict[str, str]) -> O_co:
    """tyro draws its own box for a bad value and exits; the box is caught here and the exit by the caller."""
    import tyro

    members = {key_of(field.name): field for field in dataclasses.fields(kind)}
    words = []
    for key, text in texts.items():
        name = members[key].name
        if isinstance(members[key].default, bool):
            words.append(f"--{name}" if text == "True" else f"--no-{name}")
        else:
            words.append(f"--{name}={text}")
    with contextlib.redirect_stderr(io.StringIO()):
        return tyro.cli(kind, args=words, prog="vitrail", add_help=False, console_outputs=False)


def _bad_value(kind: type[Options], name: str, text: str) -> UsageError:
    annotation = next(hint for field, hint in typing.get_type_hints(kind).items() if key_of(field) == name)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not types.NoneType)
    if typing.get_origin(annotation) is Literal:
        choices = [str(choice) for choice in typing.get_args(annotation)]
        wanted = "only " + choices[0] if len(choices) == 1 else "one of " + ", ".join(choices)
        return UsageError(f"{spelled(name)} takes {wanted}, not '{text}'")
    wanted = {int: "a whole number", float: "a number", Path: "a path"}.get(annotation, "another value")
    return UsageError(f"{spelled(name)} takes {wanted}, not '{text}'")
