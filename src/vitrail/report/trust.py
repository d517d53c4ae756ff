"""How far the explanations of a run can be trusted, as the report says it: a verdict in words and a table."""

from __future__ import annotations

from typing import Any

from vitrail.explain.trust.bootstrap import Estimate
from vitrail.explain.trust.table import CENTRE, RANDOM, Summary, Trust
from vitrail.explain.trust.words import called, one_part, plain, ranged, share, verdict


def shown(trust: Trust) -> dict[str, Any]:
    """What the template is given: sentences, rows with a span each on one scale, and which columns are known."""
    summaries = trust.summaries
    ends = [value for s in summaries for value in (s.over_centre.low, s.over_centre.high) if s.over_centre.known]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    width = high - low or 1.0
    return {
        "sentences": verdict(trust),
        "split": trust.split,
        "images": trust.images,
        "left": trust.left,
        "baselines": " and ".join(_HIDDEN[name] for name in trust.baselines),
        "zero": 100 * -low / width,
        "rows": [_row(summary, low, width) for summary in summaries],
        "pointing": any(summary.pointing.images for summary in summaries),
        "alone": trust.parts,
        "sanity": any("all" in summary.sanity for summary in summaries),
        "refused": [(called(name), why) for name, why in trust.refused.items()],
    }


_HIDDEN = {"blur": "a strong blur", "mean": "the image's mean colour"}


def _row(summary: Summary, low: float, width: float) -> dict[str, Any]:
    over, sanity = summary.over_centre, summary.sanity.get("all")
    span = None
    if over.known and summary.name != CENTRE:
        span = {
            "left": 100 * (over.low - low) / width,
            "width": 100 * (over.high - over.low) / width,
            "point": 100 * (over.value - low) / width,
        }
    return {
        "name": called(summary.name),
        "control": summary.control,
        "span": span,
        "over_centre": "" if summary.name == CENTRE else _compared(over),
        "over_random": "" if summary.name == RANDOM else _compared(summary.over_random),
        "deletion": plain(summary.deletion.value),
        "insertion": plain(summary.insertion.value),
        "pointing": share(summary.pointing.value) if summary.pointing.images else "–",
        "energy": share(summary.energy.value) if summary.energy.images else "–",
        "alone": one_part(summary, "–"),
        "sanity": plain(sanity.value) if sanity is not None else "–",
    }


def _compared(estimate: Estimate) -> str:
    return f"{plain(estimate.value)} ({ranged(estimate)})"
