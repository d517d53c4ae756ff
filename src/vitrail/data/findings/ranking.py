"""All findings, in the order in which they should be mended."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.data.findings import duplicates, files, images, labels, maps, numbers
from vitrail.data.findings.finding import SEVERITIES, Finding
from vitrail.data.findings.survey import Survey

SUBJECTS = (files, duplicates, labels, numbers, maps, images)


def rank(survey: Survey) -> list[Finding]:
    """Every finding, what to fix first foremost: what stops training, then by severity and the samples concerned."""
    found = [finding for subject in SUBJECTS for finding in subject.find(survey)]
    found.sort(key=lambda one: (SEVERITIES.index(one.severity), -one.images, -one.count))
    return [*_problems(survey), *found]


def _problems(survey: Survey) -> Iterator[Finding]:
    for problem in survey.problems:
        yield Finding(
            "cannot_be_trained_on",
            "error",
            problem.splitlines()[0],
            "Training refuses the data as it is.",
            " ".join(problem.splitlines()[1:]) or "Mend what the sentence names; the findings below may be its cause.",
        )
