"""Figures as a study's page and its lines on the screen write them: two or three digits, one style of percent.

A sentence has a plain space before "%"; the page sets one that does not break (study_page).
"""

from __future__ import annotations

import math

TINY = 0.001
"""A share that is not zero, and less than this, is said in words; so is one that is as near to all."""
NARROW = 0.04
"""Intervals of shares narrower than this have a decimal."""


def number(value: float) -> str:
    """Three significant digits without an exponent of ten: 0.0123, 1.5, 12.3, 1,230; – where it is not known."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "infinite" if value > 0 else "minus infinite"
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    places = max(0, 2 - math.floor(math.log10(abs(rounded))))
    text = f"{rounded:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(fraction: float) -> str:
    """A share without an interval: 8 %, 0.7 %, under 0.1 %, over 99.9 %, below none -4 %; – where it is not known."""
    if math.isnan(fraction):
        return "–"
    return f"{_hundred(fraction, 1 if abs(fraction) < 0.1 else 0).removesuffix('.0')} %"


def share_between(value: float, low: float, high: float) -> str:
    """A share with its interval: 62 % (55 to 69 %), 3.0 % (1.5 to 4.9 %); alone where the interval is unknown.

    The interval is also left out where it is narrower than the last digit that is written.
    """
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return share(value)
    if 0 < value < TINY <= high < 2 * TINY:
        return "up to 0.1 %"
    places = 1 if high - low < NARROW else 0
    texts = [_hundred(end, places) for end in (value, low, high)]
    return f"{texts[0].removesuffix('.0')} %" if len(set(texts)) == 1 else f"{texts[0]} % ({texts[1]} to {texts[2]} %)"


def _hundred(fraction: float, places: int) -> str:
    if fraction < 0:
        return "over -0.1" if fraction > -TINY else f"-{_hundred(-fraction, places)}"
    if 0 < fraction < TINY:
        return "under 0.1"
    if 1 - TINY < fraction < 1:
        return "over 99.9"
    if fraction in (0, 1):
        return f"{100 * fraction:.0f}"
    return f"{100 * fraction:.{1 if fraction < 0.01 or 0.99 < fraction < 1 else places}f}"


def pixels(value: float) -> str:
    """A distance in pixels, without the unit: under 0.1, 1.4, 12.3, 123; 0 only where it is none at all."""
    if 0 < abs(value) < 0.1:
        return "under 0.1"
    return f"{value:.0f}" if value == 0 or abs(value) >= 100 else f"{value:.1f}"


def pixels_between(value: float, low: float, high: float) -> str:
    """A distance with its interval, without the unit: 12.3 (11.9 to 12.8); alone as `share_between` is."""
    texts = [pixels(end) for end in (value, low, high)]
    known = not (math.isnan(low) or math.isnan(high))
    return f"{texts[0]} ({texts[1]} to {texts[2]})" if known and len(set(texts)) > 1 else texts[0]
