"""A plan against arithmetic by hand, against steps traced at the batch itself, and against measured training."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist

import vitrail
from vitrail.cost import trace as tracing
from vitrail.cost.count import gmacs
from vitrail.cost.hardware import bytes_of, expense, peak_of, rate_of
from vitrail.cost.memory import MOST, OUTSIDE, Setting, largest, memory
from vitrail.cost.plan import plan
from vitrail.cost.timeline import Span, Timeline
from vitrail.cost.trace import Step, trace
from vitrail.errors import UsageError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "plan.py"
VIT: dict[str, Any] = {"image_size": 32, "patch_size": 8, "width": 24, "heads": 3, "hidden": 48, "depth": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "vit_tiny": VIT,
    "swin_tiny_patch4_window7_224": {"image_size": 56, "depths": (2, 2), "heads": (2, 4), "width": 16},
    "pvt_v2_b0": {"image_size": 32},
    "resnet18": {"image_size": 32},
}


def small(name: str = "vit_tiny", **options: Any) -> Any:
    with torch.device("meta"):
        return vitrail.create_model(name, outputs=5, **{**FAMILIES[name], **options})


@pytest.fixture(scope="module")
def step() -> Step:
    """Of a small ViT, as a CPU computes it."""
    return trace(small(), precision="fp32", kernels="cpu")


# ------------------------------------------------------------------------------------------------------------- FLOPs


@pytest.mark.parametrize("kernels", ["cpu", "cuda"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_traced_forward_pass_costs_what_the_catalogue_counts(name: str, kernels: Any) -> None:
    model = small(name)
    size = model.backbone.image_size
    assert trace(small(name), kernels=kernels).forward_flops == round(2e9 * gmacs(model, size))


def test_the_backward_pass_costs_twice_the_forward_but_for_what_only_pixels_would_want(step: Step) -> None:
    """No gradient goes to the images, so the patch embedding is multiplied for its weights alone."""
    patches, d, m, classes = 16, 24, 48, 5
    t = patches + 1
    embedding = 2 * patches * 3 * 64 * d
    block = 2 * (4 * t * d * d + 2 * t * t * d + 2 * t * d * m)
    assert step.forward_flops == embedding + 2 * block + 2 * d * classes
    assert step.step_flops == 3 * step.forward_flops - embedding
    assert step.recomputed_flops == 0


def test_what_is_computed_again_is_counted_apart(step: Step) -> None:
    again = trace(small(), precision="fp32", kernels="cpu", again=True)
    assert (again.forward_flops, again.step_flops) == (step.forward_flops, step.step_flops)
    assert 0 < again.recomputed_flops < again.forward_flops


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize(("name", "again"), [("vit_tiny", False), ("vit_tiny", True), ("resnet18", False)])
def test_one_trace_tells_the_peak_of_every_batch(name: str, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told = trace(small(name), precision="bf16", kernels="cpu", again=again)
    for batch in (3, 8):
        monkeypatch.setattr(tracing, "BATCH", batch)
        monkeypatch.setattr(tracing, "_per_image", lambda flops: flops)
        itself = trace(small(name), precision="bf16", kernels="cpu", again=again)
        assert told.timeline.peak(batch).total == itself.timeline.peak(batch).total


def test_a_peak_is_of_one_instant() -> None:
    """7 and 70 bytes live together, 7 of them whatever the batch; 49 came before the 70 were."""
    spans = [Span(49, 0, 1), Span(5, 2), Span(70, 3, 5, forward=True), Span(14, 4, 5)]
    timeline = Timeline(spans, batch=7, turned=4, end=6)
    assert timeline.peak(7).parts == {
        "activations": 70, "attention": 0, "copies": 5, "gradients": 0, "workspace": 14,
    }  # fmt: skip
    assert timeline.peak(1).total == 5 + 10 + 2
    assert timeline.peak(1, rounding=8).total == 8 + 16 + 8


def test_states_and_averages_are_as_large_as_the_weights(step: Step) -> None:
    weights = 4 * vitrail_parameters()
    plain = memory(step, 4, Setting("cpu"))
    assert step.weights == step.gradient_bytes == weights
    assert (plain["optimizer"], plain["ema"]) == (2 * weights, 0)
    other = memory(step, 4, Setting("cpu", optimizer="sgd", ema=True, accumulate=2, buckets=True))
    assert (other["optimizer"], other["ema"]) == (weights, weights + step.buffers)
    assert other["gradients"] >= weights
    assert other["copies"] == plain["copies"] + weights


def vitrail_parameters() -> int:
    return sum(parameter.numel() for parameter in small().parameters())


def test_the_largest_batch_fits_and_one_image_more_does_not(step: Step) -> None:
    setting, limit = Setting("cpu"), OUTSIDE["cpu"] + 20_000_000
    most = largest(step, setting, limit)
    assert most > 1
    room = limit - OUTSIDE["cpu"]
    assert sum(memory(step, most, setting).values()) <= room < sum(memory(step, most + 1, setting).values())
    assert largest(step, setting, OUTSIDE["cpu"]) == 0
    assert largest(step, setting, 2**62) == MOST


def test_shards_divide_what_stands_and_what_is_gathered_is_given_back() -> None:
    whole = trace(small(depth=8), precision="fp32")
    spread = trace(small(depth=8), precision="fp32", shards=4)
    kept = trace(small(depth=8), precision="fp32", shards=4, reshard=False)
    assert not dist.is_initialized()
    assert whole.weights / 4 <= spread.weights < whole.weights / 2  # what four do not divide is padded
    assert spread.gradient_bytes <= spread.weights
    assert spread.forward_flops == whole.forward_flops
    batch = 64
    gathered, held = (step.timeline.peak(batch).parts["copies"] for step in (spread, kept))
    assert gathered < 0.6 * held
    assert held >= 0.9 * whole.weights


def test_the_first_device_cuts_what_torch_would_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of parameters that 48 devices divide evenly, unevenly, and of which most get nothing."""
    quick = trace(small(), shards=48)
    monkeypatch.setattr(tracing, "_one_part", contextlib.nullcontext)
    itself = trace(small(), shards=48)
    assert quick.timeline.peak(4) == itself.timeline.peak(4)
    assert (quick.weights, quick.gradient_bytes) == (itself.weights, itself.gradient_bytes)


def test_sharding_needs_a_process_without_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    with pytest.raises(UsageError, match="belongs to a process group"):
        trace(small(), shards=2)


# -------------------------------------------------------------------------------------------------------- the promise


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """benchmarks/plan.py, which measures training."""
    spec = importlib.util.spec_from_file_location("plan_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan_benchmark"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["plan_benchmark"]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"precision": "bf16", "recompute": True, "ema": 0.9},
        {"optimizer": "lamb", "accumulate": 2},
        {"model": "resnet18", "batch": 8},
    ],
    ids=["plain", "bf16, recompute, ema", "lamb, accumulate", "resnet18"],
)
def test_training_takes_the_memory_that_was_planned(script: ModuleType, changed: dict[str, Any]) -> None:
    """Bytes given out by PyTorch's allocator during two updates of the project's own loop."""
    case = {
        "model": "vit_tiny_patch16_224", "batch": 16, "precision": "fp32", "recompute": False, "device": "cpu",
        "image_size": 64, "accumulate": 1, "ema": 0.0, "optimizer": "adamw", "classes": 10, **changed,
    }  # fmt: skip
    assert script.predict(case) == pytest.approx(script.allocated(case), rel=0.05)


# -------------------------------------------------------------------------------------------------- the whole of a plan


def test_a_plan_has_a_row_for_each_way_to_train() -> None:
    made = plan("vit_tiny", image_size=32, devices=2, batch=8, device_memory="2G", device="cpu", classes=5)
    assert [(row.parallel, row.recompute) for row in made.rows] == [
        (kind, again) for kind in ("ddp", "fsdp", "fsdp-keep") for again in (False, True)
    ]
    assert {row.batch for row in made.rows} == {4}
    assert all(row.fits and row.largest is not None and row.largest >= 4 for row in made.rows)
    assert made.parameters == sum(
        p.numel() for p in vitrail.create_model("vit_tiny", outputs=5, image_size=32).parameters()
    )
    assert made.expense is None


def test_time_and_money_by_hand() -> None:
    spent = expense(
        1000, step_flops=3 * 10**9, recomputed_flops=10**9, devices=4, peak=1e12, utilisation=0.25, price=3.0
    )
    assert spent.seconds == pytest.approx(3.0)
    assert spent.recomputing == pytest.approx(4.0)
    assert spent.money == pytest.approx(3.0 * 4 * 3 / 3600)


def test_sizes_and_rates_are_read_as_written() -> None:
    assert bytes_of("80G") == bytes_of("80GiB") == 80 * 2**30
    assert (bytes_of("24GB"), bytes_of("1.5T"), bytes_of("512m")) == (24 * 10**9, 3 * 2**39, 2**29)
    assert (rate_of("989T"), rate_of("2.25P"), rate_of("50GFLOPS")) == (989e12, 2.25e15, 50e9)
    assert peak_of("NVIDIA H100", "bf16") == 989e12
    assert peak_of("a100", "fp32") == 19.5e12


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"device_memory": "80"}, "device-memory: '80' has no unit: write 80G"),
        ({"device_memory": "much"}, "device-memory: 'much' is no size: write 80G"),
        ({"devices": 8, "batch": 100}, "batch 100 does not divide over 8 devices: take 96, or another multiple of 8"),
        ({"devices": 2, "batch": 6, "accumulate": 2}, "over 2 devices in 2 micro-steps: take 8,"),
        ({"devices": 0}, "devices 0: at least 1"),
        ({"batch": 0}, "batch 0 does not divide over 1 device: take 1,"),
        ({"epochs": 1e-9}, "epochs 1e-09: less than one image"),
        ({"hardware": "h10"}, "unknown hardware 'h10': did you mean 'h100'?"),
        ({"precision": "bf61"}, "unknown precision 'bf61': did you mean 'bf16'?"),
        ({"devices": 2, "parallel": "fsdq"}, "unknown parallel 'fsdq': did you mean 'fsdp'?"),
        ({"parallel": "fsdp"}, "parallel fsdp: with 1 device only one"),
        ({"utilisation": 40.0}, "mfu 40: a share of the peak"),
        ({"utilisation": 0.4, "measured": True}, "either stated or measured"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam': did you mean 'adamw'?"),
        ({"image_size": 50}, "not divisible by the patch size"),
        ({"peak": "989"}, "peak: '989' is no rate"),
        ({"peak": 0.0}, "peak 0: more than 0 FLOP/s"),
        ({"peak": "989T", "hardware": "h100"}, "stated either by hardware or by peak"),
        ({"price": -1.0}, "price -1: 0 or more"),
    ],
)
def test_what_does_not_fit_together_is_said_before_anything_is_traced(
    stated: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrail.cost.plan.trace", lambda *_, **__: pytest.fail("traced"))
    with pytest.raises(UsageError) as refused:
        plan("vit_tiny", **stated)
    assert said in str(refused.value)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_utilisation_of_this_machine_is_of_this_model(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.cost.measure.LEAST_SECONDS", 0.01)
    monkeypatch.setattr("vitrail.cost.measure.SIDE", {"cpu": 64, "cuda": 64})
    made = plan(
        "vit_tiny", image_size=32, batch=2, precision="fp32", classes=3, recompute=False, measured=True, images=50,
        device=device,
    )  # fmt: skip
    found, spent = made.measured, made.expense
    assert found is not None
    assert spent is not None
    assert found.utilisation == pytest.approx(found.images_per_s * made.training_flops / found.peak)
    assert spent.seconds == pytest.approx(50 / found.images_per_s)


def test_a_model_too_large_for_here_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.cost.measure.free_memory", lambda: 2**20)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="measure a smaller model"):
        plan("vit_tiny", image_size=32, batch=2, classes=3, recompute=False, measured=True)
