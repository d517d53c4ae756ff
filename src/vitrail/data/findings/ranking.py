"""All findings, in the order in which they should be mended."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.data.findings import duplicates, files, images, labels, maps, numbers
from vitrail.data.findings.finding import SEVERITIES, Finding
from vitrail.data.findings.survey import Survey


def rank(survey: Survey) -> list[Finding]:
    """Every finding, what to fix first foremost: by severity, then by how many samples are concerned."""
    found = list(_all(survey))
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), -one.images, -one.count))


def _all(survey: Survey) -> Iterator[Finding]:
    for problem in survey.problems:
        yield Finding(
            "cannot_be_trained_on",
            "error",
            problem.splitlines()[0],
            "Training refuses the data as it is.",
            " ".join(problem.splitlines()[1:]) or "Mend what the sentence names; the findings below may be its cause.",
        )
    for subject in (files, duplicates, labels, numbers, maps, images):
        yield from subject.find(survey)
