"""The memory that `vitrail plan` predicts beside the memory that training takes.

    python benchmarks/plan.py [--models a,b] [--batches 8,32] [--precision fp32,bf16] [--device cpu|cuda] [--fsdp 2]

Each case is a process of its own that trains for two updates by the project's own loop. Measured on a CPU are the
bytes that PyTorch's allocator has given out at once, as its profiler records them, and what the process itself grew by
(its peak resident set, over what stood before the model); on a GPU the allocator's own peak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vitrail.assemble import create_model
from vitrail.contracts import Batch
from vitrail.cost.measure import most_allocated
from vitrail.cost.plan import plan
from vitrail.cost.trace import shard
from vitrail.layers.recompute import recompute
from vitrail.settings import build
from vitrail.training.loop import Loop
from vitrail.training.objective import Supervised

MODELS = ("vit_small_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b1", "resnet50")
PROMISED = 0.10
UPDATES = 2


def make_loop(case: dict[str, Any]) -> tuple[Loop, list[Batch]]:
    """A training loop of a case, and the images of one update."""
    options = {} if case["image_size"] is None else {"image_size": case["image_size"]}
    model = create_model(case["model"], outputs=case["classes"], **options)
    backbone: Any = model.backbone
    size = backbone.image_size
    if case["recompute"]:
        recompute(backbone.blocks())
    config = build(
        {
            "data.source": "images", "model.name": case["model"], "train.precision": case["precision"],
            "train.batch_size": case["batch"], "train.accumulate": case["accumulate"], "train.ema": case["ema"],
            "train.optimizer": case["optimizer"],
        }
    )  # fmt: skip
    absent: Any = None  # what a loop has besides, and one update does not use
    loop = Loop(
        model=model, task=model.task, objective=Supervised(model.task), config=config, images=case["batch"],
        device=case["device"], make_batches=absent, validation=absent, make_engine=lambda model: absent,
        journal=absent, keep=absent, checkpoints=Path(), allowed_failures=0,
    )  # fmt: skip
    micro = case["batch"] // case["accumulate"]
    images, targets = torch.zeros(micro, 3, *size), torch.zeros(micro, dtype=torch.int64)
    numbers, names = torch.arange(micro), tuple(map(str, range(micro)))
    parts = [
        Batch(images.clone(), targets.clone(), torch.ones(micro), numbers, numbers, names)
        for _ in range(case["accumulate"])
    ]
    return loop, parts


def allocated(case: dict[str, Any]) -> int:
    """Most bytes that PyTorch's CPU allocator had given out at once, from the model's first tensor on."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loop, parts = make_loop(case)
        for _ in range(UPDATES):
            loop.update(parts)
    return most_allocated(profile)


def resident(case: dict[str, Any]) -> int:
    """What the process grew by at most, over what stood before the model."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again from here
    loop, parts = make_loop(case)
    for _ in range(UPDATES):
        loop.update(parts)
    return _status("VmHWM") - before


def sharded(case: dict[str, Any]) -> int:
    """The same of `allocated`, of the first of the processes that FSDP2 spreads the model over."""
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", store=dist.FileStore(case["store"], case["shards"]), rank=case["rank"], world_size=case["shards"]
    )
    mesh = dist.device_mesh.init_device_mesh("cpu", (case["shards"],))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        model = create_model(case["model"], outputs=case["classes"], image_size=case["image_size"])
        backbone: Any = model.backbone
        if case["recompute"]:
            recompute(backbone.blocks())
        shard(model, mesh, case["precision"], True)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        micro = case["batch"] // case["shards"]
        images, targets = torch.zeros(micro, 3, *backbone.image_size), torch.zeros(micro, dtype=torch.int64)
        model.train()
        loss: Any
        for _ in range(UPDATES):
            before = time.time_ns()  # the clock of the profile's events
            loss = model.task.loss(model(images), targets, None, train=True).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            del loss
    most = most_allocated(profile, since=before)  # sharding itself passes through all of the weights
    dist.destroy_process_group()
    return most


def measure_sharded(case: dict[str, Any], shards: int) -> int:
    """Bytes of the first process, while the others train beside it."""
    with tempfile.TemporaryDirectory() as folder:
        common = {**case, "how": "sharded", "shards": shards, "store": str(Path(folder) / "store")}
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--child", json.dumps({**common, "rank": rank})], stdout=subprocess.PIPE,
                text=True, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
            )
            for rank in range(shards)
        ]  # fmt: skip
        said = [process.communicate()[0] for process in started]
    return int(said[0])


def on_gpu(case: dict[str, Any]) -> int:
    """Most bytes that PyTorch's CUDA allocator had given out at once."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    loop, parts = make_loop(case)
    for _ in range(UPDATES):
        loop.update(parts)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def child(case: dict[str, Any]) -> int:
    """Measure one case in this process, after a small one that loads what any training loads."""
    small = {**case, "model": "vit_tiny_patch16_224", "image_size": 32, "batch": 2, "accumulate": 1, "classes": 2}
    loop, parts = make_loop(small)
    loop.update(parts)
    del loop, parts
    how = {"allocated": allocated, "resident": resident, "gpu": on_gpu, "sharded": sharded}[case["how"]]
    return how(case)


def measure(case: dict[str, Any], how: str) -> int:
    """Bytes, from a process of its own. Large blocks are given back at once, so what it holds is what it uses."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--child", json.dumps({**case, "how": how})]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return int(done.stdout)


def cases(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every model with every batch, precision and way of keeping activations."""
    return [
        {
            "model": model, "batch": batch, "precision": precision, "recompute": again, "device": arguments.device,
            "image_size": arguments.image_size, "accumulate": arguments.accumulate, "ema": arguments.ema,
            "optimizer": arguments.optimizer, "classes": 1000,
        }
        for model in arguments.models.split(",")
        for precision in arguments.precision.split(",")
        for again in (False, True)
        for batch in map(int, arguments.batches.split(","))
    ]  # fmt: skip


def predict(case: dict[str, Any], shards: int = 0) -> int:
    """What the plan says of a case, bytes."""
    made = plan(
        case["model"], batch=case["batch"], image_size=case["image_size"], precision=case["precision"],
        device=case["device"], accumulate=case["accumulate"], ema=case["ema"] > 0, optimizer=case["optimizer"],
        classes=case["classes"], recompute=case["recompute"], devices=shards or 1,
        parallel="fsdp" if shards else None,
    )  # fmt: skip
    return made.rows[0].peak


def main(words: Sequence[str] | None = None) -> int:
    """Print a row per case; 1 if some prediction is further off than promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batches", default="4,16")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--ema", type=float, default=0.0)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--fsdp", type=int, default=0, help="processes, on this CPU, that the model is spread over")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.child:
        print(child(json.loads(arguments.child)))
        return 0
    cpu = arguments.device == "cpu"
    what = f"{platform.machine()} CPU" if cpu else torch.cuda.get_device_name()
    print(f"{time.strftime('%Y-%m-%d')}  {what}, torch {torch.__version__}; MiB")
    second = f"{'resident':>9} {'off':>7}" if cpu else ""
    print(f"{'model':<28} {'prec':<5} {'again':<5} {'batch':>5} {'plan':>8} {'measured':>9} {'off':>7} {second}")
    worst = 0.0
    for case in cases(arguments):
        said = predict(case, arguments.fsdp)
        if arguments.fsdp:
            found = measure_sharded(case, arguments.fsdp)
        else:
            found = measure(case, "allocated" if cpu else "gpu")
        worst = max(worst, abs(said / found - 1))
        row = f"{case['model']:<28} {case['precision']:<5} {'yes' if case['recompute'] else 'no':<5} {case['batch']:>5}"
        row += f" {said / 2**20:>8.1f} {found / 2**20:>9.1f} {said / found - 1:>+7.1%}"
        if cpu and not arguments.fsdp:
            grown = measure(case, "resident")
            row += f" {grown / 2**20:>9.1f} {said / grown - 1:>+7.1%}"
            worst = max(worst, abs(said / grown - 1))
        print(row, flush=True)
    kept = worst <= PROMISED
    print(f"furthest off: {worst:.1%}; promised: {PROMISED:.0%}: {'kept' if kept else 'broken'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
