"""What the curves say, in short sentences for someone who reads of exponents for the first time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from vitrail.report.numbers import number
from vitrail.study import claims as claimed
from vitrail.study.claims import NOT, PART, SHOWN, UNKNOWN, Claim, Sight, Verdict
from vitrail.study.growth.laws import Crossing, Law
from vitrail.study.growth.measured import PASSES, Measured, Pass
from vitrail.study.growth.order import FAILED, Cell
from vitrail.study.statistics.growth import Exponent
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import listed

CALLED = {"forward": "a forward pass", "step": "a training step"}
BUSY = 1.3
"""A load from which on times are not to be trusted to a tenth."""
LOUD = 0.5
"""A spread of rounds from which on the same holds."""
MOST = 5
"""Sentences of a summary from which on no crossing is added: the page has a table of them."""
BETWEEN = 1.5
"""The exponent of counted operations that parts those that grow with the square from those in proportion."""
SPARE = 1.2
"""How much more time is advised than was foretold."""
EXPONENT = "exponent of its time"
FAR = 8.0
"""Times the largest measured side beyond which a prediction is not worth a number."""

METHOD = (
    "Every model has fresh weights and blank images: neither changes how long a pass takes. A training step is forward "
    "pass, loss, backward pass and AdamW, as `train` computes it; a forward pass is in evaluation mode, without "
    "gradients.",
    "A time is the best of five rounds, each repeating the pass for a tenth of a second or once, after passes that are "
    "not counted. The best is what other work on the machine added least to; how far the rounds spread is said beside.",
    "Attention's time is that of softmax(QK^T)V alone: every call that a pass makes is made again by itself, on "
    "tensors of the same shapes, memory layout and dtype, in a training step with its backward pass. The projections "
    "around it, windows' cutting and joining, and PVT's reduction of keys are the rest of the model.",
    "N is the number of tokens of the first grid: patches of a ViT, cells of the first stage of a hierarchy or a CNN. "
    "An exponent p says that the cost grows as N^p: 1 is in proportion, 2 with the square. It is the slope of a line "
    "through the logarithms; its 95 % interval comes from how far the sizes lie off that line (Student's t). The "
    "smallest sizes are left out of it where time hardly changes from one to the next: there a call's own cost shows.",
    "Two terms: time = a P + b P^2 with P the pixels of the image, a and b not negative, by least squares of relative "
    "deviations. Crossings beyond the largest size are where two such curves meet.",
    "FLOPs are counted, two for each multiply-accumulate of convolutions, linear layers and both products of "
    "attention; of a training step by tracing it on tensors without memory.",
    "Memory is the most that PyTorch's allocator had given out at once, weights and optimizer included; the predicted "
    "figure is that of `vitrail plan`.",
)
LIMITS = (
    "These are times of this machine, these threads and this batch; another has other crossings, and may have other "
    "exponents where its memory or its kernels are others.",
    "Fused attention forms no matrix of N x N, so its memory need not grow with the square; where a kernel forms one, "
    "as where a bias is learned, it does.",
    "An interval of an exponent says how straight the line is, not what a machine with other work would give.",
)


def exponent(found: Exponent | None) -> str:
    """1.93 (1.85 to 2.01), or a dash where it is not known."""
    if found is None:
        return "–"
    e = found.exponent
    return f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})" if e.known else f"{e.value:.2f}"


def verdict(laws: Sequence[Law], crossings: Sequence[Crossing], needed: float = 0.0) -> list[str]:
    """How time grows, who is fastest where, what of textbooks' claims is seen, and where a faster one changes.

    needed: seconds that would have been enough to say how anything grows, where nothing can be said.
    """
    grown = [law for law in laws if law.what == "forward" and law.time is not None]
    said = _grown(grown) if any(law.time is not None for law in laws) else [_too_little(laws, needed)]
    fastest = [text for what in PASSES if (text := _cheapest([law for law in laws if law.what == what]))]
    said += [f"The fastest {'; '.join(fastest)}."] if fastest else []
    said += claimed.summary(claims([law for law in laws if law.what == "forward"]))
    worth = [one for one in crossings if _worth(one, _largest(laws))]
    return [*said, crossed(worth[0], _largest(laws))] if worth and len(said) < MOST else said


def _too_little(laws: Sequence[Law], needed: float) -> str:
    sizes = sorted({cell.size for law in laws for cell in law.cells})
    some = f"at {listed([str(size) for size in sizes])} px" if sizes else "at no size"
    text = f"Too little was measured to say how costs grow: that takes four sizes of a model, and this is {some}."
    if needed:
        return f"{text} {more_time(needed)}"
    return f"{text} Name four sizes or more that fit this machine (--image-sizes)."


def more_time(needed: float) -> str:
    """What to do where the time was too short. needed: seconds, as foretold."""
    return f"Start again with --time {math.ceil(SPARE * needed / 60)}m or more, or with fewer models."


def _grown(laws: Sequence[Law]) -> list[str]:
    """The exponents of a forward pass, the steepest first; of more models than are named at once the two ends."""
    if not laws:
        return []
    ordered = sorted(laws, key=lambda law: -law.time.exponent.value if law.time else 0.0)
    told = [f"N^{exponent(law.time)} in {law.model}" for law in ordered]
    ends = listed(told) if len(told) <= claimed.NAMED else f"between {told[-1]} and {told[0]}"
    return [f"With N tokens, the time of a forward pass grows as {ends}: 1 is in proportion, 2 with the square."]


def claims(laws: Sequence[Law]) -> list[Claim]:
    """Of attention whose counted operations grow as N^2, and of one whose operations grow as N."""
    attending = [(law, law.attention) for law in laws if law.attention is not None]
    square = [pair for pair in attending if _counted(pair[0]) >= BETWEEN]
    rule = "The exponent of its time over tokens, which its operations, as counted, {}. "
    return claimed.told([
        Claim(
            "attention costs the square of the number of tokens",
            "Attention costs the square of the number of tokens.", EXPONENT,
            tuple(_sight(law, found, _square) for law, found in square),
            rule.format("have as 2") + "Shown where the interval holds 2, or the largest sizes have 1.8 to 2.2; in part"
            " where it lies between 1 and 2.",
        ),
        Claim(
            "attention in windows costs in proportion to the tokens",
            "Attention in windows, or to a fixed number of keys, costs in proportion to the number of tokens.",
            EXPONENT,
            tuple(_sight(law, found, _proportion) for law, found in attending if _counted(law) < BETWEEN),
            rule.format("have as about 1") + "Shown where the interval holds 1, or the exponent is 0.85 to 1.15; in"
            " part where it is less: each call has a cost of its own.",
        ),
    ])  # fmt: skip


def _counted(law: Law) -> float:
    """The exponent of attention's operations over tokens, from the smallest size to the largest."""
    first, last = law.cells[0], law.cells[-1]
    operations = (last.attention_flops / last.batch) / (first.attention_flops / first.batch)
    return math.log(operations) / math.log(last.tokens / first.tokens)


def _sight(law: Law, found: Exponent, judged: Callable[[Interval, float], Verdict]) -> Sight:
    steepest = found.local[-1]
    figure = f"{exponent(found)}; {steepest:.2f} between the two largest sizes"
    return Sight(law.model, called(law.what), judged(found.exponent, steepest), figure)


def _square(e: Interval, steepest: float) -> Verdict:
    if e.holds(1.0) and e.holds(2.0):
        return UNKNOWN
    if e.holds(2.0) or (e.high < 2.0 and 1.8 <= steepest <= 2.2):
        return SHOWN
    return PART if 1.15 < e.value < 2.0 and not e.holds(1.0) else NOT


def _proportion(e: Interval, _: float) -> Verdict:
    if e.holds(1.0) and e.holds(2.0):
        return UNKNOWN
    if e.holds(1.0) or 0.85 <= e.value <= 1.15:
        return SHOWN
    return PART if e.value < 1.0 else NOT


def _cheapest(laws: Sequence[Law]) -> str:
    """Which model is the fastest at the smallest and the largest size that all have; "" where there is no such size."""
    sizes = set.intersection(*({cell.size for cell in law.cells} for law in laws)) if len(laws) > 1 else set()
    if not sizes:
        return ""
    (small, first), (large, last) = ((size, _fastest(laws, size)) for size in (min(sizes), max(sizes)))
    said = [f"{first[0]} at {small} px ({number(first[1])} ms an image)"]
    if large > small:
        name = "still" if last[0] == first[0] else last[0]
        said.append(f"{name} at {large} px ({number(last[1])} ms)")
    return f"in {CALLED[laws[0].what]} is {' and '.join(said)}"


def _fastest(laws: Sequence[Law], size: int) -> tuple[str, float]:
    """The model, and its milliseconds an image."""
    times = {law.model: next(cell.time for cell in law.cells if cell.size == size) for law in laws}
    best = min(times, key=lambda model: times[model])
    return best, 1000 * times[best]


def crossed(one: Crossing, largest: int) -> str:
    """Where a model becomes the cheaper one."""
    what = CALLED[one.what]
    if not one.predicted:
        return (
            f"{what.capitalize()} of {one.cheaper} takes less time than one of {one.dearer} from about "
            f"{one.size.value:.0f} px on (measured, between {one.size.low:.0f} and {one.size.high:.0f} px)."
        )
    if not math.isfinite(one.size.value):
        return f"{what.capitalize()} of {one.cheaper} is not predicted to become faster than one of {one.dearer}."
    high = f"{one.size.high:.0f} px" if math.isfinite(one.size.high) else "never"
    return (
        f"Beyond what was measured ({largest} px), {what} of {one.cheaper} is predicted to take less time than one of "
        f"{one.dearer} from about {one.size.value:.0f} px on; it may be anything from {one.size.low:.0f} px to {high}."
    )


def _worth(one: Crossing, largest: int) -> bool:
    return one.clear and (not one.predicted or one.size.value <= FAR * largest)


def _largest(laws: Sequence[Law]) -> int:
    return max((cell.size for law in laws for cell in law.cells), default=0)


def cautions(cells: Sequence[Measured]) -> list[str]:
    """What makes the times doubtful: other work, rounds that differ."""
    said = []
    loads = sorted(load for cell in cells for load in cell.load)
    if loads and loads[len(loads) // 2] > BUSY:
        said.append(
            f"This machine had other work: one thread took {loads[len(loads) // 2]:.1f} times as long as it computed "
            f"(median; {loads[0]:.1f} to {loads[-1]:.1f}). Measure again on a quiet machine before building on a time."
        )
    loud = [cell for cell in cells if cell.spread > LOUD]
    if loud:
        said.append(
            f"In {len(loud)} of {len(cells)} cells the slowest round took over {1 + LOUD:g} times as long as the "
            "fastest: their times are rough."
        )
    return said


def left_out(left: Mapping[Cell, str]) -> list[str]:
    """Where curves end before the largest size that was asked for: a sentence for each kind of reason."""
    first: dict[tuple[str, Pass], Cell] = {}
    for cell in left:
        first.setdefault((cell.model, cell.what), cell)
    groups: dict[str, dict[str, dict[Pass, int]]] = {}
    for cell in first.values():
        kind, _, why = left[cell].partition(": ")
        head = f"Left out since it {kind} ({why})" if kind == FAILED else f"Left out for {kind}"
        groups.setdefault(head, {}).setdefault(cell.model, {})[cell.what] = cell.size
    return [f"{head}: {listed([_curve(*one) for one in models.items()])}." for head, models in groups.items()]


def _curve(model: str, sizes: Mapping[Pass, int]) -> str:
    """vit from 256 px on; of a pass alone, or of two that end at different sizes, each by itself."""
    if len(sizes) == len(PASSES) and len(set(sizes.values())) == 1:
        return f"{model} from {next(iter(sizes.values()))} px on"
    return listed([f"{CALLED[what]} of {model} from {size} px on" for what, size in sizes.items()])


def follows(law: Law) -> str:
    """How far time follows FLOPs."""
    if law.flops is None:
        return "–"
    first, last = (law.cells[at].flops / (law.cells[at].time * law.cells[at].batch) for at in (0, -1))
    return f"{exponent(law.flops)}; {number(first / 1e9)} to {number(last / 1e9)} GFLOP/s"


def called(what: Pass) -> str:
    """forward pass, training step."""
    return CALLED[what].removeprefix("a ")
