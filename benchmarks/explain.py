"""What an explanation costs, in forward passes of the same model on the same image, and in memory.

    python benchmarks/explain.py [--model vit_small] [--size 224] [--methods rollout,relevance] [--threads 1]

Promised for one image of vit_small at 224 px: methods by attention under 3 passes' time, methods by gradient that go
through the model once and back under 6. Each method runs in a process of its own: its peak is the growth of the
process over what it held after a forward pass. With --size 1024 the promise is that it ends within memory at all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

PROMISED = {"attention": 3.0, "gradient": 6.0}
PROMISED_FOR = ("vit_small", 224)
MANY = ("integrated_gradients", "smoothgrad")
"""By gradient, and of many passes by what they are: no promise holds for them."""


def seconds(work: Callable[[], object], times: int) -> float:
    """Median of so many runs, after one that warms caches."""
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak() -> float:
    """The largest size of this process so far, in MB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e6 if sys.platform == "darwin" else 1e3)


def one(name: str, method: str, size: int, threads: int, times: int) -> dict[str, object]:
    """One method on one model, in this process."""
    import torch

    import vitrail
    from vitrail.explain.methods import get_method
    from vitrail.explain.target import Target

    torch.set_num_threads(threads)
    model = vitrail.create_model(name, outputs=10, image_size=size).eval()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    chosen = get_method(method)
    if why := chosen.fits(model):
        return {"method": method, "why": why}

    def forward() -> None:
        with torch.inference_mode():
            model(images)

    def explained() -> None:
        chosen.compute(model, images, Target(torch.tensor([0])), layer=None, head=None)

    forward()
    before = peak()
    explained()
    grown = peak() - before
    passes = seconds(forward, times)
    return {
        "method": method,
        "cost": chosen.cost,
        "forward": passes,
        "explained": seconds(explained, times),
        "grown": grown,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row per method; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="vit_small")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--methods", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(one(given.model, given.one, given.size, given.threads, given.times)))
        return 0
    from vitrail.explain.methods import list_methods

    print(
        f"{time.strftime('%Y-%m-%d')}  {platform.machine()}, {os.cpu_count()} cores, {given.threads} used,"
        f" Python {platform.python_version()}; {given.model}, one image of {given.size} px"
    )
    broken = []
    for method in given.methods.split(",") if given.methods else list_methods():
        command = [sys.executable, __file__, "--one", method, "--model", given.model, "--size", str(given.size)]
        command += ["--threads", str(given.threads), "--times", str(given.times)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{method:<22} failed: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}")
            broken.append(method)
            continue
        row = json.loads(done.stdout)
        if "why" in row:
            print(f"{method:<22} {row['why']}")
            continue
        times = row["explained"] / row["forward"]
        held = (given.model, given.size) == PROMISED_FOR and method not in MANY
        promised = PROMISED.get(row["cost"]) if held else None
        kept = "" if promised is None else f"  promised under {promised:g}: {'kept' if times < promised else 'broken'}"
        print(
            f"{method:<22} {1000 * row['explained']:8.0f} ms = {times:6.2f} passes of {1000 * row['forward']:.0f} ms,"
            f" {row['grown']:6.0f} MB more{kept}"
        )
        if promised is not None and times >= promised:
            broken.append(method)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
