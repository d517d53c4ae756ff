"""The same picture more than once: as the same bytes or nearly so, across labels, splits and groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

from vitrail.data.audit import spanning
from vitrail.data.findings.finding import Example, Finding, counted, of_samples
from vitrail.data.findings.survey import Groups, Survey, as_numbers
from vitrail.data.near_duplicates import SHORT


def find(survey: Survey) -> Iterator[Finding]:
    """Exact duplicates, near duplicates and groups that leak."""
    labels = _labels(survey)
    yield from _exact(survey, labels)
    yield from _near(survey, labels)
    yield from _leaking_groups(survey)


def _labels(survey: Survey) -> Sequence[Hashable]:
    """What must not differ between two copies of an image; the same for all where targets cannot be compared."""
    if survey.kind in ("class", "labels"):
        return [frozenset(labels) for labels in survey.labels]
    if survey.kind == "numbers":
        return [as_numbers(target) for target in survey.targets]
    return [None] * survey.audit.found


def _exact(survey: Survey, labels: Sequence[Hashable]) -> Iterator[Finding]:
    what = "set of identical files", "sets of identical files"
    conflicts = spanning(survey.same, labels)
    if conflicts:
        yield Finding(
            "duplicates_with_other_labels",
            "error",
            f"{counted(len(conflicts), *what)} with different labels",
            "At least one label of each set is wrong: no model can answer both, and no score on them can be trusted.",
            "Look at each image, keep the file with the right label and remove the others.",
            _with(survey, conflicts, lambda index: _label(survey, index)),
        )
    leaks = spanning(survey.same, survey.splits)
    if leaks:
        yield Finding(
            "duplicates_across_splits",
            "error",
            f"{counted(len(leaks), *what)} in more than one split",
            "The model is judged on images that it was trained on: the scores flatter it.",
            "Keep each image once; or give a group column that holds copies together.",
            _with(survey, leaks, lambda index: survey.splits[index]),
        )
    yield from _across_groups(survey, survey.same, "the same bytes")
    told = {*conflicts, *leaks}
    rest = [group for group in survey.same if group not in told]
    if rest:
        extra = sum(len(group) - 1 for group in rest)
        yield Finding(
            "duplicates",
            "note",
            f"{counted(extra, 'file repeats', 'files repeat')} another, byte by byte",
            "A repeated image counts more than the others, and its class seems larger than it is.",
            "Remove the copies, unless the weight is meant.",
            of_samples(survey.source, rest),
        )


def _near(survey: Survey, labels: Sequence[Hashable]) -> Iterator[Finding]:
    what = "set of near duplicates", "sets of near duplicates"
    conflicts = spanning(survey.alike, labels) if survey.kind in ("class", "labels") else ()
    if conflicts:
        yield Finding(
            "near_duplicates_with_other_labels",
            "warning",
            f"{counted(len(conflicts), *what)} with different labels",
            f"Nearly the same picture is called two things: one label may be wrong ({SHORT}).",
            "Look at each set; correct the label, or keep both if the small difference is what is to be learnt.",
            _with(survey, conflicts, lambda index: _label(survey, index)),
        )
    leaks = spanning(survey.alike, survey.splits)
    if leaks:
        yield Finding(
            "near_duplicates_across_splits",
            "warning",
            f"{counted(len(leaks), *what)} in more than one split",
            f"The model is judged on pictures that it has nearly seen: the scores flatter it ({SHORT}).",
            "Keep each set in one split: a group column (--group), a split file, or one image of each set.",
            _with(survey, leaks, lambda index: survey.splits[index]),
        )
    yield from _across_groups(survey, survey.alike, "nearly the same picture")
    told = {*conflicts, *leaks}
    rest = [group for group in survey.alike if group not in told]
    if rest:
        yield Finding(
            "near_duplicates",
            "note",
            f"{counted(len(rest), *what)}",
            f"They say little that is new, and count more than the others ({SHORT}).",
            "Keep them together in one split, or keep the best of each set.",
            of_samples(survey.source, rest),
        )


def _across_groups(survey: Survey, sets: Groups, what: str) -> Iterator[Finding]:
    """Content that two groups share: then the groups do not keep apart what they should."""
    kind = "content_in_two_groups" if sets is survey.same else "near_content_in_two_groups"
    grouped = [group for group in sets if all(survey.groups[index] is not None for index in group)]
    crossing = spanning(grouped, survey.groups)
    if crossing:
        yield Finding(
            kind,
            "warning",
            f"{counted(len(crossing), 'picture stands', 'pictures stand')} in more than one group ({what})",
            "Groups keep together what belongs together; two of these are one, or a file is misplaced.",
            "Give both groups one name, or remove the file from the wrong one.",
            _with(survey, crossing, lambda index: str(survey.groups[index])),
        )


def _leaking_groups(survey: Survey) -> Iterator[Finding]:
    """Groups that stand in two splits: only a split that the data or a file dictates can do that."""
    places = defaultdict[str, list[int]](list)
    for index in survey.audit.usable:
        group = survey.groups[index]
        if group is not None and survey.splits[index]:
            places[group].append(index)
    torn = {name: found for name, found in places.items() if len({survey.splits[index] for index in found}) > 1}
    if torn:
        cases = []
        for name, found in sorted(torn.items()):
            shown = [
                next(i for i in found if survey.splits[i] == split)
                for split in dict.fromkeys(survey.splits[i] for i in found)
            ]
            tally = ", ".join(
                f"{sum(survey.splits[i] == split for i in found):,} in {split}"
                for split in ("train", "val", "test")
                if any(survey.splits[i] == split for i in found)
            )
            rest = [i for i in found if i not in shown]
            order = (*shown, *rest)
            cases.append(Example(tuple(survey.source.items[i].key for i in order), f"group '{name}': {tally}", order))
        yield Finding(
            "groups_across_splits",
            "error",
            f"{counted(len(torn), 'group stands', 'groups stand')} in more than one split",
            "Images of one group (a patient, a place, a film) resemble each other: the scores flatter the model.",
            "Put each whole group into one split, or leave the split out: then groups are kept together.",
            tuple(cases),
        )


def _with(survey: Survey, groups: Sequence[Sequence[int]], word: Callable[[int], str]) -> tuple[Example, ...]:
    """Examples that say, file by file, what differs; the first two of each differ."""
    ordered = []
    for group in groups:
        other = next(i for i in group if word(i) != word(group[0])) if len({*map(word, group)}) > 1 else group[1]
        ordered.append((group[0], other, *(i for i in group[1:] if i != other)))
    words = [" / ".join(dict.fromkeys(word(i) for i in group)) for group in ordered]
    return of_samples(survey.source, ordered, words)


def _label(survey: Survey, index: int) -> str:
    if survey.kind == "labels":
        return ", ".join(sorted(survey.labels[index])) or "no label"
    return str(survey.targets[index])
