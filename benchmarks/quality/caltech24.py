"""Small photos: 24 classes of Caltech-101, 1,367 images to learn from, 64 px, the official split.

    python benchmarks/quality/caltech24.py --out runs/caltech24 --rates 3e-4,1e-3,3e-3 --time 25m

A validation part is cut from the official training images; choices are made on it, test is scored once a cell. Each
cell is given the same wall time. Expected: 17 arms x 3 seeds x 25 minutes and 5 x 3 for tuning, some 27 hours of two
cores; `--only naive,recipe,resnet18,token --time 10m` answers the main question in 3. `--only`, `--stage` and
`--time-left` do a part; table.py prints what is there.
"""

from __future__ import annotations

from pathlib import Path

from arms import Set, arms
from cells import parser, run

DATA = Path("..") / "shared" / "data" / "caltech24"
VIT = {"depth": 6, "width": 128, "heads": 4, "hidden": 256}
"""0.8 million parameters: so few images and minutes train no larger one."""
CALTECH24 = Set(image_size=64, outputs=24, vit=VIT, naive=16, common={"model.image_size": 64})


def main() -> None:
    """Train and write down."""
    words = parser(__doc__, "25m")
    words.add_argument("--data", type=Path, default=DATA, help="the folder of images/, train.txt and test.txt")
    options = words.parse_args()
    run(
        options,
        "caltech24",
        [str(options.data / "images"), "--split-file", str(options.data / "train.txt")],
        arms(CALTECH24),
    )


if __name__ == "__main__":
    main()
