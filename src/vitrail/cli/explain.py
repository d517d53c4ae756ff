"""`vitrail explain RUN SOURCE...`: pictures of what the model looked at, and a page with all of them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitrail.cli.console import Counter, count
from vitrail.cli.options import Call, Operands, Options, flag, option, spelled
from vitrail.cli.verb import Outcome, Verb, command, first_usable
from vitrail.errors import BadImage, DataError, UsageError
from vitrail.explain.methods import list_methods

if TYPE_CHECKING:
    from vitrail.cli.explained import Explainer
    from vitrail.predict.predictor import Predictor


@dataclass(frozen=True)
class ExplainOptions(Options):
    """The model, its classes and its preprocessing are the run's own."""

    method: str | None = option("one by name, or all that fit the model, side by side (the family's own)", "NAME")
    target_class: str | None = option("explain this class, label, number or map instead of the answer", "NAME")
    against: str | None = option("why the target and not this one", "NAME")
    region: str | None = option(
        "of masks and maps: only where the target is the answer, or where a mask file of the image's size is not 0",
        "answer|FILE",
    )
    reader: Literal["cls", "dist"] | None = option("which token to read from, cls or dist (both of them)", "TOKEN")
    cell: str | None = option("where one patch looks: its row and column in the last grid, such as 3,4", "ROW,COLUMN")
    layer: int | None = option("which layer; -1 is the last", "N")
    head: int | None = option("which attention head (raw_attention, attention_gradient)", "N")
    grid: bool = flag("also draw every layer and head on one picture")
    statistics: bool = flag(
        "also draw what the model is like on the whole: how far and how evenly its heads look, layer by layer, its"
        " positions, its first filters"
    )
    beside: str | None = option("other runs to explain the same images by, with commas between them", "RUN,RUN")
    score: str | None = option(
        "measure how far each method can be trusted on images of DATA (as train takes it), beside maps that know"
        " nothing; no SOURCE then",
        "DATA",
    )
    images: int | None = option("with --score: on how many of them (64)", "N")
    viewer_mb: float | None = option("how large explain.html may become; it says what it leaves out (15)", "MB")
    out: Path | None = option("where the PNG files and explain.html go (RUN/explained)", "FOLDER")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")


OF_PICTURES = (
    "target_class",
    "against",
    "region",
    "reader",
    "cell",
    "layer",
    "head",
    "grid",
    "beside",
    "viewer_mb",
    "statistics",
)
"""Options that go with SOURCE and not with --score."""


def explain(call: Call[ExplainOptions]) -> Outcome:
    """Explain every input by every method asked for."""
    options, (run, *words) = call.options, call.operands
    if options.score is not None:
        return _scored(run, words, options)
    if not words:
        raise UsageError("SOURCE is missing: expected RUN SOURCE...")
    if options.images is not None:
        raise UsageError("--images goes with --score DATA: every SOURCE is explained")
    if options.viewer_mb is not None and not 0 < options.viewer_mb < 2000:
        raise UsageError(f"--viewer-mb takes a number of megabytes above 0, not {options.viewer_mb:g}")
    from vitrail.cli.explained import Files
    from vitrail.cli.profiled import write_all
    from vitrail.contracts import Failure
    from vitrail.explain.viewer.album import MEGABYTES, Album
    from vitrail.predict.naming import FileNames
    from vitrail.predict.sources import expand

    explainers = _explainers(run, options)
    files = Files(options.out or Path(run) / "explained", Album(options.viewer_mb or MEGABYTES), FileNames())
    counter, done, unread = Counter("explained"), 0, 0
    for done, source in enumerate(expand(words), start=1):
        name = source.key if isinstance(source, Failure) else source
        try:
            files.add(source, name, explainers)
        except BadImage as error:
            files.failed(name, error.reason)
            unread += 1
        counter(done)
    counter.close()
    if not files.outputs:
        why = "none of the inputs is an image that can be used" if unread == done else "the reasons stand above"
        raise DataError(f"nothing could be explained: {why}")
    drawn, told_of = write_all(files.folder, [each.statistics for each in explainers if each.statistics])
    page = files.album.write(files.folder)
    for note in files.album.notes():
        print(note.replace("This page", "explain.html"), file=sys.stderr)
    unexplained = {row["path"] for row in files.rows if row["status"] == "failed"}
    failed = len(unexplained)
    told = f"; {failed} of {count(done, 'image')} failed, for the reasons above" if failed else ""
    print(f"{count(len(files.outputs), 'picture')} in {files.folder}{told}")
    return Outcome(
        result={
            "explain": {
                "model": explainers[0].predictor.artifact.folder,
                "rows": files.rows,
                **({"statistics": told_of} if options.statistics else {}),
            }
        },
        outputs=[page, *files.outputs, *drawn],
        where=page,
        next=[command("predict", run, first_usable(words, unexplained))],
    )


def _explainers(run: str, options: ExplainOptions) -> list[Explainer]:
    """The run's model and those beside it, each with its methods.

    Raises UsageError for an unknown method, and where none fits a model that can be asked all this.
    """
    from vitrail.cli.explained import Explainer, by_name, cell_of, choose, region_of
    from vitrail.cli.profiled import Statistics
    from vitrail.explain.explainer import output_names
    from vitrail.explain.methods import get_method
    from vitrail.explain.question import Question
    from vitrail.predict.predictor import load

    if options.method not in (None, "all"):
        get_method(str(options.method))
    cell, region = cell_of(options.cell), region_of(options.region)
    runs = [run, *(one.strip() for one in (options.beside or "").split(",") if one.strip())]
    predictors = [load(one, options.device or "auto") for one in runs]
    made = []
    for predictor, label in zip(predictors, _labels(runs, predictors), strict=True):
        names = output_names(predictor.artifact.task)
        target, against = (by_name(text, names) for text in (options.target_class, options.against))
        question = Question(target, against, region, options.reader, cell)
        methods = choose(predictor.artifact.model, options.method, question, options.layer, options.head)
        sheets = _sheets(predictor, methods) if options.grid else []
        statistics = Statistics(predictor, label if len(runs) > 1 else "") if options.statistics else None
        made.append(Explainer(predictor, label, question, methods, options.layer, options.head, sheets, statistics))
    if options.grid and not any(explainer.sheets for explainer in made):
        raise UsageError("--grid: this model has no layers and heads of attention to draw")
    return made


def _sheets(predictor: Predictor, methods: Sequence[str]) -> list[str]:
    """Of the methods those that look at single heads, else raw attention; none for a model without attention."""
    from vitrail.explain.methods import get_method

    own = [name for name in methods if get_method(name).per_head is not None]
    if own:
        return own
    return [] if get_method("raw_attention").fits(predictor.artifact.model) else ["raw_attention"]


def _labels(runs: Sequence[str], predictors: Sequence[Predictor]) -> list[str]:
    """What models are called: by their name, and by their run too where that is not enough."""
    models = [predictor.artifact.config.model.name for predictor in predictors]
    if len(set(models)) == len(models):
        return models
    named = [f"{model} of {Path(run).name or run}" for model, run in zip(models, runs, strict=True)]
    return [f"{name} ({place})" if named.count(name) > 1 else name for place, name in enumerate(named, start=1)]


def _scored(run: str, words: Sequence[str], options: ExplainOptions) -> Outcome:
    """The table of `--score`; UsageError for what only pictures can be asked for."""
    from vitrail.cli.score import score
    from vitrail.explain.methods import get_method

    if words:
        raise UsageError(f"unexpected '{words[0]}': with --score the images are those of its DATA")
    for field in dataclasses.fields(options):
        if field.name in OF_PICTURES and getattr(options, field.name) != field.default:
            raise UsageError(f"--score measures methods as they are by default: leave {spelled(field.name)} out")
    methods = None if options.method in (None, "all") else [get_method(str(options.method)).name]
    return score(run, str(options.score), options.images, methods, options.out, options.device or "auto")


EXPLAIN = Verb(
    name="explain",
    summary="What the model looked at: a PNG for each image and method, the heat map over the image, and one page on "
    "which every patch can be asked where it looks.",
    options=ExplainOptions,
    operands=Operands("RUN SOURCE...", 1, None),
    meanings={
        "RUN": "the folder that train made, or a model folder",
        "SOURCE": "an image, a folder of images (read to any depth), or a quoted pattern such as 'new/**/*.jpg'",
    },
    function=explain,
    more="Methods: " + ", ".join(list_methods()) + ". One that does not fit a model says why, and names those that do. "
    "An image that cannot be explained is named with the reason; the others go on. Exit code 3 if all of them failed.",
    examples=[
        "vitrail explain runs/train/PHOTOS new/1.jpg",
        "vitrail explain runs/train/PHOTOS new --out explained",
        "vitrail explain runs/train/PHOTOS new/1.jpg --method all --beside runs/train/PHOTOS-2",
        "vitrail explain runs/train/PHOTOS new/1.jpg --target-class cat --against dog",
        "vitrail explain runs/train/PHOTOS new/1.jpg --method raw_attention --layer -1 --head 0 --grid",
        "vitrail explain runs/train/PHOTOS new --statistics",
        "vitrail explain runs/train/PHOTOS --score PHOTOS",
    ],
)
