"""`vitrail explain RUN --score DATA`: how far each method can be trusted on this model, as a table and in words."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vitrail.cli.console import Counter, table
from vitrail.cli.layout import wrapped
from vitrail.cli.verb import Outcome, command
from vitrail.errors import UsageError

if TYPE_CHECKING:
    from vitrail.explain.trust.table import Summary, Trust

IMAGES = 64
"""Images scored when nobody says how many."""
NAME = "faithfulness.csv"


def score(
    run: str, data: str, images: int | None, methods: Sequence[str] | None, out: Path | None, device: str
) -> Outcome:
    """Score the methods named, or all that fit, on some images of `data`; write the table and say it in words.

    Raises UsageError where fewer than one image is asked for, `out` is a file, or no method fits; TrainingError where
    the disk refuses.
    """
    from vitrail import durable
    from vitrail.explain.trust.words import verdict
    from vitrail.predict.predictor import load
    from vitrail.run.trust import of_data

    count = IMAGES if images is None else images
    if count < 1:
        raise UsageError(f"--images must be at least 1, not {count}")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")  # said before an hour of scoring, not after
    artifact = load(run, device).artifact
    counter = Counter("scored")
    failed: list[dict[str, str]] = []

    def unread(key: str, reason: str) -> None:
        failed.append({"path": key, "reason": reason})
        print(f"{key}: {reason}", file=sys.stderr)

    trust = of_data(artifact, Path(run), data, count, methods, print, counter, unread)
    counter.close()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(trust.csv())
    path = (out or Path(run) / "explained") / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, text.getvalue())
    except OSError as error:
        raise durable.storage_error(error, f"cannot write {path}") from None
    for name, why in trust.refused.items():
        print(f"not scored: {name.replace('_', ' ')}: {why}")
    print(f"\n{shown(trust)}\n")
    told = verdict(trust)
    for sentence in told:
        print(wrapped(sentence))
    record = {
        "images": trust.images, **({"split": trust.split} if trust.split else {}), "answer": trust.left,
        "baselines": list(trust.baselines), "verdict": told,
        **({"unread": failed} if failed else {}),
        "methods": [summary.record() for summary in trust.summaries], "refused": dict(trust.refused),
    }  # fmt: skip
    return Outcome(
        result={"explain": {"model": artifact.folder, "faithfulness": record}},
        outputs=[path],
        where=path,
        next=[command("explain", run, "IMAGE")],
    )


def shown(trust: Trust) -> str:
    """The table for a terminal: means, and intervals where two things are compared."""
    pointing = any(summary.pointing.images for summary in trust.summaries)
    sanity = any("all" in summary.sanity for summary in trust.summaries)
    headers = ["method", "deletion", "insertion", "gain", "over centre", "over random"]
    headers += (["pointing", "energy"] if pointing else []) + (["shuffled"] if sanity else [])
    headers += ["one part"] if trust.parts else []
    rows = [_row(summary, pointing, sanity, bool(trust.parts)) for summary in trust.summaries]
    notes = [
        f"Of {trust.left}: deletion, the lower the better, and insertion, the higher, are areas under its curve as "
        f"cells are hidden ({', '.join(trust.baselines)}) or shown in the order of the map; gain is insertion less "
        "deletion, and 'over' is gain less that of a map that knows nothing, with 95% intervals over images."
    ]
    if pointing:
        notes.append("Pointing: the highest point lies on the object; energy: the share of the map that does.")
    if sanity:
        notes.append("Shuffled: rank correlation with the map when all weights are shuffled; it should be near 0.")
    if trust.parts:
        notes.append(
            f"One part: the same with the weights of one part alone shuffled ({', '.join(trust.parts)}), from the "
            "part that changes the map most to the one that changes it least."
        )
    return "\n".join([table(headers, rows, numbers=headers[1:]), "", *map(wrapped, notes)])


def _row(summary: Summary, pointing: bool, sanity: bool, alone: bool) -> list[str]:
    from vitrail.explain.trust.words import one_part, plain, ranged, share

    over = [
        "" if summary.name == control else f"{plain(estimate.value)} ({ranged(estimate)})"
        for control, estimate in (("centre prior", summary.over_centre), ("random map", summary.over_random))
    ]
    row = [
        summary.name,
        plain(summary.deletion.value),
        plain(summary.insertion.value),
        plain(summary.gain.value),
        *over,
    ]
    if pointing:
        row += [share(summary.pointing.value), share(summary.energy.value)] if summary.pointing.images else ["", ""]
    if sanity:
        row.append(plain(summary.sanity["all"].value) if "all" in summary.sanity else "")
    if alone:
        row.append(one_part(summary))
    return row
