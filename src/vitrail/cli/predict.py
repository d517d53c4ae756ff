"""`vitrail predict RUN SOURCE...`: one row per image, in the order given, failures included."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitrail.cli.console import Counter, count
from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.verb import Outcome, Verb, command, first_usable
from vitrail.errors import DataError, UsageError

if TYPE_CHECKING:
    from vitrail.contracts import Prediction
    from vitrail.explain.explainable import Explainable
    from vitrail.predict.map_files import MapWriter
    from vitrail.predict.predictor import Predictor


@dataclass(frozen=True)
class PredictOptions(Options):
    """The model, its classes and its preprocessing are the run's own."""

    out: Path | None = option(
        "FILE.csv, FILE.jsonl, or a folder for predictions.csv and maps/*.png (stdout, as CSV)", "OUT"
    )
    batch_size: int | None = option("images through the model at once (32)", "N")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")


def predict(call: Call[PredictOptions]) -> Outcome:
    """Stream every input through the model into a table."""
    from vitrail.explain.defaults import fitting
    from vitrail.predict.predictor import load
    from vitrail.predict.rows import Write, csv_header, csv_row, record, table_file, table_path
    from vitrail.predict.sources import expand

    options, (run, *words) = call.options, call.operands
    batch_size = 32 if options.batch_size is None else options.batch_size
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, not {batch_size}")
    path = table_path(options.out) if options.out else None
    predictor = load(run, options.device or "auto")
    maps = _maps(options.out, path, predictor)
    columns = (*predictor.columns, *(maps.columns if maps else ()))
    kept: list[dict[str, Any]] = []

    def keep(prediction: Prediction) -> None:
        kept.append(record(prediction))

    def show(prediction: Prediction) -> None:
        sys.stdout.write(csv_row(prediction, columns))

    def destination() -> AbstractContextManager[Write]:
        if path:
            return table_file(path, columns)
        if not options.json:
            sys.stdout.write(csv_header(columns))
        return nullcontext(keep if options.json else show)

    done = failed = 0
    unread: set[str] = set()
    counter = Counter("predicted", shown=path is not None or not sys.stdout.isatty())
    with destination() as write:
        for prediction in predictor.stream(expand(words), batch_size):
            write(maps(prediction) if maps else prediction)
            done += 1
            if prediction.status == "failed":
                failed += 1
                unread.add(prediction.source)
            counter(done)
    counter.close()
    print(f"{count(done, 'image')}, {failed} failed" if failed else count(done, "image"), file=sys.stderr)
    explainable: Explainable = predictor.artifact.model
    result = {"model": predictor.artifact.folder, "images": done, "failed": failed}
    return Outcome(
        result={"predict": result if path else {**result, "predictions": kept}},
        outputs=[path] if path else (),
        where=path,
        next=[command("explain", run, first_usable(words, unread))] if failed < done and fitting(explainable) else [],
        aside=path is None,
        exit_code=DataError.exit_code if failed == done else 0,
    )


def _maps(out: Path | None, table: Path | None, predictor: Predictor) -> MapWriter | None:
    """What writes masks and maps beside the table, where there are some and a folder was given."""
    from vitrail.predict.map_files import MapWriter

    task = predictor.artifact.task
    if not task.dense:
        return None
    if out is None or table is None or table == out:
        print("the maps themselves are written where --out is a folder", file=sys.stderr)
        return None
    return MapWriter(table.parent / "maps", task)


PREDICT = Verb(
    name="predict",
    summary="One row per image, in the order given. An image that cannot be read is a row with the status 'failed' and "
    "the reason. Exit code 3 if all of them failed.",
    options=PredictOptions,
    operands=Operands("RUN SOURCE...", 2, None),
    meanings={
        "RUN": "the folder that train made, or a model folder",
        "SOURCE": "an image, a folder of images (read to any depth), or a quoted pattern such as 'new/**/*.jpg'",
    },
    function=predict,
    examples=[
        "vitrail predict runs/train/PHOTOS new/*.jpg",
        "vitrail predict runs/train/PHOTOS new --out predictions.csv",
        "vitrail predict runs/train/PHOTOS new/1.jpg --json",
    ],
)
