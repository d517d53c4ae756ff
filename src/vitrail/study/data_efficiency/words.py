"""What a study of data efficiency says, in short sentences: who leads, whether more images would help, how sure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitrail.report.numbers import share
from vitrail.study import cells_page
from vitrail.study.compare_work import Work
from vitrail.study.data_efficiency.results import Lead, Results
from vitrail.study.entries import lessons
from vitrail.study.learning import Learned, turned
from vitrail.study.outcomes import SPOKEN
from vitrail.study.shares import TUNING
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import amount, change, labelling, listed, scored, span
from vitrail.training.journal import duration


def verdict(found: Results) -> list[str]:
    """Who leads at small and at large sizes, who passes whom, what more images would bring, what to label next."""
    said = leading(found)
    unreliable = missed(found)
    said += [change(one, unreliable) for one in found.crossings if one.factor.value > 1]
    said += [more(one, found) for one in found.learned if one.curve is not None]
    said += checked(found)
    said.append(found.labelling.missing or labelling(found.labelling.gains))
    if not found.labelling.missing:
        said[-1] += f" (By {found.labelling.label}, which has the best score on all images.)"
    return said


def leading(found: Results) -> list[str]:
    """Who has the best score at the smallest and the largest size, and where one passes another."""
    first, last = found.leads[0], found.leads[-1]
    if len(found.learned) == 1:
        low, high = (scored(lead.score, found.measure) for lead in (first, last))
        return [
            f"{last.leader} goes from {low} with {first.images:,} training images to {high} with {last.images:,}"
            f" ({_basis(found)})."
        ]
    said = [_lead(first, found, ""), _lead(last, found, "all ")]
    return [*said, _passing(found)]


def _lead(lead: Lead, found: Results, every: str) -> str:
    score = scored(lead.score, found.measure)
    opening = f"With {every}{lead.images:,} training images {lead.leader}"
    spoken = f"{found.split} {SPOKEN[found.measure.name]}"
    if lead.sure:
        others = listed([one.second for one in lead.behind])
        return f"{opening} is best, with a {spoken} of {score}: better than {others}{_nearest(lead, found)}."
    if found.seeds < 2:
        return f"{opening} has the best {spoken}, {score}, but one seed tells no difference."
    doubt = listed(lead.rivals)
    equal = all(one.verdict == "equal" for one in lead.behind if one.second in lead.rivals)
    if equal:
        less = f"less than {amount(found.measure.minimal, found.measure)}"
        of = "differs" if len(lead.rivals) == 1 else "differ"
        return f"{opening} has the best {spoken}, {score}, but {doubt} {of} by {less}, which hardly matters."
    return f"{opening} has the best {spoken}, {score}, but {doubt} may be as good or better."


def _nearest(lead: Lead, found: Results) -> str:
    """By how much it is better than the nearest, and what that rests on."""
    nearest = lead.behind[0].together
    to = f" {lead.behind[0].second}" if len(lead.behind) > 1 else ""
    return f"; than{to} by {span(nearest.low, nearest.high, found.measure)} ({_basis(found)})" if to else (
        f" by {span(nearest.low, nearest.high, found.measure)} ({_basis(found)})"
    )  # fmt: skip


def _passing(found: Results) -> str:
    """Between which sizes the best score changes hands, as measured."""
    leaders = [lead.leader for lead in found.leads]
    if len(set(leaders)) == 1:
        sure = sum(lead.sure for lead in found.leads)
        told = "at all of them surely" if sure == len(leaders) else f"surely at {sure} of them"
        return f"{leaders[0]} has the best score at each of the {len(leaders)} sizes, {told}; none passes it here."
    said = []
    for before, after in zip(found.leads, found.leads[1:], strict=False):
        if before.leader != after.leader:
            said.append(f"{after.leader} passes {before.leader} between {before.images:,} and {after.images:,} images")
    first, last = found.leads[0], found.leads[-1]
    sure = first.sure and last.sure and first.leader != last.leader
    doubt = "" if sure else ", by the scores as they came out; it is not sure"
    return f"{listed(said)}{doubt}."


def more(one: Learned, found: Results) -> str:
    """Whether more images would help a model, by how much, and how sure that is."""
    measure, double, tenfold = found.measure, found.gains[one.label][2], found.gains[one.label][10]
    least = measure.minimal
    ahead = f"with twice the images {one.label} is predicted to reach {scored(one.ahead[2], measure)}"
    ahead += f", with ten times {scored(one.ahead[10], measure)}"
    if not double.known:
        text = f"Whether more images would help {one.label} cannot be told: its interval is not known."
    elif double.low > least:
        text = f"More images would help {one.label}: twice as many by {_by(double, found)}; {ahead}."
    elif tenfold.known and tenfold.high <= least:
        text = f"More images would hardly help {one.label}: ten times as many by {_at_most(tenfold, found)}; {ahead}."
    elif double.high <= least:
        text = (
            f"Twice the images would hardly help {one.label}, by {_at_most(double, found)}; {ahead}."
        )  # fmt: skip
    else:
        text = f"More images may help {one.label}, but it is not sure: twice as many by {_by(double, found)}; {ahead}."
    doubt = " Do not build on that: the check below missed." if one.label in missed(found) else ""
    return text + doubt


def _by(gain: Interval, found: Results) -> str:
    return f"{span(max(0.0, gain.low), gain.high, found.measure)} (95 %)"


def _at_most(gain: Interval, found: Results) -> str:
    return f"{amount(max(0.0, gain.high), found.measure)} at most (95 %)"


def missed(found: Results) -> list[str]:
    """Models whose law missed the largest size when that was hidden."""
    return [one.label for one in found.learned if one.hidden is not None and not one.hidden.held]


def checked(found: Results) -> list[str]:
    """Whether the laws predicted the largest size when that was hidden from them."""
    tried = [one for one in found.learned if one.hidden is not None]
    if not tried:
        return ["The forecasts could not be checked: hiding the largest size needs five sizes or more."]
    held = [one.label for one in tried if one.hidden is not None and one.hidden.held]
    said = []
    if held:
        size = f"{tried[0].sizes[-1]:,}"
        said.append(f"Checked: the law from the smaller sizes alone holds the score with {size} of {listed(held)}.")
    for one in tried:
        if one.hidden is not None and not one.hidden.held:
            seen, told = one.hidden.seen, one.hidden.predicted
            if found.measure.better == "higher":
                seen, told = 1 - seen, turned(told, found.measure)
            score = scored(Interval(seen, math.nan, math.nan), found.measure).partition(" ")[0]
            said.append(
                f"Checked, and missed: from the smaller sizes alone {one.label} was predicted to reach"
                f" {scored(told, found.measure)} with {one.sizes[-1]:,} images, and {score} was seen."
            )
    return said


def _basis(found: Results) -> str:
    return f"95 %, {found.seeds} seed{'s'[: found.seeds > 1]}, {found.images:,} {found.unit}"


# ------------------------------------------------------------------------------------------- around the figures


def subtitle(work: Work, found: Results) -> str:
    """What was studied on what, in one line."""
    counts = ", ".join(f"{len(work.ground.data.indices(split)):,} {split}" for split in ("train", "val", "test"))
    models = f"{len(work.asked.entries)} model{'s'[: len(work.asked.entries) > 1]}"
    seeds = f"{found.seeds} seed{'s'[: found.seeds > 1]}"
    return f"{models}, {len(found.fractions)} sizes, {seeds}, {counts} images of {work.ground.known.source.location}"


def cautions(work: Work, found: Results) -> list[str]:
    """What one must know before using it."""
    said = cells_page.chosen(work)
    said += [f"{label} has no curve: {why}." for label, why in found.missing.items()]
    said += cells_page.of_images(found.split, found.images, found.unit, found.lost)
    return said + cells_page.of_short(work, [one.label for one in found.learned])


def method(work: Work) -> list[str]:
    """How it was done, in sentences."""
    asked = work.asked
    said = [
        "Parts of the training images lie inside each other and have each class's share; groups stay whole. Validation"
        " and test images are the same at every size, and test was scored once for each run.",
        "A part f of the images was trained for f^-0.5 times the epochs of all: fewer updates than on all images, and"
        " more than equal epochs would give it.",
        "Intervals draw test images anew, the same for all models and sizes, and what seeds could have done. A law"
        " error = a n^-b + c was fitted to the scores and again to each draw; what it predicts beyond the largest size"
        " has the interval of those.",
    ]
    if asked.seconds is not None:
        said.append(
            f"{duration(asked.seconds)} were asked for. A trial measured how fast each model trains here; the"
            f" {asked.equal} of all were made equal. Epochs are the same for all seeds of a model."
        )
    elif asked.epochs is not None:
        said.append(f"All images were trained on for {asked.epochs:g} epochs, equal {asked.equal} for all models.")
    else:
        said.append("All images were trained on for as many epochs as each recipe says.")
    if work.tuned:
        grid = ", ".join(f"{rate:g}" for rate in asked.rates)
        said.append(
            f"Learning rates of {grid} times the recipe's own were tried on all training images, each for"
            f" {share(TUNING)} of the epochs, and the best on validation was taken at every size. No test image was"
            " there."
        )
    for teacher, own in lessons(asked.entries).items():
        said.append(f"{listed(own)} learned from {teacher} of the same seed, trained on the same part.")
    return said


LIMITS = (
    "Beyond the largest size nothing was measured. A law that fits inside may not hold outside; the check hides one"
    " size only.",
    "More images are taken to be like those there are. Images of what goes wrong most may help more.",
    "It holds for as much training as there was: longer training often helps transformers more than CNNs.",
    "A class's own curve says what it gains from more images of itself; what others lose to it is in no curve.",
)


def of_leads(found: Results) -> str:
    """What the table of leaders is."""
    least = amount(found.measure.minimal, found.measure)
    return (
        f"At each size all differences together hold in 95 of 100 studies; better means that all of one lies beyond"
        f" {least}. Sizes are judged one by one."
    )


def of_labels(found: Results) -> str:
    """What the table of classes is."""
    told = found.labelling
    said = f"Predicted from each class's own curve of {told.label}: points off the error of all test images."
    said += " First: in how many of 100 draws no other class gains more."
    if told.left_out:
        said += f" Left out: {_left(list(told.left_out.items()))}."
    return said


def _left(left: Sequence[tuple[str, str]]) -> str:
    shown = "; ".join(f"{name}, {why}" for name, why in left[:5])
    return shown + (f"; and {len(left) - 5} more" if len(left) > 5 else "")
