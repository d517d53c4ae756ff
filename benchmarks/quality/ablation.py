"""Does each default of the small recipe earn its place? Each is switched off alone, seeds paired.

    python benchmarks/quality/ablation.py --out runs/ablation --set-name caltech24 --time 15m
    python benchmarks/quality/table.py runs/ablation/results.jsonl --against all --verdict

A default is kept where the paired 95 % interval over seeds of what is lost without it excludes zero, dropped where the
score rises without it, and stays open between (table.py --verdict; choices are on validation images). Expected: 16 arms
x 3 seeds x 15 minutes, some 11 hours of two cores. With --epochs the number of epochs is equal instead of the time.
"""

from __future__ import annotations

from pathlib import Path

import caltech24
import cifar10_slice
import digits
from arms import Arm, Set, options_of
from cells import parser, run

SETS: dict[str, Set] = {
    "caltech24": caltech24.CALTECH24, "digits": digits.DIGITS, "cifar10_slice": cifar10_slice.CIFAR10,
}  # fmt: skip
OFF: dict[str, dict[str, object]] = {
    "conv-stem": {"model.options.stem": "patch"},
    "randaugment": {"augment.randaugment_ops": 0},
    "crops": {"augment.crop_scale": (1.0, 1.0)},
    "gentle-crops": {"augment.crop_scale": (0.7, 1.0)},
    "mirroring": {"augment.flip": False},
    "mixup": {"augment.mixup": 0},
    "cutmix": {"augment.cutmix": 0},
    "erasing": {"augment.erase": 0},
    "smoothing": {"task.label_smoothing": 0},
    "drop-path": {"train.drop_path": 0},
    "average": {"train.ema": 0},
    "warm-up": {"train.warmup_epochs": 0},
    "decay": {"train.weight_decay": 0},
    "clipping": {"train.clip": 0},
    "cosine": {"train.min_lr": 1.0},
}
"""What is switched off -> the fields that do it. min_lr above the rate is a constant rate."""


def arms(data: Set) -> dict[str, Arm]:
    """The recipe whole, and without each part."""
    vit = {**data.common, "model.name": "vit_tiny", **options_of(data.vit)}
    without = {name: Arm(f"without {name}", {**vit, **fields}, rate="all") for name, fields in OFF.items()}
    return {"all": Arm("the small recipe", vit), **without}


def main() -> None:
    """Train and write down."""
    words = parser(__doc__, "15m")
    words.add_argument("--set-name", choices=sorted(SETS), default="caltech24")
    words.add_argument("--data", type=Path, help="its folder, where it is not beside the checkout")
    options = words.parse_args()
    name = options.set_name
    if name == "digits":
        images = ["digits"]
    elif name == "caltech24":
        place = options.data or caltech24.DATA
        images = [str(place / "images"), "--split-file", str(place / "train.txt")]
    else:
        images = [str(cifar10_slice.unpack(options.data or cifar10_slice.DATA, options.out / "data", 0.1, 0))]
    run(options, f"{name}, ablation", images, arms(SETS[name]))


if __name__ == "__main__":
    main()
