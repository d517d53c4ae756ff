"""What a study compares: models of the catalogue, timm's, or settings from a file; and who teaches whom.

All entries have the same recipe rules: what an entry leaves open is chosen for it as `vitrail train` would choose.
NAME+teacher and a distilled model learn from a teacher. Where the list has a CNN, that is the one of the same seed: its
cell trains first, in its own time. Else each first trains a CNN itself (`distill.teacher=auto`), in its own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from vitrail.errors import UsageError
from vitrail.models import variant
from vitrail.run.teachers import AUTO, has_token
from vitrail.settings import Stated, build, flatten

DEFAULT = "vit_tiny,vit_tiny+teacher,resnet18"
TAUGHT = "+teacher"
"""Behind a model's name: the same model, which also learns from a teacher."""
FILES = (".yaml", ".yml")
LONGEST = 60
"""Characters of a label, which stands in tables and in names of folders."""
CNNS = ("resnet", "convnext")
"""Families of the catalogue that have no attention."""
NONE = "none"
SAME_FOR_ALL = ("data.", "task.", "preprocess.", "report.", "pretrain.", "data_seed", "seed", "device", "threads")
"""Fields that an entry may not state for itself: its score would not be comparable with the others'."""
OF_THE_STUDY = {
    "model.name": "--models says which models",
    "seed": "--seeds says how many",
    "train.epochs": "--epochs or --time says how long",
    "distill.teacher": "--teacher says who teaches",
}
"""Fields that a study sets itself -> what to state instead."""


@dataclass(frozen=True)
class Entry:
    """One of what is compared. stated: its fields, model.name among them.

    teacher: the label of the entry that teaches it, else what `train --teacher` takes, else None.
    """

    label: str
    stated: Stated
    teacher: str | None = None

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.stated["model.name"])

    @property
    def folder(self) -> str:
        """The label as part of a folder's name."""
        kept = "".join("-" if c in "/\\:" or not c.isprintable() else c for c in self.label).strip(". ")
        return "_".join(kept.split()) or "model"


def read_entries(models: str, teacher: str | None = None, least: int = 2) -> tuple[Entry, ...]:
    """The entries of `--models` (names and files with commas between) and `--teacher`, in their order.

    `NAME+teacher` is a model that also learns from a teacher. A file maps labels to fields of the config:
    `wide: {model.name: vit_tiny, model.options.width: 384}`; one field may be called `model` for short. Raises
    UsageError for a model that is unknown, one that stands twice, fewer than `least`, a field that must be the same for
    all, or a teacher that is itself taught.
    """
    entries: list[Entry] = []
    for word in (part.strip() for part in models.split(",")):
        if word.lower().endswith(FILES):
            entries += _of_file(Path(word).expanduser())
        elif word:
            entries.append(Entry(word, {"model.name": word.removesuffix(TAUGHT)}))
    if len(entries) < least:
        some = "two models or more" if least == 2 else "a model"
        raise UsageError(f"--models names {len(entries) or 'none'}: give {some}, such as --models {DEFAULT}")
    for entry in entries:
        variant(entry.model)
    for attribute in ("label", "folder"):
        names = [getattr(entry, attribute) for entry in entries]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"--models names {twice} twice: give each a label of its own in a .yaml file")
    return taught(entries, teacher)


def taught(entries: Sequence[Entry], teacher: str | None) -> tuple[Entry, ...]:
    """The entries, each with its teacher. teacher: of all that learn from one, "none" for none, None to choose."""
    labels = [entry.label for entry in entries]
    cnn = next((entry.label for entry in entries if is_cnn(entry.model) and not _learns(entry)), AUTO)
    made = []
    for entry in entries:
        stated, own = dict(entry.stated), entry.stated.get("distill.teacher")
        stated.pop("distill.teacher", None)
        chosen = None
        if _learns(entry):
            chosen = next((name for name in (own, teacher) if name is not None), cnn)
        made.append(replace(entry, stated=stated, teacher=None if chosen == NONE else chosen))
    if teacher is not None and teacher != NONE and not any(entry.teacher for entry in made):
        raise UsageError(
            f"--teacher {teacher} teaches nobody: add a model that learns from it, such as vit_tiny{TAUGHT}"
        )
    teachers = {entry.label: entry.teacher for entry in made}
    for entry in made:
        if entry.teacher in labels and (entry.teacher == entry.label or teachers[entry.teacher] in labels):
            raise UsageError(f"{entry.teacher} cannot teach {entry.label}: a teacher must not be taught by another")
    return tuple(made)


def _learns(entry: Entry) -> bool:
    """Whether a model learns from a teacher, whoever that is."""
    return entry.stated.get("distill.teacher") is not None or entry.label.endswith(TAUGHT) or is_distilled(entry)


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, teachers before those that they teach."""
    teaching = {entry.teacher for entry in entries}
    return sorted(entries, key=lambda entry: entry.label not in teaching)


def lessons(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Each of them that teaches -> those that it teaches."""
    labels = [entry.label for entry in entries]
    pupils = {label: [entry.label for entry in entries if entry.teacher == label] for label in labels}
    return {label: own for label, own in pupils.items() if own}


def is_cnn(model: str) -> bool:
    """Whether a model is one of the catalogue's CNNs."""
    return variant(model).family in CNNS


def is_distilled(entry: Entry) -> bool:
    """Whether a model has a token that learns from a teacher."""
    prefix = "model.options."
    options = {path.removeprefix(prefix): v for path, v in entry.stated.items() if path.startswith(prefix)}
    return has_token(entry.model, options)


def refuse_common(stated: Stated) -> None:
    """UsageError for a field stated for all that the study sets itself."""
    for path, instead in OF_THE_STUDY.items():
        if path in stated:
            raise UsageError(f"{path} is set by the study: {instead}")


def _of_file(path: Path) -> list[Entry]:
    """The entries of a YAML file: a mapping of labels to fields."""
    try:
        text = path.read_text(encoding="utf-8")
        tree, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"--models {path} cannot be read: {str(reason).lower()}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--models {path} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, Mapping) or not all(isinstance(fields, Mapping) for fields in tree.values()) or not tree:
        raise UsageError(f"--models {path}: a label with fields is expected, such as 'wide: {{model.name: vit_tiny}}'")
    assert node is not None, "there is a mapping"
    labels = [str(key.value) for key, _ in node.value]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:  # YAML keeps the last alone
        raise UsageError(f"--models {path}: the label {twice} stands twice: give each a label of its own")
    return [_entry(path, str(label), fields) for label, fields in tree.items()]


def _entry(path: Path, label: str, fields: Mapping[str, Any]) -> Entry:
    if not 0 < len(label.strip()) <= LONGEST or not label.isprintable():
        raise UsageError(
            f"--models {path}: the label {label[:LONGEST]!r} is empty, has line ends, or has over {LONGEST} characters"
        )
    try:
        stated = flatten(fields)
        if "model.name" not in stated:
            raise UsageError("which model? Add model.name")
        for field in stated:
            if field.startswith(SAME_FOR_ALL) or field == "train.epochs":
                raise UsageError(f"{field} must be the same for all that is compared: state it on the command line")
        build({"data.source": "", **stated})
        variant(str(stated["model.name"]))
    except UsageError as error:
        raise UsageError(f"--models {path}, {label}: {error}") from None
    return Entry(label, stated)
