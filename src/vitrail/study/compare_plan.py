"""The plan of a comparison: its splits, the time of each part, and how it is said before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from vitrail.report.numbers import share
from vitrail.report.study_tables import plain
from vitrail.run.timing import MARGIN
from vitrail.study import shares, splits
from vitrail.study.compare_asked import Asked
from vitrail.study.ground import Ground
from vitrail.study.measure.records import restored as dataclass_of
from vitrail.study.shares import Ask, Pace, Shares
from vitrail.training.journal import duration

MEASURING, LEAST_MEASURING, MOST_MEASURING = 0.02, 8.0, 60.0
"""Share of the time to measure one model, and its bounds in seconds; without --time, the least twice over."""
PAGE = 8.0
"""Seconds for the statistics and the report."""
TRIAL, PLAIN_TRIAL = 0.05, 2.0
"""Share of --time for trying how fast all models train; without, seconds for each."""
ALL = "all"


def trial_seconds(asked: Asked) -> float:
    """Seconds to try how fast all models train."""
    return PLAIN_TRIAL * len(asked.entries) if asked.seconds is None else TRIAL * asked.seconds


def first_plan(asked: Asked, paces: Mapping[str, Pace], gone: float) -> Shares:
    """What will be trained, and for how long. gone: seconds of the limit.

    Raises UsageError, with the time that would do, where too little is left.
    """
    if asked.seconds is None:
        return Shares(asked.ask, shares.stated(asked.epochs, paces, asked.equal))
    left = training_seconds(asked, asked.seconds - gone)

    def whole(training: float) -> float:
        total = asked.seconds or 0.0
        for _ in range(2):  # a longer time has a longer trial, and longer measuring
            kept = len(asked.entries) * measuring(replace(asked, seconds=total)) + PAGE
            total = max(gone, TRIAL * total) + (training + kept) / (1 - MARGIN)
        return total

    return shares.share(left, paces, asked.ask, asked.equal, asked.limit, whole)


def measuring(asked: Asked) -> float:
    """Seconds kept for measuring one model."""
    if not asked.measures:
        return 0.0
    if asked.seconds is None:
        return 2 * LEAST_MEASURING
    return min(MOST_MEASURING, max(LEAST_MEASURING, MEASURING * asked.seconds))


def training_seconds(asked: Asked, left: float) -> float:
    """Of the seconds that are left, those for training: without a margin, measuring and the report."""
    return left * (1 - MARGIN) - len(asked.entries) * measuring(asked) - PAGE


def divisions(ground: Ground, asked: Asked, ask: Ask) -> dict[str, splits.Division]:
    """Every division that cells obey, by the name of its file. Raises DataError for folds that there cannot be."""
    data, task, config = ground.data, ground.task.name, ground.config.data
    stratify = config.stratify
    made: dict[str, splits.Division] = {}
    if asked.folds:
        val = Fraction(str(config.val_fraction))
        for repeat in range(ask.seeds // ask.step):
            for fold, division in enumerate(splits.folds(data, task, asked.folds, repeat, val, stratify)):
                made[fold_split(repeat, fold)] = division
        first = made[fold_split(0, 0)]
    else:
        first = made[ALL] = splits.whole(data)
    if len(ask.rates) > 1:
        made["tuning"] = splits.for_tuning(first)
    for fraction in ask.fractions:
        for seed in range(ask.part_seeds):
            made[part_split(fraction, seed)] = splits.part(data, task, fraction, seed, stratify)
    return made


def fold_split(repeat: int, fold: int) -> str:
    """The name of a fold's split file."""
    return f"repeat-{repeat}-fold-{fold}"


def part_split(fraction: Fraction, seed: int) -> str:
    """The name of a part's split file."""
    return f"part-{str(fraction).replace('/', '_')}-seed-{seed}"


def record(plan: Shares, paces: Mapping[str, Pace]) -> dict[str, Any]:
    """A plan with the paces it was made by, for study.json."""
    ask = {**plain(replace(plan.ask, fractions=())), "fractions": [str(f) for f in plan.ask.fractions]}
    return {"ask": ask, "epochs": dict(plan.epochs), "dropped": list(plan.dropped), "paces": plain(dict(paces))}


def restored(decided: Mapping[str, Any]) -> tuple[Shares, dict[str, Pace]]:
    """What `record` gave."""
    ask = dict(decided["ask"])
    made = Ask(
        **{**ask, "rates": tuple(ask["rates"]), "fractions": tuple(map(Fraction, ask["fractions"])),
           "lengths": tuple(ask["lengths"])}
    )  # fmt: skip
    paces = {label: dataclass_of(Pace, pace) for label, pace in decided["paces"].items()}
    return Shares(made, dict(decided["epochs"]), tuple(decided["dropped"])), paces


def lines(asked: Asked, plan: Shares, paces: Mapping[str, Pace], say: Callable[[str], None]) -> None:
    """Say what will be trained and what it takes, before anything is."""
    total = sum(plan.ask.spends(pace, plan.epochs[label]) for label, pace in paces.items())
    ask = plan.ask
    runs = f"{ask.seeds // ask.step} x {ask.step} folds" if asked.folds else f"{ask.seeds} seeds"
    for sentence in asked.why:
        say(sentence)
    for label, pace in paces.items():
        seconds = ask.spends(pace, plan.epochs[label])
        said = f"  {label}: {runs} of {plan.epochs[label]:g} epoch{'s'[: plan.epochs[label] != 1]}"
        if len(ask.rates) > 1:
            tried = shares.tuning_epochs(pace, plan.epochs[label])
            said += f", {len(ask.rates)} rates of {tried:g}"
        if ask.fractions:
            said += f", {len(ask.fractions)} parts x {ask.part_seeds} seeds"
        rate = f"at {1 / pace.part.speed.image:.3g} images/s"
        say(f"{said}: {duration(seconds)}, {share(seconds / total)} of the time, {rate}")
    extra = len(paces) * measuring(asked) + PAGE
    say(f"about {duration(total + extra)} in all, {asked.limit}, equal {asked.equal}")
    for what in plan.dropped:
        say(f"too little time for {what}: left out")
