"""`vitrail explain RUN SOURCE...`: pictures of what the model looked at, and a page with all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitrail.cli.console import Counter, count
from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.verb import Outcome, Verb, command
from vitrail.errors import DataError, UsageError

if TYPE_CHECKING:
    from vitrail.explain.explanation import Explanation
    from vitrail.explain.methods import Method

PAGE = 100
"""Pictures on explain.html; the PNG files are as many as there are."""


@dataclass(frozen=True)
class ExplainOptions(Options):
    """The model, its classes and its preprocessing are the run's own."""

    method: str | None = option("rollout, raw_attention, or all (rollout)", "NAME")
    layer: int | None = option("which block; -1 is the last", "N")
    head: int | None = option("which attention head (raw_attention)", "N")
    score: str | None = option(
        "measure how far each method can be trusted on images of DATA (as train takes it), beside maps that know"
        " nothing; no SOURCE then",
        "DATA",
    )
    images: int | None = option("with --score: on how many of them (64)", "N")
    out: Path | None = option("where the PNG files and explain.html go (RUN/explained)", "FOLDER")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")


def explain(call: Call[ExplainOptions]) -> Outcome:
    """Explain every input by every method asked for."""
    options, (run, *words) = call.options, call.operands
    if options.score is not None:
        return _scored(run, words, options)
    if not words:
        raise UsageError("SOURCE is missing: expected RUN SOURCE...")
    if options.images is not None:
        raise UsageError("--images goes with --score DATA: every SOURCE is explained")
    names = choose_methods(options)
    from vitrail.contracts import Failure
    from vitrail.errors import BadImage
    from vitrail.explain.explainer import explain as explain_pixels
    from vitrail.explain.gallery import write_gallery
    from vitrail.predict.naming import FileNames
    from vitrail.predict.predictor import load
    from vitrail.predict.sources import expand

    predictor = load(run, options.device or "auto")
    folder = options.out or Path(run) / "explained"
    rows: list[dict[str, str]] = []
    shown: list[Explanation] = []
    outputs: list[Path] = []
    taken = FileNames()
    counter = Counter("explained")
    for done, source in enumerate(expand(words), start=1):
        name = source.key if isinstance(source, Failure) else source
        try:
            pixels = predictor.read(source)
        except BadImage as error:
            rows.append({"path": name, "status": "failed", "reason": error.reason})
            print(f"{name}: {error.reason}", file=sys.stderr)
            continue
        for method in names:
            made = explain_pixels(
                predictor.artifact, pixels, name, method=method,
                layer=options.layer, head=options.head,
            )  # fmt: skip
            outputs.append(made.save(folder / f"{taken.of(name, f'-{method}')}.png"))
            rows.append({"path": name, "status": "ok", "method": method, "picture": str(outputs[-1])})
            if len(shown) < PAGE:
                shown.append(_small(made))
        counter(done)
    counter.close()
    if not outputs:
        raise DataError("nothing could be explained: none of the inputs is an image that can be used")
    pictures = len(outputs)
    outputs.insert(0, write_gallery(folder, shown))
    if len(shown) < pictures:
        print(f"explain.html shows the first {len(shown)} of {pictures:,}", file=sys.stderr)
    print(f"{count(pictures, 'picture')} in {folder}")
    return Outcome(
        result={"explain": {"model": predictor.artifact.folder, "rows": rows}},
        outputs=outputs,
        where=outputs[0],
        next=[command("predict", run, words[0])],
    )


def _scored(run: str, words: Sequence[str], options: ExplainOptions) -> Outcome:
    """The table of `--score`; UsageError for what only pictures can be asked for."""
    from vitrail.cli.score import score

    if words:
        raise UsageError(f"unexpected '{words[0]}': with --score the images are those of its DATA")
    if options.layer is not None or options.head is not None:
        raise UsageError("--score measures methods as they are by default: leave the layer and the head out")
    methods = None if options.method in (None, "all") else choose_methods(options)
    return score(run, str(options.score), options.images, methods, options.out, options.device or "auto")


def choose_methods(options: ExplainOptions) -> list[str]:
    """Names of the methods to use; of "all", those that can be asked for the layer and head stated.

    Raises UsageError for an unknown method, and where no method can be asked so.
    """
    from vitrail.explain.methods import get_method, list_methods

    if options.method != "all":
        return [get_method(options.method or "rollout").name]
    able = [name for name in list_methods() if _able(get_method(name), options)]
    if not able:
        raise UsageError("no method takes this layer and head together: leave one of them out")
    return able


def _able(method: Method, options: ExplainOptions) -> bool:
    asked = ((options.layer, method.by_layer), (options.head, method.by_head))
    return all(able for value, able in asked if value is not None)


def _small(made: Explanation) -> Explanation:
    """The same over a picture no larger than the page shows, so that a hundred photographs fit in memory."""
    import numpy as np
    from PIL import Image

    from vitrail.explain.gallery import SIDE

    height, width, channels = made.image.shape
    scale = SIDE / max(height, width)
    if scale >= 1 or channels != 3:
        return made
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return replace(made, image=np.asarray(Image.fromarray(made.image).resize(size, Image.Resampling.LANCZOS)))


EXPLAIN = Verb(
    name="explain",
    summary="What the model looked at: a PNG for each image and method, the heat map over the image, and one page with "
    "all of them.",
    options=ExplainOptions,
    operands=Operands("RUN SOURCE...", 1, None),
    meanings={
        "RUN": "the folder that train made, or a model folder",
        "SOURCE": "an image, a folder of images (read to any depth), or a quoted pattern such as 'new/**/*.jpg'",
    },
    function=explain,
    examples=[
        "vitrail explain runs/train/PHOTOS new/1.jpg",
        "vitrail explain runs/train/PHOTOS new --out explained",
        "vitrail explain runs/train/PHOTOS new/1.jpg --method raw_attention --layer -1 --head 0",
        "vitrail explain runs/train/PHOTOS --score PHOTOS",
    ],
)
