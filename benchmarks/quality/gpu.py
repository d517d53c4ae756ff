"""Full CIFAR-10 on one GPU, in under nine minutes: a plain ViT under 3 million parameters beside its ResNet-18.

    python benchmarks/quality/gpu.py --data FOLDER --out OUT            (FOLDER: cifar10_train.zip, cifar10_test.zip)
    python benchmarks/quality/gpu.py --data FOLDER --out OUT --small    (any machine, some minutes: is the way whole?)

Trains ResNet-18 (3 x 3 stem), the ViT, and the ViT taught by that ResNet, each for its share of --minutes, and prints
accuracies, images per second and the time to accuracy. Aims: ViT 94.0 %, helped or taught 96 %, ResNet-18 95 %. What is
finished is not trained again and what was stopped goes on: the same command, or `--only vit`, does it in parts. Nothing
is installed: vitrail is imported from src/ beside this file, and what it needs from where this Python finds it.
Not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch
from arms import Arm, count
from cells import parser, run
from cifar10_slice import CIFAR10, VIT, unpack
from table import main as print_table

AIMS = {"resnet18": 0.95, "vit": 0.94, "taught": 0.96, "helped": 0.96}
SHARES = {"resnet18": 0.28, "vit": 0.34, "taught": 0.38, "helped": 0.34}
"""Of --minutes, for each of what is trained; `helped` only with --only, in a part of its own."""
MOST = 3_000_000


def main() -> None:
    """Unpack, train, say."""
    words = parser(__doc__, "", seeds=1)
    words.add_argument("--data", type=Path, required=True, help="the folder of cifar10_train.zip and cifar10_test.zip")
    words.add_argument("--minutes", type=float, default=8.0, help="for resnet18, vit and taught together")
    words.add_argument("--small", action="store_true", help="a hundredth of the images, one epoch, a small ViT")
    options = words.parse_args()
    began = time.monotonic()
    share, test = (0.005, 0.02) if options.small else (1.0, 1.0)
    folder = unpack(options.data, options.out / "data", share, 0, test)
    print(f"images unpacked in {time.monotonic() - began:.0f} s", flush=True)
    if options.small and options.epochs is None:
        options.epochs = 1.0
    arms, wanted = _arms(options), (options.only or "resnet18,vit,taught").split(",")
    for options.only in wanted:
        if options.only not in arms:
            raise SystemExit(f"no such arm: {options.only}; there are {', '.join(arms)}")
        options.time = f"{60 * options.minutes * SHARES[options.only]:.0f}"
        run(options, "cifar10, small" if options.small else "cifar10, whole", [str(folder)], arms)
    sys.argv[1:] = [str(options.out / "results.jsonl"), "--against", "resnet18"]
    print_table()
    _judge(options)


def _arms(options: argparse.Namespace) -> dict[str, Arm]:
    vit = {**VIT, **({"depth": 2, "width": 64, "heads": 2, "hidden": 128} if options.small else {})}
    own = {f"model.options.{name}": value for name, value in vit.items()}
    common = {"model.image_size": 32, "data.val_fraction": 0.1 if options.small else 0.04}
    assert count("vit_tiny", CIFAR10, vit) < MOST
    resnet = {"model.name": "resnet18", **({"model.options.width": 8} if options.small else {})}
    deit = {"model.name": "deit_tiny_distilled", **own}
    return {
        "resnet18": Arm("ResNet-18, 3 x 3 stem", {**common, **resnet}),
        "vit": Arm("plain ViT", {**common, "model.name": "vit_tiny", **own}),
        "taught": Arm("ViT, taught by that ResNet-18", {**common, **deit}, teacher="resnet18", parts=True),
        "helped": Arm(
            "ViT with a convolutional stem, taught", {**common, **deit, "model.options.stem": "conv"},
            teacher="resnet18", parts=True,
        ),
    }  # fmt: skip


def _judge(options: argparse.Namespace) -> None:
    """Each accuracy beside its aim, or that it is open."""
    lines = [json.loads(line) for line in (options.out / "results.jsonl").read_text().splitlines()]
    if options.small or not torch.cuda.is_available():
        why = "a small setting" if options.small else "no GPU"
        print(f"\nThe result on full CIFAR-10 is open: {why}. That the way is whole is all that was shown.")
        return
    for line in lines:
        reached, aim = line["test"]["accuracy"], AIMS[line["arm"]]
        print(
            f"{line['arm']}: {100 * reached:.2f} %, aim {100 * aim:.1f} %: {'reached' if reached >= aim else 'missed'}"
        )


if __name__ == "__main__":
    main()
