"""Samples whose target cannot be used cannot be used either, however good their image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from vitrail.contracts import Failure, Source
from vitrail.data.audit import Audit
from vitrail.data.items import at_row
from vitrail.data.map_audit import MapAudit
from vitrail.data.sizes import misfit


def target_faults(audit: Audit, maps: MapAudit) -> dict[int, str]:
    """Why the mask or map of a usable image cannot be used, by source index: none, unreadable, or of another size.

    Both sizes are those of what training reads, after an EXIF orientation.
    """
    found: dict[int, str] = {}
    for index, (width, height) in zip(audit.usable, audit.sizes, strict=True):
        fact = maps.facts.get(index)
        if fact is None:
            found[index] = "its target: there is none"
        elif fact.reason:
            found[index] = f"its target: {fact.reason}"
        elif apart := misfit((fact.height, fact.width), (height, width)):
            found[index] = f"its target: {apart}"
    return found


def strangers(maps: MapAudit, indices: Iterable[int], known: Collection[int]) -> dict[int, str]:
    """Why the mask of one of these samples can be judged by no class, by source index: it has a value not `known`.

    By what the scan has counted; of masks with more values than it counts, by how many and how large they are.
    """
    found: dict[int, str] = {}
    for index in indices:
        fact = maps.facts.get(index)
        if fact is None or fact.values is None or not fact.values.distinct:
            continue
        strange = [value for value, _ in fact.values.counts if value not in known]
        if strange:
            more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
            found[index] = f"its target: the value {strange[0]}{more}, which is no class that training has"
        elif not fact.values.counts and (
            fact.values.distinct > len(known) or fact.values.low < min(known) or fact.values.high > max(known)
        ):
            span = f"values from {fact.values.low:g} to {fact.values.high:g}"
            found[index] = f"its target: {span}, which are not the classes that training has"
    return found


def without(audit: Audit, source: Source, reasons: Mapping[int, str]) -> Audit:
    """The audit with these samples among the bad. reasons: by source index, why a sample cannot be used."""
    usable = set(audit.usable)
    lost = {index: reason + at_row(source, index) for index, reason in reasons.items() if index in usable}
    if not lost:
        return audit
    items = source.items
    kept = [row for row, index in enumerate(audit.usable) if index not in lost]
    names = {items[index].key for index in lost}
    bad = {failure.key: failure for failure in audit.bad}
    bad |= {items[index].key: Failure(items[index].key, reason) for index, reason in lost.items()}
    content = list(audit.content)
    for index in lost:
        content[index] = ""
    return replace(
        audit,
        usable=tuple(audit.usable[row] for row in kept),
        bad=tuple(bad[item.key] for item in items if item.key in bad),
        odd=tuple(failure for failure in audit.odd if failure.key not in names),
        sizes=tuple(audit.sizes[row] for row in kept),
        formats=tuple(audit.formats[row] for row in kept),
        content=tuple(content),
        looks=audit.looks and audit.looks.of(kept),
        lost={**audit.lost, **lost},
    )
