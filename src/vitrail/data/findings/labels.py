"""Names of classes and labels: spelling twins, tiny, missing and far smaller classes, empty lists."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from vitrail.data.findings.finding import Example, Finding, counted, listed, of_samples
from vitrail.data.findings.survey import Survey

SMALL_CLASS = 10
"""A class with fewer usable images is warned of: its share of validation would be one image."""

IMBALANCE = 10
"""The largest class may be so many times the smallest before it is said."""


def find(survey: Survey) -> Iterator[Finding]:
    """Findings on class names and label lists."""
    if survey.kind not in ("class", "labels"):
        return
    places = defaultdict[str, list[int]](list)
    for index, labels in enumerate(survey.labels):
        for label in dict.fromkeys(labels):
            places[label].append(index)
    yield from _twins(survey, places)
    if survey.kind == "class":
        yield from _missing(survey)
        yield from _classes(survey, places)
    else:
        yield from _lists(survey, places)


def fold(name: str) -> str:
    """A name without what people vary without meaning it: case, spaces, hyphens, underscores, Unicode form.

    Separators between digits stay: "1-2" is not "12".
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")  # zero-width ones
    words = re.sub(r"[\s_\-\u2010-\u2015]+", " ", seen).strip()
    folded = re.sub(r"(?<!\d) | (?!\d)", "", words)
    return folded if folded == name else fold(folded)  # what was taken out may have kept accents apart


def _twins(survey: Survey, places: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    spellings = defaultdict[str, list[str]](list)
    for name in places:
        spellings[fold(name)].append(name)
    cases = []
    for names in spellings.values():
        if len(names) > 1:
            names.sort(key=lambda name: (-len(places[name]), name))
            words = ", ".join(f"{_visible(name)} ({len(places[name]):,})" for name in names)
            shown = tuple(places[name][0] for name in names)
            rest = tuple(index for name in names[1:] for index in places[name] if index not in shown)
            order = (*shown, *rest)
            cases.append(Example(tuple(survey.source.items[i].key for i in order), words, order))
    if cases:
        yield Finding(
            "spelling_twins",
            "warning",
            f"{counted(len(cases), 'label is', 'labels are')} spelt in more than one way",
            "Each spelling is a class of its own: the model must tell apart what is the same. "
            "They differ only in case, spaces, hyphens, underscores or Unicode form.",
            "Give all of them one spelling: rename the folders, or mend the column.",
            tuple(cases),
        )


def _visible(name: str) -> str:
    """A name in quotes, what cannot be seen in it written out."""
    if unicodedata.normalize("NFC", name) != name:
        return f"'{name}' (letters and accents apart)"
    odd = [letter for letter in name if unicodedata.category(letter) in ("Cf", "Zs", "Cc") and letter != " "]
    return f"'{name}' (with {', '.join(f'U+{ord(letter):04X}' for letter in odd)})" if odd else f"'{name}'"


def _missing(survey: Survey) -> Iterator[Finding]:
    without = [index for index in survey.audit.usable if not survey.labels[index]]
    if without:
        yield Finding(
            "missing_labels",
            "error",
            f"{counted(len(without), 'image has', 'images have')} no label",
            "They cannot be learnt from or judged by.",
            "Label them, or remove them from the data.",
            of_samples(survey.source, [[index] for index in without]),
        )


def _classes(survey: Survey, places: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    usable = {name: [index for index in found if index in survey.usable] for name, found in places.items()}
    counts = {name: len(found) for name, found in usable.items()}
    empty = sorted(name for name, count in counts.items() if not count)
    if empty:
        yield Finding(
            "unusable_classes",
            "error",
            f"{counted(len(empty), 'class has', 'classes have')} no usable image: {listed(empty)}",
            "Every image there is broken, so there is nothing to learn from.",
            "Fetch their images again, or remove the class.",
            tuple(Example((name,), f"{len(places[name]):,} images, none usable") for name in empty),
        )
    small = sorted((name for name, count in counts.items() if 0 < count < SMALL_CLASS), key=lambda name: counts[name])
    if small:
        have = "has" if len(small) == 1 else "have"
        yield Finding(
            "tiny_classes",
            "warning",
            f"{counted(len(small), 'class', 'classes')} {have} fewer than {SMALL_CLASS} usable images: "
            f"'{small[0]}' has {counts[small[0]]}",
            "So few images teach little, and one or two of them judge the class: its score is a matter of luck.",
            "Collect more, merge them with a class that is near, or leave them out.",
            tuple(
                Example(tuple(survey.source.items[i].key for i in usable[n]), f"'{n}': {counts[n]:,}", tuple(usable[n]))
                for n in small
            ),
        )
    present = {name: count for name, count in counts.items() if count}
    if present and max(present.values()) >= IMBALANCE * min(present.values()):
        order = sorted(present, key=lambda name: (-present[name], name))
        times = present[order[0]] / present[order[-1]]
        yield Finding(
            "class_imbalance",
            "note",
            f"The largest class, '{order[0]}', has {times:,.0f} times as many images as the smallest, '{order[-1]}'",
            "Accuracy hides how the small classes fare; look at F1 (macro) and at each class.",
            "Train with task.class_weights=balanced, or collect more of the small classes.",
            tuple(Example((name,), f"{present[name]:,} images") for name in order),
        )
    yield from _absent(survey, usable)


def _absent(survey: Survey, usable: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Classes that a split which exists has no image of."""
    existing = [split for split in ("train", "val", "test") if split in survey.splits]
    cases = []
    for name in sorted(usable):
        having = {survey.splits[index] for index in usable[name]}
        lacking = [split for split in existing if split not in having]
        if lacking and usable[name]:
            cases.append(Example((name,), f"no image in {' or '.join(lacking)}"))
    if cases:
        yield Finding(
            "classes_missing_from_a_split",
            "warning",
            f"{counted(len(cases), 'class is', 'classes are')} missing from a split: "
            f"{listed(case.keys[0] for case in cases)}",
            "A class that train lacks is never learnt; one that val or test lacks is not judged there.",
            "Move some images, or leave the splits out: then every class is cut by the same shares.",
            tuple(cases),
        )


def _lists(survey: Survey, places: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    empty = [index for index in survey.audit.usable if not survey.labels[index]]
    if empty:
        few = len(empty) / len(survey.audit.usable)
        yield Finding(
            "empty_lists",
            "note",
            f"{counted(len(empty), 'image has', 'images have')} no label at all ({few:.1%})",
            "Each counts as a picture in which none of the labels is: right where that is so, wrong where it was not "
            "labelled yet.",
            "Look at some. If they were forgotten, label them or leave them out.",
            of_samples(survey.source, [[index] for index in empty]),
        )
    train = [i for i in survey.audit.usable if survey.splits[i] == "train"] or survey.audit.usable
    shown = {label for index in train for label in survey.labels[index]}
    unseen = sorted(set(getattr(survey.source, "target_names", ())) - shown)
    if unseen:
        yield Finding(
            "labels_of_no_image",
            "warning",
            f"{counted(len(unseen), 'label has', 'labels have')} no image to learn from: {listed(unseen)}",
            "Each stays an output, of which nothing can be learnt: it will hardly ever be said.",
            "Leave its column out (--target), or add images that show it.",
            tuple(Example((name,)) for name in unseen),
        )
    once = sorted(name for name, found in places.items() if len(found) == 1)
    if once:
        yield Finding(
            "labels_that_stand_once",
            "warning",
            f"{counted(len(once), 'label stands', 'labels stand')} at one image only: {listed(once)}",
            "From one image nothing can be learnt and judged both; often it is a slip of the pen.",
            "Correct the spelling, collect more, or leave the label out.",
            of_samples(survey.source, [[places[name][0]] for name in once], [f"'{name}'" for name in once]),
        )
    twice = [i for i, labels in enumerate(survey.labels) if any(n > 1 for n in Counter(labels).values())]
    if twice:
        yield Finding(
            "labels_listed_twice",
            "note",
            f"{counted(len(twice), 'image lists', 'images list')} a label twice",
            "It counts once; the list may have been meant otherwise.",
            "Mend the list.",
            of_samples(survey.source, [[index] for index in twice], [", ".join(survey.labels[i]) for i in twice]),
        )
