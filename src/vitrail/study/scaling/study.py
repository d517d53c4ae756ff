"""`vitrail study scaling`: a family at several sizes with several budgets of compute: what is best for which."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrail.contracts import Source
from vitrail.report.study_tables import plain
from vitrail.run.timing import rounded
from vitrail.settings import Stated
from vitrail.study import shares
from vitrail.study.compare_asked import Wishes
from vitrail.study.compare_plan import PAGE
from vitrail.study.course import Course, Prepared, Studied, planned
from vitrail.study.ground import prepare
from vitrail.study.scaling import page, words
from vitrail.study.scaling.asked import AskedOfSizes, check, settle
from vitrail.study.scaling.results import Results, results, summary
from vitrail.study.scaling.sizes import refuse_shape, shapes
from vitrail.study.scaling.work import WorkOnSizes
from vitrail.training.journal import Journal, duration

KIND = page.KIND


def prepared(
    data: str | Path, family: str, sizes: int, largest: float, budgets: int, wishes: Wishes, stated: Stated,
    journal: Journal, *, source: Source | None = None, out: Path | None = None, began: float | None = None,
) -> Prepared:  # fmt: skip
    """Grow the family, read the data, try how fast each size trains, and share the time; nothing is written.

    began: a reading of time.monotonic() from which --time counts.
    """
    began = clock.monotonic() if began is None else began
    check(wishes, budgets)
    refuse_shape(stated)
    grown = shapes(family, sizes, largest)
    ground = prepare(data, [shape.entry for shape in grown], stated, journal, source)
    made = planned(settle(ground, wishes, grown, budgets), ground, journal, out, began)
    lines(made, journal.say)
    return made


def lines(made: Prepared, say: Callable[[str], None]) -> None:
    """Say what will be trained and what it takes, before anything is."""
    told = cost(made)
    times = f" x {told['seeds']} seeds" if told["seeds"] > 1 else ""
    for label, each in told["sizes"].items():
        tried = f", {len(each['rates'])} rates of {each['rate_epochs']:g}" if each["rates"] else ""
        epochs = ", ".join(f"{count:g}" for count in each["epochs"])
        say(f"  {label}: epochs {epochs}{times}{tried}: {duration(each['seconds'])}")
    total = sum(each["seconds"] for each in told["sizes"].values())
    say(f"budgets of every size, training: {', '.join(map(words.flops, told['budgets']))}")
    say(f"about {duration(total + PAGE)} in all, {made.asked.limit}")
    for what in made.plan.dropped:
        say(f"too little time for {what}: left out")


def cost(made: Prepared) -> dict[str, Any]:
    """The plan as data: for each size its epochs at each budget and seconds, the budgets, what was dropped."""
    ask, sizes = made.plan.ask, {}
    for label, pace in made.paces.items():
        epochs = made.plan.epochs[label]
        sizes[label] = {
            "epochs": [rounded(epochs * length) for length in ask.lengths],
            "rates": list(ask.rates) if len(ask.rates) > 1 else [],
            "rate_epochs": shares.tuning_epochs(pace, epochs) if len(ask.rates) > 1 else 0,
            "seconds": round(ask.spends(pace, epochs), 1),
            "flops_per_image": pace.flops,
        }
    label, pace = next(iter(made.paces.items()))
    largest = made.plan.epochs[label] * pace.images * pace.flops
    budgets = [largest * length for length in ask.lengths]
    return {"sizes": sizes, "budgets": budgets, "seeds": ask.seeds, "dropped": list(made.plan.dropped)}


def _told(work: WorkOnSizes, found: Results, warnings: tuple[str, ...], outputs: tuple[Path, ...]) -> Studied:
    said = tuple(words.verdict(found))
    return Studied(work.study.folder, work.asked.data, said, plain(summary(found, said)), warnings, outputs)


COURSE = Course(KIND, AskedOfSizes.of, WorkOnSizes, results, page.write, _told)
