"""Files that cannot be used, odd ones, and what lies beside the samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from vitrail.contracts import Failure
from vitrail.data.audit import kind_of_reason
from vitrail.data.findings.finding import Example, Finding, counted, of_samples
from vitrail.data.findings.survey import Survey


def find(survey: Survey) -> Iterator[Finding]:
    """Unusable, odd and ignored files."""
    yield from _unusable(survey)
    yield from _odd(survey)
    yield from _ignored(survey)


def _unusable(survey: Survey) -> Iterator[Finding]:
    audit = survey.audit
    if audit.bad:
        indices = [index for index in range(audit.found) if index not in survey.usable]
        kinds = defaultdict[str, int](int)
        for failure in audit.bad:
            kinds[kind_of_reason(failure.reason)] += 1
        reasons = ", ".join(
            f"{words} {n:,}" for words, n in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        yield Finding(
            "unusable_files",
            "error" if not audit.usable else "warning",
            f"{counted(len(audit.bad), 'image')} cannot be used ({len(audit.bad) / audit.found:.1%} of all)",
            f"Left out of training and of every score. Reasons: {reasons}.",
            "Fetch or save them again, or remove them. bad_files.csv lists each with its reason.",
            of_samples(survey.source, [[i] for i in indices], [failure.reason for failure in audit.bad]),
        )


_ODD = {
    "named": (
        "wrong_extension",
        "note",
        "has/have a name that says another format than the content",
        "It is read by its content, here; other programs may refuse it.",
        "Rename it, or save it again as what its name says.",
    ),
    "tiny": (
        "tiny_images",
        "note",
        "is/are under 8 pixels high or wide",
        "Enlarged to the model's input it is a blur.",
        "Find the original, or remove it: often it is an icon or a placeholder.",
    ),
    "extreme shape": (
        "extreme_shapes",
        "note",
        "is/are ten times as long as wide, or more",
        "A central crop sees a small part of it, and squashing distorts it.",
        "Cut it into pieces, or train with preprocess.resize=letterbox.",
    ),
    "nearly black": (
        "unscaled_16_bit",
        "warning",
        "has/have 16-bit values that use less than an eighth of their range",
        "16-bit values are divided by 257: what is left of so few looks almost black to the model.",
        "Scale the values to the full 16-bit range (or save them as 8 bits) with one factor for the whole set.",
    ),
    "the decoder remarked": (
        "decoder_remarks",
        "note",
        "has/have something wrong that its decoder could pass over",
        "All was decoded as far as can be told, but parts may be damaged.",
        "Look what can be seen, and save it again.",
    ),
    "the JPEG decoder remarked": (
        "decoder_remarks",
        "note",
        "has/have something wrong that its decoder could pass over",
        "All was decoded as far as can be told, but parts may be damaged.",
        "Look what can be seen, and save it again.",
    ),
}
"""How a remark begins -> kind, severity, what one/several images are, meaning, remedy. Flat ones are in `images`."""


def _odd(survey: Survey) -> Iterator[Finding]:
    places = {survey.source.items[index].key: index for index in survey.audit.usable}
    found = defaultdict[str, list[tuple[int, str]]](list)
    facts: dict[str, tuple[str, str, str, str, str]] = {}
    for failure in survey.audit.odd:
        for remark in failure.reason.split("; "):
            for beginning, entry in _ODD.items():
                if remark.startswith(beginning):
                    facts[entry[0]] = entry
                    found[entry[0]].append((places[failure.key], remark))
                    break
    for kind, cases in found.items():
        _, severity, words, meaning, remedy = facts[kind]
        assert severity in ("warning", "note")
        yield Finding(
            kind,
            "warning" if severity == "warning" else "note",
            _of_so_many(len(cases), words),
            meaning,
            remedy,
            of_samples(survey.source, [[index] for index, _ in cases], [remark for _, remark in cases]),
        )


def _of_so_many(number: int, words: str) -> str:
    one, _, rest = words.partition("/")
    several, _, what = rest.partition(" ")
    return f"{counted(number, f'image {one}', f'images {several}')} {what}"


def _ignored(survey: Survey) -> Iterator[Finding]:
    stray = [failure for failure in survey.audit.ignored if failure.reason == "an image in no class folder"]
    if stray:
        yield Finding(
            "images_in_no_class",
            "warning",
            f"{counted(len(stray), 'image lies', 'images lie')} in no class folder: ignored",
            "The class is read from the folder; these have none, so nothing is learnt from them.",
            "Move each into the folder of its class.",
            _named(stray),
        )
    rest = [failure for failure in survey.audit.ignored if failure.reason != "an image in no class folder"]
    if rest:
        yield Finding(
            "ignored_files",
            "note",
            f"{counted(len(rest), 'other file or folder is', 'other files and folders are')} ignored",
            "What lies beside the samples and is none: not an image by its name, hidden from view, or empty.",
            "Nothing, unless one of them should be a sample.",
            _named(rest),
        )


def _named(failures: list[Failure]) -> tuple[Example, ...]:
    return tuple(Example((failure.key,), failure.reason) for failure in failures)
