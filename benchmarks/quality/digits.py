"""scikit-learn's 1,797 digits of 8 x 8 pixels; no download.

    python benchmarks/quality/digits.py --out runs/digits --time 4m

Aim: 98.5 % on test. Expected: 17 arms x 3 seeds x 4 minutes, some 3.4 hours of two cores; `--only recipe` 12 minutes.
Splits are Vitrail's own (15 % val, 15 % test, by content), the same in every cell. A mirrored digit is another sign, so
recipes do not mirror.
"""

from __future__ import annotations

from arms import Set, arms
from cells import parser, run

VIT = {"depth": 3, "width": 96, "heads": 3, "hidden": 192}
"""What `make demo` trains."""
COMMON = {"model.image_size": 8, "augment.crop_scale": (0.85, 1.0)}
DIGITS = Set(image_size=8, outputs=10, vit=VIT, naive=4, common=COMMON)


def main() -> None:
    """Train and write down."""
    options = parser(__doc__, "4m").parse_args()
    run(options, "digits", ["digits"], arms(DIGITS))


if __name__ == "__main__":
    main()
