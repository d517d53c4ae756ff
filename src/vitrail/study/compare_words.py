"""What the report of a comparison says around its figures: what they are, how they were got, what they cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from vitrail.report.numbers import share
from vitrail.study import cells_page
from vitrail.study.compare_asked import Asked
from vitrail.study.compare_results import Results, Row
from vitrail.study.compare_work import Work
from vitrail.study.entries import lessons
from vitrail.study.measure.calibration import Calibration
from vitrail.study.measure.robustness import Robustness
from vitrail.study.shares import ENOUGH, TUNING, WORTH
from vitrail.study.statistics.recommendation import Measure
from vitrail.study.statistics.words import amount, listed
from vitrail.training.journal import duration


def runs(asked: Asked, work: Work) -> str:
    """How many full runs of each model, in words."""
    ask = work.plan.ask
    if asked.folds:
        repeats = ask.seeds // ask.step
        return f"{asked.folds} folds, {repeats} time{'s'[: repeats > 1]}"
    done = min((len(each) for each in work.full.values()), default=ask.seeds)
    return f"{done} seed{'s'[: done > 1]}"


def epochs(count: float) -> str:
    """A number of epochs, as people say it."""
    return f"{count:g} epoch{'s'[: count != 1]}"


def subtitle(work: Work, found: Results) -> str:
    """What was compared on what, in one line."""
    counts = ", ".join(f"{len(work.ground.data.indices(split)):,} {split}" for split in ("train", "val", "test"))
    images = f"{work.ground.images:,} images" if work.asked.folds else f"{counts} images"
    return f"{len(found.rows)} models, {runs(work.asked, work)}, {images} of {work.ground.known.source.location}"


def each(work: Work) -> str:
    """What the single scores are of."""
    return "each fold" if work.asked.folds else "each seed"


def cautions(work: Work, found: Results) -> list[str]:
    """What one must know before using the recommendation."""
    said = cells_page.chosen(work)
    for row in found.rows:
        if row.failed:
            said.append(f"{row.label} is not compared: {row.failed}.")
        if row.label in work.unmeasured:
            said.append(f"{row.label} could not be measured beside its score: {work.unmeasured[row.label]}.")
    said += cells_page.of_images(found.split, found.images, found.recommendation.unit, found.lost)
    if found.blind is not None and 0 < len(found.untaught) < sum(row.score is not None for row in found.rows):
        verb = "is" if len(found.untaught) == 1 else "are"
        said.append(f"{listed(found.untaught)} {verb} not clearly better than {found.blind.what} would be.")
    return said + cells_page.of_short(work, [row.label for row in found.rows])


def of_scores(work: Work, found: Results) -> str:
    """What the table of scores is."""
    measure = found.measure
    unit = "percent" if measure.scale == 100 else measure.unit or "the target's unit"
    what = "training and every fold" if work.asked.folds else f"the {found.recommendation.unit} and the seeds"
    higher = "higher" if measure.better == "higher" else "lower"
    drawn = "" if found.split == "val" else " It was scored once for each run."
    return f"In {unit}, {higher} is better; the mean over {runs(work.asked, work)}, with what {what} leave open.{drawn}"


def of_differences(measure: Measure, unit: str) -> str:
    """What the table of differences is."""
    return (
        f"In {unit}; positive where the first is better. All intervals in the column “all together” hold together in 95"
        f" of 100 studies, and verdicts are read from them: better or worse if all of one lies beyond"
        f" {amount(measure.minimal, measure)}, equal if all of it lies within, else it cannot be told."
    )


def of_costs(rows: Sequence[Row]) -> str:
    """What the table of costs is."""
    first = rows[0].measured
    assert first is not None, "asked only for what was measured"
    count = first.speed.threads
    threads = f", {count} thread{'s'[: count > 1]}" if first.device == "cpu" else ""
    beyond = "what the model and one answer take beyond Python and PyTorch, " if first.memory.peaks else ""
    return (
        f"Measured on {first.device}{threads}, with the work that the machine had besides; ms are of one image at"
        " batch 1 (median and 95th percentile), from the prepared image to the answer."
        f" Memory: {beyond}{first.memory.what}. Energy: {first.energy.what}."
    )


def of_robustness(one: Robustness) -> str:
    """What the table of robustness is."""
    return (
        f"The share of the {one.metric} on unchanged images that is lost, the mean over three levels, on {one.images}"
        f" {one.split} images of the first full run; below 0 is a gain, with so few images often chance. {one.moved}"
    ).strip()


def of_calibration(found: Sequence[Calibration]) -> str:
    """What the table of calibration is."""
    return (
        f"On {found[0].images} {found[0].split} images of the first full run; 0 is best. ece: how far confidence and"
        " the share of right answers lie apart; few images make it look larger than it is."
    )


def of_training(work: Work) -> str:
    """What the table of training is."""
    said = "Rates are multiples of the recipe's own, chosen on validation images alone. " if work.tuned else ""
    for teacher, own in lessons(work.asked.entries).items():
        said += f"{listed(own)} learned from {teacher} of the same seed, which is in the time of {teacher} alone. "
    return said + "Time is of all runs of a model, in this study, reports included."


def method(work: Work, found: Results) -> list[str]:
    """How it was done, in sentences."""
    asked, ask = work.asked, work.plan.ask
    said = [
        "All models had the same images in the same splits and the same rules for settings; what was not stated, the"
        " recipe chose for each, and each run's report says why.",
    ]
    if asked.folds:
        repeats = ask.seeds // ask.step
        again = f", {repeats} times over with other folds" if repeats > 1 else ""
        said.append(
            f"Each image was tested once in {asked.folds} folds{again};"
            " validation images were cut from the rest. Intervals have Nadeau and Bengio's correction for training sets"
            " that overlap."
        )
    else:
        said.append(
            f"Test images were the same for all; {runs(asked, work)} of each model. Intervals come from drawing"
            f" {found.recommendation.unit} anew, the same for all models, and from what seeds could have done."
        )
    if asked.seconds is not None:
        said.append(
            f"{duration(asked.seconds)} were asked for. A trial measured how fast each model trains here; the"
            f" {asked.equal} of all were made equal, at most {ENOUGH:g} times the recipe's own epochs. Epochs are the"
            " same for all seeds of a model. Where time was short, learning curves were to go first, then tuning,"
            f" then seeds, until every full run had {share(WORTH)} of its recipe's epochs."
        )
    elif asked.epochs is not None:
        said.append(f"Full runs had {epochs(asked.epochs)}, equal {asked.equal} for all.")
    else:
        said.append("Each model trained for as many epochs as its recipe says.")
    if work.tuned:
        grid = ", ".join(f"{rate:g}" for rate in asked.rates)
        said.append(
            f"Learning rates of {grid} times the recipe's own were tried for each model, each for {share(TUNING)} of a"
            " full run's epochs with one seed, and the best on validation was taken. No test image was there."
        )
    if found.learned:
        said.append(
            "Parts of the training images lie inside each other and have each class's share; a part f was trained for"
            " f^-0.5 times the epochs."
            + (" A taught model learned from a teacher that saw the same part." if lessons(asked.entries) else "")
        )
    least = amount(found.measure.minimal, found.measure)
    said.append(
        f"A model may be recommended if no other can be better by more than {least}; of several such models the"
        " cheapest is taken. Where there is none, nothing is recommended."
    )
    return said


def limits(work: Work, found: Results) -> list[str]:
    """What the figures cannot say, in sentences."""
    said = [
        "It holds for these images, this machine's speed, and as much training as there was: longer training often"
        " helps transformers more than CNNs.",
        "Models from weights that learned on other images (vitrail train --from) may come out in another order.",
        "Latencies are this machine's, and change with other work on it.",
    ]
    if work.tuned and work.asked.folds:
        said.append(
            "Rates were chosen once, on images that are not tested in the first fold; other folds test some of them."
        )
    if found.learned:
        said.append("A learning curve is measured up to all images there are; beyond, nothing was measured.")
    if work.tuned:
        said.append("The rate is the only setting that was tuned, over a small grid.")
    else:
        said.append("No setting was tuned: the recipe's own learning rate may suit one model better than another.")
    return said
