"""What a report is made from: plain values and arrays, so that a report can be written again without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from PIL import Image

from vitrail.explain.explanation import Explanation
from vitrail.explain.profile import Profile
from vitrail.explain.trust.table import Trust
from vitrail.settings import Config


class Picture(NamedTuple):
    """A picture on the page: a title (what the model said), a caption (which file), and the image."""

    title: str
    caption: str
    image: Image.Image

    @classmethod
    def explained(cls, explanation: Explanation) -> Picture:
        """The image beside itself under its heat map; the page has the words."""
        return cls(explanation.answer, f"{explanation.caption}. {explanation.source}", explanation.panels())


class Panel(NamedTuple):
    """One of the pictures of a strip, and what it is."""

    words: str
    image: Image.Image


class Strip(NamedTuple):
    """One sample in several pictures side by side."""

    title: str
    caption: str
    panels: Sequence[Panel]


class Scale(NamedTuple):
    """What colours mean. colours: CSS, in order, from `low` to `high`, both in words.  words: what is measured."""

    words: str
    low: str
    high: str
    colours: str


class Key(NamedTuple):
    """How the pictures are coloured. patches: (CSS colour, words) each, after `words`."""

    patches: Sequence[tuple[str, str]] = ()
    scales: Sequence[Scale] = ()
    words: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind, of single samples: all plain, or all strips."""

    title: str
    note: str = ""
    pictures: Sequence[Picture] = ()
    strips: Sequence[Strip] = ()


class View(Protocol):
    """What the model did on one split; each task's section of the report has its own kind."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Name -> value, as everywhere."""

    @property
    def images(self) -> int:
        """n: the images that were scored."""


@dataclass(frozen=True)
class ReportData:
    """Everything on the page, as plain values.

    config: the complete one; its task chooses the section.  labels: names of classes, or of numbers and maps, in order.
    reasons: (field, value, why) of each choice.
    history: rows of results.csv, oldest first (`epoch`, `train/loss`, `val/loss`, `val/METRIC`, `lr`, ...).
    evaluations: split name -> what the model did there, the `View` of the task's section; "test" is the page's subject,
    "val" where there is no test.
    audit: the audit's summary (found, usable, bad, ...).  split: how the split was made, with counts per split.
    cost: parameters, gmacs, train_seconds, images_per_s, peak_memory_mb, ...; unknown keys are shown as they are.
    galleries: single answers, best and worst.  seen: images as the model sees them.  key, error_key: the colours of
    targets and answers in both, and of their difference.
    overlays: explanations drawn on images.  unexplained: why there are none, where there are none.
    profile: what the model's attention and first weights are like on the whole.
    trust: how far methods of explanation can be trusted here.  untrusted: why that is not known, where it is not.
    best_epoch: whose weights were kept.  taught: by which teacher and how, in a sentence.  command: as typed.  A key
    that is missing leaves its line out.
    """

    name: str
    config: Config
    labels: Sequence[str]
    evaluations: Mapping[str, Any]
    reasons: Sequence[tuple[str, Any, str]] = ()
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: float | None = None
    taught: str = ""
    headline: str = "accuracy"
    audit: Mapping[str, Any] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    galleries: Sequence[Gallery] = ()
    key: Key = field(default_factory=Key)
    error_key: Key = field(default_factory=Key)
    seen: Gallery | None = None
    overlays: Sequence[Picture] = ()
    unexplained: str = ""
    trust: Trust | None = None
    profile: Profile | None = None
    untrusted: str = ""
    cost: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str | None:
        """The split that the page's figures are from: test where there is one, else val, else None."""
        return next((split for split in ("test", "val") if split in self.evaluations), None)


def quoted(labels: Sequence[str], most: int = 5) -> str:
    """The first few names in quotation marks, and how many more there are."""
    shown = ", ".join(f"“{label}”" for label in labels[:most])
    return shown + (f" and {len(labels) - most:,} more" if len(labels) > most else "")


def percent(fraction: float) -> str:
    """A fraction as people read it; 99.96 % is not rounded up to a certainty it has not."""
    value = 100 * fraction
    if 99.95 <= value < 100:
        return "99.9%"
    return f"{value:.0f}%" if value in (0, 100) else f"{value:.1f}%"


def thousands(count: int) -> str:
    """A whole number with separators."""
    return f"{count:,}"
