"""What the curves say, in short sentences for someone who reads of exponents for the first time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitrail.study.growth.laws import Crossing, Law
from vitrail.study.growth.measured import Measured, Pass
from vitrail.study.statistics.growth import Exponent
from vitrail.study.statistics.intervals import Interval
from vitrail.study.statistics.words import listed

CALLED = {"forward": "a forward pass", "step": "a training step"}
BUSY = 1.3
"""A load from which on times are not to be trusted to a tenth."""
LOUD = 0.5
"""A spread of rounds from which on the same holds."""
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
    """1.93 (1.85 to 2.01), or a dash."""
    if found is None:
        return "-"
    e = found.exponent
    return f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})" if e.known else f"{e.value:.2f}"


def verdict(laws: Sequence[Law], crossings: Sequence[Crossing]) -> list[str]:
    """What grows how, what share attention has, which model is cheaper where; the most telling first."""
    said = _headline(laws)
    for law in (law for law in laws if law.what == "forward"):
        said += _growth(law)
    for what in ("forward", "step"):
        said += _cheapest([law for law in laws if law.what == what])
    said += [crossed(one, _largest(laws)) for one in crossings if _worth(one, _largest(laws))]
    if all(law.time is None for law in laws):
        sizes = sorted({cell.size for law in laws for cell in law.cells})
        some = ", ".join(f"{size} px" for size in sizes) or "no size"
        said.insert(0, f"Too little was measured to say how anything grows ({some}): four sizes are needed.")
    return said


def _headline(laws: Sequence[Law]) -> list[str]:
    """How attention grows, in one line."""
    forward = [law for law in laws if law.what == "forward" and law.attention is not None]
    if not forward:
        return []
    grown = [f"N^{exponent(law.attention)} in {law.model}" for law in forward]
    return [f"Here the time of attention grows with the number of tokens as {listed(grown)}."]


def _growth(law: Law) -> list[str]:
    if law.time is None:
        return []
    last = law.largest
    text = (
        f"{law.model}: from {law.cells[len(law.dropped)].size} to {last.size} px, the time of {CALLED[law.what]} grows "
        f"as N^{exponent(law.time)}, N tokens."
    )
    if law.attention is not None:
        steepest = law.attention.local[-1]
        text += (
            f" Its attention alone grows as N^{exponent(law.attention)}, N^{steepest:.2f} between the two largest "
            f"sizes, and takes {last.attention_time / last.time:.0%} of the time at {last.size} px."
        )
        text += f" {_textbook(law.attention.exponent, steepest)}"
    return [text]


def _textbook(e: Interval, steepest: float) -> str:
    """Which of the two growths that textbooks know the measurement shows, if one."""
    if e.holds(1.0) and e.holds(2.0):
        return "That tells neither proportion nor square: too noisy."
    if e.holds(2.0) or (e.high < 2.0 and 1.8 <= steepest <= 2.2):
        return "That is the square, as textbooks have it, or nearly so at the largest sizes."
    if e.holds(1.0) or 0.85 <= e.value <= 1.15:
        return "That is in proportion to the tokens."
    if e.value < 1.0:
        return "That is less than in proportion: other costs of its calls still count at these sizes."
    return "That is between proportion and square: the square does not show fully at these sizes."


def _cheapest(laws: Sequence[Law]) -> list[str]:
    sizes = set.intersection(*({cell.size for cell in law.cells} for law in laws)) if len(laws) > 1 else set()
    if not sizes:
        return []
    small, large = min(sizes), max(sizes)
    said = [f"{_fastest(laws, size)} at {size} px" for size in dict.fromkeys((small, large))]
    return [f"For {CALLED[laws[0].what]}, the fastest is {' and '.join(said)}."]


def _fastest(laws: Sequence[Law], size: int) -> str:
    times = {law.model: next(cell.time for cell in law.cells if cell.size == size) for law in laws}
    best = min(times, key=lambda model: times[model])
    return f"{best} ({1000 * times[best]:.3g} ms an image)"


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
    loud = [cell for cell in cells if max(cell.seconds) / min(cell.seconds) - 1 > LOUD]
    if loud:
        said.append(
            f"In {len(loud)} of {len(cells)} cells the slowest round took over {1 + LOUD:g} times as long as the "
            "fastest: their times are rough."
        )
    return said


def follows(law: Law) -> str:
    """How far time follows FLOPs."""
    if law.flops is None:
        return "-"
    first, last = (law.cells[at].flops / (law.cells[at].time * law.cells[at].batch) for at in (0, -1))
    return f"{exponent(law.flops)}; {first / 1e9:.3g} to {last / 1e9:.3g} GFLOP/s"


def called(what: Pass) -> str:
    """forward pass, training step."""
    return CALLED[what].removeprefix("a ")
