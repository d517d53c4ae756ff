"""What a finished run is like beside its score: how fast, how large, how hungry, how robust, how honest.

`measure` is the door. Read `finished` first, then a part: `speed`, `memory`, `energy`, `calibration`, and `robustness`
with `levels` (what is done to the images).
"""

from vitrail.study.measure.finished import Measured, measure

__all__ = ["Measured", "measure"]
