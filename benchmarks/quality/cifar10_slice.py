"""A tenth of CIFAR-10: 500 training images of each class, all 10,000 of test, 32 px.

    python benchmarks/quality/cifar10_slice.py --out runs/cifar10_slice --time 25m

Which images are in the slice is drawn from --slice-seed, class by class. Expected: 17 arms x 3 seeds x 25 minutes, some
22 hours of two cores; `--only naive,recipe,resnet18,token` 5. CIFAR-10 here is a JPEG copy: 1 to 2 points under
published figures.
"""

from __future__ import annotations

import random
import zipfile
from collections import defaultdict
from pathlib import Path

from arms import Set, arms
from cells import parser, run

DATA = Path("..") / "shared" / "data" / "cifar10"
VIT = {"depth": 9, "width": 192, "heads": 6, "hidden": 384}
"""2.7 million parameters, as in the repository of SPT and LSA."""
CIFAR10 = Set(image_size=32, outputs=10, vit=VIT, naive=16, common={"model.image_size": 32})


def unpack(data: Path, out: Path, share: float, seed: int, test: float = 1.0) -> Path:
    """Folders train/CLASS and test/CLASS with a share of each class's images; made once."""
    folder = out / f"cifar10-{share:g}-{test:g}-seed-{seed}"
    complete = folder.with_name(f"{folder.name}.complete")
    if complete.exists():
        return folder
    for split, part in (("train", share), ("test", test)):
        with zipfile.ZipFile(data / f"cifar10_{split}.zip") as archive:
            classes = defaultdict(list)
            for name in sorted(archive.namelist()):
                if name.endswith((".jpg", ".jpeg", ".png")):
                    classes[name.split("/")[-2]].append(name)
            draw = random.Random(f"{split} {seed}")
            for label, names in sorted(classes.items()):
                place = folder / split / label
                place.mkdir(parents=True, exist_ok=True)
                for name in draw.sample(names, max(1, round(part * len(names)))):
                    (place / name.split("/")[-1]).write_bytes(archive.read(name))
    complete.touch()
    return folder


def main() -> None:
    """Train and write down."""
    words = parser(__doc__, "25m")
    words.add_argument("--data", type=Path, default=DATA, help="the folder of cifar10_train.zip and cifar10_test.zip")
    words.add_argument("--share", type=float, default=0.1)
    words.add_argument("--test-share", type=float, default=1.0)
    words.add_argument("--slice-seed", type=int, default=0)
    options = words.parse_args()
    folder = unpack(options.data, options.out / "data", options.share, options.slice_seed, options.test_share)
    run(options, f"cifar10, {100 * options.share:g} %", [str(folder)], arms(CIFAR10))


if __name__ == "__main__":
    main()
