"""What a model costs beside its score, and which models no other beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIKE = 1.1
"""Costs within a tenth of the least count as the least: timings differ by as much from day to day."""


@dataclass(frozen=True)
class Cost:
    """What a model costs; None where it was not measured. latency_ms: of one image at batch 1, the median."""

    latency_ms: float | None = None
    parameters: int | None = None


def comparable(names: Sequence[str], costs: Mapping[str, Cost]) -> tuple[str, dict[str, float]]:
    """The first kind of cost that all `names` have, and what each costs; ("", {}) where there is none."""
    for kind in ("latency_ms", "parameters"):
        found = {name: getattr(costs[name], kind) for name in names if name in costs}
        if len(found) == len(names) and all(value is not None for value in found.values()):
            return kind, {name: float(value) for name, value in found.items()}
    return "", {}


def cheapest(names: Sequence[str], costs: Mapping[str, Cost], scores: Mapping[str, float]) -> str:
    """Of `names`, the one with the highest score among those that cost within a tenth of the least.

    scores: high is good.  Without costs, the one with the highest score.
    """
    _, found = comparable(names, costs)
    least = min(found.values()) if found else 0.0
    return max((name for name in names if not found or found[name] <= least * ALIKE), key=lambda name: scores[name])


def pareto(scores: Mapping[str, float], costs: Mapping[str, float]) -> list[str]:
    """Models that none beats in score (high is good) without costing more, in order of their cost."""
    kept = [
        name
        for name in scores
        if not any(
            scores[other] >= scores[name]
            and costs[other] <= costs[name]
            and (scores[other] > scores[name] or costs[other] < costs[name])
            for other in scores
        )
    ]
    return sorted(kept, key=lambda name: (costs[name], -scores[name]))
