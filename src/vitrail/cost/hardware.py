"""What devices can do at most, and what time and money a number of images takes of them. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitrail.errors import UsageError, unknown

PEAKS = {
    "v100": (125e12, 15.7e12),
    "t4": (65e12, 8.1e12),
    "a10": (125e12, 31.2e12),
    "l4": (121e12, 30.3e12),
    "l40s": (362e12, 91.6e12),
    "rtx3090": (71e12, 35.6e12),
    "rtx4090": (165e12, 82.6e12),
    "a100": (312e12, 19.5e12),
    "h100": (989e12, 66.9e12),
    "h200": (989e12, 66.9e12),
    "b200": (2250e12, 75e12),
}
"""Device -> FLOP/s in 16 bits (bfloat16; float16 where there is none), dense, and in float32 without TF32, as the
makers state them for the SXM form where there are several."""

UNITS = {"": 1, "K": 10, "M": 20, "G": 30, "T": 40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?B)?", re.IGNORECASE)
RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([GTP])(?:FLOPS|FLOP/S)?", re.IGNORECASE)
RATES = {"G": 1e9, "T": 1e12, "P": 1e15}


def bytes_of(size: str | int, name: str = "device-memory") -> int:
    """A size as users write it: "80G" and "80GiB" are 80 * 2^30 bytes, "80GB" 80 * 10^9; a number is bytes.

    Raises UsageError for a text without unit.
    """
    if isinstance(size, int):
        return size
    found = SIZE.fullmatch(size.strip())
    if not found or not float(found[1]):
        number = re.fullmatch(r"\d+(\.\d+)?", size.strip())
        like = f"{size.strip()}G" if number and float(size) else "80G"
        what = f"'{size}' has no unit" if number and float(size) else f"'{size}' is no size"
        raise UsageError(f"{name}: {what}: write {like} (2^30 bytes each) or {like}B (10^9)")
    power = UNITS[found[2].upper()]
    unit: int = 10 ** (3 * power // 10) if (found[3] or "").lower() == "b" else 2**power
    return round(float(found[1]) * unit)


def rate_of(rate: str | float) -> float:
    """FLOP/s as users write them, "989T"; a number is FLOP/s. Raises UsageError for a text without unit."""
    if isinstance(rate, (int, float)):
        return float(rate)
    found = RATE.fullmatch(rate.strip())
    if not found or not float(found[1]):
        raise UsageError(f"peak: '{rate}' is no rate: write 989T for 989 * 10^12 FLOP/s")
    return float(found[1]) * RATES[found[2].upper()]


def peak_of(hardware: str, precision: str) -> float:
    """FLOP/s of a known device at most. Raises UsageError with the nearest name for one that is not known."""
    key = re.sub(r"[\s_-]", "", hardware.lower()).removeprefix("nvidia")
    if key not in PEAKS:
        raise unknown("hardware", hardware, PEAKS)
    low, full = PEAKS[key]
    return full if precision == "fp32" else low


@dataclass(frozen=True)
class Expense:
    """What a number of images takes.

    rate: FLOP/s of one device that are used, utilisation (in [0, 1]) of peak.  seconds, recomputing: of all devices
    together, without and with activations computed again.  price: money per hour of one device, or None.
    """

    images: int
    devices: int
    peak: float
    utilisation: float
    seconds: float
    recomputing: float
    price: float | None = None

    @property
    def device_hours(self) -> float:
        """Of all devices, without recomputing."""
        return self.seconds * self.devices / 3600

    @property
    def money(self) -> float | None:
        """In the price's currency, without recomputing."""
        return None if self.price is None else self.price * self.device_hours


def expense(
    images: int, step_flops: int, recomputed_flops: int, devices: int, peak: float, utilisation: float,
    price: float | None = None,
) -> Expense:  # fmt: skip
    """Time at a stated share of the devices' peak; FLOPs are of one image. Whatever computes nothing, communication
    and waiting for data as well, is in that share."""
    rate = devices * peak * utilisation
    seconds, again = images * step_flops / rate, images * recomputed_flops / rate
    return Expense(images, devices, peak, utilisation, seconds, seconds + again, price)
