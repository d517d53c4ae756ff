"""The models of a study: those of runs, trained and with fresh weights, and those of the catalogue, with fresh ones."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from vitrail.artifact import Artifact, load
from vitrail.assemble import VisionModel, build_model
from vitrail.contracts import Backbone, Pixels, Source, Task
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sources import open_source
from vitrail.errors import BadImage, DataError, UsageError
from vitrail.explain.statistics import Placed
from vitrail.models import variant
from vitrail.report import numbers
from vitrail.run.folder import Run
from vitrail.run.prepare import choose_settings, divide, make_task, preprocessor_of, read_audit, settle_task
from vitrail.run.trust import drawn, held_out
from vitrail.settings import Config, Stated, build
from vitrail.study.folder import Study
from vitrail.study.outcomes import SPOKEN
from vitrail.training.journal import Journal
from vitrail.training.recipes import Facts, choose

MANY = 10_000
"""Training images that the settings of a model that is not trained are chosen for: none of them matters here."""


TRAINED, UNTRAINED, PLACELESS = "trained", "untrained", ", no positions"
"""What a state is called: one of the first two, and the last behind it where positions were taken away."""


@dataclass(frozen=True)
class State:
    """One way to take a model. seed: of fresh weights, None for trained ones.  placed: with its position embedding."""

    seed: int | None
    placed: bool = True

    @property
    def name(self) -> str:
        """What the states that differ by seed alone have in common."""
        trained = TRAINED if self.seed is None else UNTRAINED
        return trained if self.placed else trained + PLACELESS


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to measure. name: on the page, and of its file.  artifact: trained, None of one of the catalogue.
    score: "accuracy 91 %" of its run on the split that is measured on; "" where it is not known.
    """

    name: str
    artifact: Artifact | None
    config: Config
    task: Task
    preprocessor: Preprocessor
    score: str = ""

    @property
    def where(self) -> str:
        """The folder of its weights; "" where it has none."""
        return str(self.artifact.folder) if self.artifact else ""

    def states(self, seeds: int) -> list[State]:
        """Trained where it is, fresh with each seed, and all of them again without positions where it adds them once,
        before plain attention: then nothing else tells where a patch stands.
        """
        ways = [*([State(None)] if self.artifact else []), *(State(seed) for seed in range(seeds))]
        alone = [State(way.seed, False) for way in ways] if _placed_once(self.sketch()) else []
        return [*ways, *alone]

    def sketch(self) -> VisionModel:
        """The model's shapes, without memory."""
        with torch.device("meta"):
            return build_model(self.config, self.task)

    def model(self, state: State, device: str) -> VisionModel:
        """In evaluation mode, on the device; the trained one is not touched."""
        if state.seed is None:
            assert self.artifact is not None, "only a run has trained weights"
            made = copy.deepcopy(self.artifact.model)
        else:
            made = build_model(self.config.model_copy(update={"seed": state.seed}), self.task)
        if not state.placed:
            positions = cast(Placed, made.backbone).positions()
            assert positions is not None, "only a model that has positions is asked for without"
            with torch.no_grad():
                positions.zero_()
        return made.to(device).eval()

    @property
    def side(self) -> int:
        """Pixels a side of its images; the shorter side where they are not square."""
        return min(self.preprocessor.size)

    @property
    def cell(self) -> int:
        """Pixels a side of its first grid's cells: the patch of a ViT."""
        stages = cast(Backbone, self.sketch().backbone).stages()
        return max(1, self.side // min(stages[0].grid)) if stages else 1


def _placed_once(model: VisionModel) -> bool:
    backbone = model.backbone
    if not isinstance(backbone, Placed) or backbone.positions() is None:
        return False
    return len(cast(Backbone, backbone).stages()) == 1


def open_subjects(
    given: Sequence[str], data: str | None, journal: Journal
) -> tuple[list[Subject], Source, list[int], str]:
    """The models, and the samples they are measured on: source, indices and split.

    given: run or model folders, and names of the catalogue.  data: None for what the first run held back.

    Raises UsageError for a name that is neither, for a task with a value per pixel (whose answer is to move with the
    image), and where no data are named and there is no run.
    """
    runs = {text: load(text) for text in dict.fromkeys(given) if Path(text).exists()}
    names = [text for text in dict.fromkeys(given) if text not in runs]
    for name in names:
        if "/" in name or name.startswith("."):
            raise UsageError(f"{name}: no such folder; expected a run folder, a model folder or a model's name")
        variant(name)  # offers the nearest right one
    called = _called(list(dict.fromkeys(given)))
    first = next(iter(runs.values()), None)
    if first is None and data is None:
        raise UsageError("none of these models is trained, so none says on which images: state --data")
    for text, artifact in runs.items():
        if artifact.task.dense:
            raise UsageError(
                f"{text} answers for every pixel ({artifact.task.name}): its answer is to move with the image, and is"
                " not measured here"
            )
    subjects: list[Subject] = []
    if first is not None:
        folder = Path(next(iter(runs)))
        source, indices, split = held_out(first, folder, data or first.config.data.source)
        for text, artifact in runs.items():
            score = _score(text, artifact.task, split)
            subjects.append(
                Subject(called[text], artifact, artifact.config, artifact.task, artifact.preprocessor, score)
            )
        subjects += [_fresh(name, first.task, first.config) for name in names]
    else:
        source, indices, split, made = _without_runs(names, str(data), journal)
        subjects += made
    order = {called[text]: place for place, text in enumerate(dict.fromkeys(given))}
    return sorted(subjects, key=lambda subject: order[subject.name]), source, list(indices), split


def _called(given: Sequence[str]) -> dict[str, str]:
    """What each is called: a model by its name, a folder by as much of its path as no other has.

    Raises UsageError where two are the same folder.
    """
    parts = {text: _parts(text) for text in given}
    named = {}
    for text, own in parts.items():
        others = [other for word, other in parts.items() if word != text]
        if own in others:
            raise UsageError(f"{text} stands twice among the models: leave one out")
        lengths = range(1, len(own))
        least = next((n for n in lengths if all(own[-n:] != other[-n:] for other in others)), len(own))
        named[text] = "/".join(own[-least:])
    return named


def _parts(text: str) -> tuple[str, ...]:
    """Of a folder, its path without what every run has; of a model's name, itself."""
    path = Path(text)
    if not path.exists():
        return (text,)
    resolved = path.resolve()
    return (resolved.parent.parent if resolved.parent.name == "model" else resolved).parts


def _score(text: str, task: Task, split: str) -> str:
    """The headline score of a run on a split; "" of a model folder alone, and where the images are others."""
    if not (Path(text) / "run.json").is_file():
        return ""
    value = Run.open(text).metrics.get(split, {}).get(task.headline)
    if value is None:
        return ""
    written = numbers.share if task.headline in ("accuracy", "map") else numbers.number
    return f"{SPOKEN.get(task.headline, task.headline)} {written(value)}"


def _fresh(name: str, task: Task, like: Config) -> Subject:
    """A model of the catalogue for the task and the image size of another, set up as `train` would."""
    facts = Facts(
        images=MANY, classes=task.outputs, native_size=like.model.image_size, flip=True, task=task.name,
        dense=task.dense, mixes=task.mixes, smooths=hasattr(task, "smoothing"), pooling=task.pooling,
    )  # fmt: skip
    stated: Stated = {
        "model.name": name, "data.source": like.data.source, "data.channels": like.data.channels,
        "task.name": task.name, "model.image_size": like.model.image_size,
    }  # fmt: skip
    config = choose(facts, variant(name), stated).config
    return Subject(name, None, config, task, preprocessor_of(config))


def _without_runs(names: Sequence[str], data: str, journal: Journal) -> tuple[Source, list[int], str, list[Subject]]:
    """Models of the catalogue as `train` would set them up for these data, with the images it would hold back."""
    stated: Stated = {"data.source": data}
    source = open_source(build(stated).data)
    stated, _ = settle_task(stated, source, journal)
    divided = divide(
        source, read_audit(source, build(stated).data, journal), build(stated).data, journal, str(stated["task.name"])
    )
    subjects = []
    for name in names:
        config = choose_settings({**stated, "model.name": name}, divided, "cpu").config
        task = make_task(config, divided)
        if task.dense:
            raise UsageError(
                f"{data} has a value per pixel: an answer is to move with the image, and is not measured here"
            )
        subjects.append(Subject(name, None, config, task, preprocessor_of(config)))
    split = "test" if divided.indices("test") else "val"
    return source, divided.indices(split), split, subjects


def samples(source: Source, indices: Sequence[int], count: int, channels: int) -> Iterator[tuple[str, Pixels]]:
    """Keys and pixels of so many of the images, drawn by their number alone; those that cannot be read are left out.

    Raises DataError where none can be read.
    """
    there = False
    for index in drawn(indices, min(count, len(indices))):
        try:
            pixels = source.read(index, channels)
        except BadImage:
            continue
        there = True
        yield source.items[index].key, pixels
    if not there:
        raise DataError(f"no image of {source.location} could be read")


def same_images(study: Study, source: Source, indices: Sequence[int]) -> None:
    """DataError where the images are not those that the study began with."""
    keys = sorted(source.items[index].key for index in indices)
    now = hashlib.blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()
    before = study.decided("fingerprint") or study.decide("fingerprint", now)
    if before != now:
        raise DataError(f"{source.location} has other images than this study began with: start a new one")


def fixed(models: Sequence[str]) -> list[str]:
    """Folders by their whole paths, so that a study can be resumed from anywhere; names as they are."""
    return [str(Path(model).resolve()) if Path(model).exists() else model for model in models]
