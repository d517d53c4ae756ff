"""What verbs of studies that measure models one after another have in common: options, the way, what is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vitrail.cli.layout import wrapped
from vitrail.cli.options import Call, Operands, Options, flag, option
from vitrail.cli.study_cells import NO_MODELS, resumed
from vitrail.cli.verb import Outcome
from vitrail.settings import seconds_of

if TYPE_CHECKING:
    from vitrail.study.claims import Claim
    from vitrail.study.subjects import Subject
    from vitrail.study.subjects_study import Asked, Done, Found, Opened, SubjectsStudy

AskedT = TypeVar("AskedT", bound="Asked")
OpenedT = TypeVar("OpenedT", bound="Opened")
FoundT = TypeVar("FoundT", bound="Found")


@dataclass(frozen=True)
class SubjectsOptions(Options):
    """What to measure, on which images, for how long. A verb says in its own words what the first four mean to it."""

    data: str | None = None
    images: int | None = None
    seeds: int | None = None
    time: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")
    threads: int | None = option("threads that compute, 0 for PyTorch's own choice (0)", "N")
    dry_run: bool = flag("show what would be measured and write nothing")
    name: str | None = option("name of the study; a number is added if taken", "NAME", "Study")
    out: Path | None = option("the study's folder itself; refused if it exists", "FOLDER", "Study")
    resume: Path | None = option("go on with the study in this folder", "FOLDER", "Study")


OPERANDS = Operands("RUN|MODEL...", 0, None)
MEANINGS = {
    "RUN": "a run that train made: measured as it is and with fresh weights, on the images that it held back",
    "MODEL": "a name of the catalogue: measured with fresh weights",
}
MORE = "Models are measured one after another; what is stopped goes on with --resume and loses one model at most."


def begin_or_resume(
    call: Call[SubjectsOptions], load: Callable[[], SubjectsStudy[AskedT, OpenedT, FoundT]],
    dry: Callable[[AskedT, OpenedT], Outcome], end: Callable[[Done[FoundT]], Outcome],
) -> Outcome:  # fmt: skip
    """Do what the command line asks. load: gives the study, importing it.  dry: shows what would be measured.

    end: says what was found.
    """
    began = time.monotonic()
    options = call.options
    folder = resumed(call, NO_MODELS)
    limit = seconds_of(options.time) if options.time is not None else None
    study = load()
    if folder is not None:
        return end(study.resume(folder, quiet=options.json, began=began))
    given: dict[str, Any] = {
        "data": options.data, "images": options.images, "seeds": options.seeds, "device": options.device,
        "time": limit, "threads": options.threads,
    }  # fmt: skip
    asked = study.asks(call.operands, **{name: value for name, value in given.items() if value is not None})
    if options.dry_run:
        return dry(asked, study.open(asked))
    done = study.begin(asked, name=options.name, out=options.out, command=call.command, quiet=options.json, began=began)
    return end(done)


def image_gmacs(subject: Subject) -> float:
    """GMACs of a forward pass of one image."""
    from vitrail.cost.count import gmacs

    return gmacs(subject.sketch(), subject.preprocessor.size, subject.preprocessor.channels)


def outcome(
    done: Done[FoundT], verdict: Sequence[str], claims: Sequence[Claim], next_commands: Sequence[str]
) -> Outcome:
    """Say the sentences of a finished study, and give what --json prints."""
    print()
    for sentence in verdict:
        print(wrapped(sentence))
    return Outcome(
        result={"study": done.folder, "claims": [claim.record() for claim in claims], "failed": done.failed},
        outputs=done.outputs,
        warnings=[f"{name} was not measured: {why}" for name, why in done.failed.items()],
        where=done.outputs[0],
        next=list(next_commands),
    )
