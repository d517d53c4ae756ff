"""`vitrail evaluate RUN`: the metrics of a run's best model on one of its splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitrail.cli.console import table
from vitrail.cli.options import Call, Operands, Options, option
from vitrail.cli.verb import Outcome, Verb, command


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """Data and preprocessing are remembered by the run."""

    split: Literal["train", "val", "test"] | None = option("train, val or test (test)", "NAME")
    device: Literal["auto", "cpu", "cuda", "mps"] | None = option("auto, cpu, cuda or mps", "NAME")
    workers: int | None = option("processes that read images; never changes the result", "N")


def evaluate(call: Call[EvaluateOptions]) -> Outcome:
    """Score the split, show the metrics, write its predictions."""
    from vitrail.run import evaluate as score
    from vitrail.training.journal import Journal

    journal = Journal(quiet=call.options.json)
    run, split = Path(call.operands[0]), call.options.split or "test"
    device, workers = call.options.device or "auto", call.options.workers or 0
    metrics, outputs = score(run, split, device, workers, journal=journal)
    print(table(["metric", split], [[name, f"{value:.4f}"] for name, value in metrics.items()], numbers=[split]))
    return Outcome(
        result={"run": run, "metrics": {split: metrics}},
        outputs=outputs,
        warnings=journal.warnings,
        where=outputs[0] if outputs else None,
        next=[command("explain", run, "IMAGE")],
    )


EVALUATE = Verb(
    name="evaluate",
    summary="Metrics of a run's best model on one of its splits. The data and the preprocessing are the run's own.",
    options=EvaluateOptions,
    operands=Operands("RUN", 1, 1),
    meanings={"RUN": "the folder that train made"},
    function=evaluate,
    examples=["vitrail evaluate runs/train/PHOTOS", "vitrail evaluate runs/train/PHOTOS --split val --json"],
)
