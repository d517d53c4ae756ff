"""Samples whose target cannot be used cannot be used either, however good their image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vitrail.contracts import Failure, Source
from vitrail.data.audit import Audit


def without(audit: Audit, source: Source, reasons: Mapping[int, str]) -> Audit:
    """The audit with these samples among the bad. reasons: by source index, why the target cannot be used."""
    lost = {index: reason for index, reason in reasons.items() if index in set(audit.usable)}
    if not lost:
        return audit
    items = source.items
    kept = [row for row, index in enumerate(audit.usable) if index not in lost]
    names = {items[index].key for index in lost}
    bad = {failure.key: failure for failure in audit.bad}
    bad |= {items[index].key: Failure(items[index].key, f"its target: {reason}") for index, reason in lost.items()}
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
    )
