"""What a textbook says, each claim once, and beside it what every measured model shows of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vitrail.report.study_page import Part, Table
from vitrail.study.statistics.words import listed

Verdict = Literal["shown here", "shown in part", "not shown here", "cannot tell"]
SHOWN: Verdict = "shown here"
PART: Verdict = "shown in part"
NOT: Verdict = "not shown here"
UNKNOWN: Verdict = "cannot tell"
VERDICTS = (SHOWN, PART, NOT, UNKNOWN)
NAMED = 3
"""Models that a summary names; of more it says how many there are."""
BADGE = "claims"


@dataclass(frozen=True)
class Sight:
    """What one model shows of a claim. model: its name, or both of two that are compared.  state: "trained", ...

    figure: what was measured, with its interval, in words.
    """

    model: str
    state: str
    seen: Verdict
    figure: str


@dataclass(frozen=True)
class Claim:
    """A claim. brief: in a few words, for a summary.  says: the whole sentence.  figure: what the figures are.

    sights: what each model shows of it, none where it is of other models than those that were measured.
    how: by which rule a figure becomes a verdict, and what else to know of it.
    """

    brief: str
    says: str
    figure: str
    sights: tuple[Sight, ...]
    how: str

    def record(self) -> dict[str, Any]:
        """For JSON."""
        sights = [{"model": s.model, "state": s.state, "seen": s.seen, "figure": s.figure} for s in self.sights]
        return {"brief": self.brief, "says": self.says, "figure": self.figure, "models": sights}


def told(claims: Iterable[Claim]) -> list[Claim]:
    """Those of which some model shows something or does not."""
    return [claim for claim in claims if claim.sights]


def part(claims: Sequence[Claim], split: str = "", states: str = "weights") -> Part:
    """The part of a page: a small table for each claim. states: what `Sight.state` says, in a word."""
    columns = ("model", states, "verdict")
    tables = [
        Table(claim.says, (*columns, claim.figure), [[s.model, s.state, s.seen, s.figure] for s in claim.sights],
              claim.how)
        for claim in claims
    ]  # fmt: skip
    return Part(BADGE, "What textbooks say", tables=tables, split=split)


def summary(claims: Sequence[Claim]) -> list[str]:
    """A sentence for each verdict that there is, with the claims of which it holds and, where they differ, whose."""
    said: list[str] = []
    for verdict in VERDICTS:
        briefs = [brief for claim in claims if (brief := _brief(claim, verdict))]
        if briefs:
            head = f"{verdict[0].upper()}{verdict[1:]}" if said else f"Of what textbooks say, {_heading(verdict)}"
            said.append(f"{head}: {'; '.join(briefs)}.")
    return said


def _heading(verdict: Verdict) -> str:
    return "this study cannot tell" if verdict == UNKNOWN else verdict


def _brief(claim: Claim, verdict: Verdict) -> str:
    """The claim in a few words, and of which models the verdict holds if not of all; "" where of none."""
    own = [sight for sight in claim.sights if sight.seen == verdict]
    if not own:
        return ""
    return claim.brief if len(own) == len(claim.sights) else f"{claim.brief} ({_whose(claim, own)})"


def _whose(claim: Claim, own: Sequence[Sight]) -> str:
    """Models by name; with a word for their weights where the same model shows something else in another state."""
    names: dict[str, None] = {}
    for sight in own:
        alike = all(other.seen == sight.seen for other in claim.sights if other.model == sight.model)
        names[sight.model if alike else f"{sight.model} {sight.state}"] = None
    first = list(names)
    more = [f"{len(first) - NAMED} more"] if len(first) > NAMED else []
    return listed([*first[:NAMED], *more])
