"""Studies made up from a seed, one of each kind, realistic in their figures, with long names and missing values."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitrail.report import study_charts as charts
from vitrail.report.study_page import Chart, Part, StudyPage, Table, Trace

MODELS = (
    "vit_small_patch16_224", "deit_small_distilled_patch16_224", "swin_tiny_patch4_window7_224", "pvt_v2_b1",
    "timm:convnextv2_atto.fcmae_ft_in1k",
)  # fmt: skip
NAN = float("nan")


def made(kind: str, models: tuple[str, ...] = MODELS) -> StudyPage:
    """A study of a kind over models."""
    parts = PARTS[kind](models, np.random.default_rng(0))
    return StudyPage(
        kind=kind,
        name="叶子 leaves",
        subtitle=f"{len(models)} models on photos/leaves · 64 px images · 3 seeds · 30 min",
        verdict=[
            f"Take {models[-1]}. No other model can be better here by more than 1 point, and of those of which that is"
            " true it costs least.",
            f"{models[-1]} is better than {models[0]} here by 2.1 to 6.3 points (95 %, 3 seeds, 687 test images).",
            "With other test images and other seeds it would come out best in 97 of 100 cases.",
        ],
        cautions=["One cell of 15 failed: loss was not finite at step 40 of <deit>.", "Energy was not measured."],
        parts=parts,
        method=["Every model had the same share of the time, and its learning rate was tuned over the same 3 values."],
        limits=["Other images than these may rank the models otherwise.", "Models were trained from nothing."],
        traces=[
            *(
                Trace(f"{model}-seed{seed}", f"cells/{model}-seed{seed}", "20 epochs, lr 0.001", "finished")
                for model in models for seed in range(3)
            ),
            Trace("tuning of 叶子 #1", "cells/叶子 #1?", "lr 0.01", "failed: loss was not finite"),
            Trace("not begun", "", "lr 0.003", "left out: the time was over"),
        ],
        command="vitrail compare photos/leaves --models " + ",".join(models) + " --seeds 3 --time 30m",
        versions={"vitrail": "0.1.0", "python": "3.11.7", "torch": "2.15.0"},
        settings="models:\n" + "".join(f"- {model}\n" for model in models),
    )  # fmt: skip


def _span(draw: np.random.Generator, low: float, high: float, half: float) -> charts.Span:
    value = float(draw.uniform(low, high))
    return value, value - half, value + half


def _compare(models: tuple[str, ...], draw: np.random.Generator) -> list[Part]:
    spans: dict[str, charts.Span | None] = {model: _span(draw, 0.6, 0.8, 0.035) for model in models}
    latency: dict[str, float | None] = {model: float(draw.uniform(2, 60)) for model in models}
    if len(models) > 1:
        spans[models[1]], latency[models[2]] = (0.69, NAN, NAN), None
    columns = [
        "Model",
        "Accuracy",
        "95% interval",
        "Latency p50",
        "Latency p95",
        "Images/s",
        "Parameters",
        "GMACs",
        "Memory",
        "Disk",
        "ECE",
    ]
    rows = [
        [model, "71.3%", "67.9% to 74.8%", "12.4 ms", "15.1 ms", "81", "21.7 M", "4.61", "1,204 MB", "87 MB", "–"]
        for model in models
    ]
    kinds: dict[str, dict[str, list[float | None]]] = {
        kind: {model: [0.72, 0.7 - 0.1 * draw.random(), 0.6 - 0.2 * draw.random(), None] for model in models}
        for kind in ("JPEG", "blur", "noise", "brightness", "shift", "rotation")
    }
    return [
        Part(
            "scores",
            "Scores and costs",
            ["Every model was scored once on the test images."],
            [Table("", columns, rows, "One row a model; – where it was not measured.", columns[1:])],
            [
                Chart(
                    "scores",
                    charts.intervals(spans, "accuracy, test images", share=True),
                    "Accuracy of every model",
                    "Bars: 95 % intervals over images and seeds.",
                ),
                Chart(
                    "differences",
                    charts.intervals(
                        {f"{models[-1]} - {model}": _span(draw, -0.02, 0.06, 0.02) for model in models[:-1]}
                        or {"none": None},
                        "difference in accuracy",
                        share=True,
                        mark=0.0,
                        marked="no difference",
                    ),
                    "Differences",
                ),
                Chart(
                    "pareto",
                    charts.pareto(
                        latency,
                        spans,
                        [models[0], models[-1]],
                        "latency at batch 1, ms",
                        "accuracy",
                        chosen=models[-1],
                        order=models,
                    ),
                    "Accuracy over latency",
                    "Up and to the left is better.",
                ),
            ],
            "test",
        ),
        Part(
            "robustness",
            "When images are spoiled",
            charts=[
                Chart(
                    "robustness",
                    charts.bars_by_level(kinds, "accuracy", order=models),
                    "Accuracy by kind and level",
                    "Bars.",
                )
            ],
            split="test",
        ),
    ]


def _data(models: tuple[str, ...], draw: np.random.Generator) -> list[Part]:
    x = np.geomspace(100, 16000, 40)
    series = {}
    for model in models:
        a, b, c = draw.uniform(3, 6), draw.uniform(0.3, 0.5), draw.uniform(0.02, 0.1)
        law = a * x**-b + c
        points = [
            (n, (float(a * n**-b + c), float(a * n**-b + c) - 0.02, float(a * n**-b + c) + 0.02))
            for n in (100, 200, 400, 800, 1600)
        ]
        series[model] = charts.Curve(points, x, law, law - 0.02, law + 0.03)
    series[models[0]] = charts.Curve([(100, (0.6, NAN, NAN)), (200, (NAN, NAN, NAN))])
    figure = charts.curves(series, "training images", "error, test images", share=True, order=models, until=1600)
    return [
        Part(
            "curves",
            "What more images bring",
            ["Lines are laws fitted to the points."],
            [
                Table(
                    "Predicted",
                    ["Model", "2x", "10x"],
                    [[model, "61.2% (58.1% to 64.0%)", "–"] for model in models],
                    numbers=["2x", "10x"],
                )
            ],
            [Chart("curves", figure, "Error over training images", "Beyond the largest size it is a prediction.")],
            "test",
        )
    ]


def _scaling(models: tuple[str, ...], draw: np.random.Generator) -> list[Part]:
    sizes = [0.3e6, 0.9e6, 2.7e6, 8e6, 24e6]
    budgets = {
        f"{flops:g} FLOPs": charts.Budget(
            [(size, (0.5 - 0.1 * k + 0.06 * np.log(size / 10 ** (6 + 0.4 * k)) ** 2 / 5, NAN, NAN)) for size in sizes],
            (10 ** (6 + 0.4 * k), 0.5 - 0.1 * k),
        )
        for k, flops in enumerate((1e14, 1e15, 1e16))
    }
    return [
        Part(
            "iso",
            "The best size for a budget",
            charts=[Chart("iso", charts.iso(budgets, "parameters", "val loss"), "Loss over size", "A star is lowest.")],
            split="val",
        ),
        Part(
            "law",
            "The law",
            charts=[
                Chart(
                    "law",
                    charts.curves(
                        {models[0]: charts.Curve([(10.0**k, (1 / k, 0.9 / k, 1.1 / k)) for k in range(12, 17)])},
                        "FLOPs",
                        "loss",
                    ),
                    "Loss over FLOPs",
                )
            ],
        ),
    ]


def _cost(models: tuple[str, ...], draw: np.random.Generator) -> list[Part]:
    n = np.array([64, 256, 576, 1024, 4096])
    series = {
        model: charts.Growth([(float(x), float(1e-3 * x**power)) for x in n], 1e-3, (power, power - 0.05, power + 0.04))
        for model, power in zip(models, (1.9, 1.8, 1.05, 1.2, 1.0), strict=False)
    }
    series[models[0]] = charts.Growth([(64.0, 2.5), (256.0, NAN)])
    figure = charts.power(
        series,
        "tokens N",
        "forward pass, ms",
        order=models,
        crossings=[(700.0, "swin overtakes"), (2000.0, "ViT over PVT")],
    )
    return [
        Part(
            "time",
            "Time",
            charts=[
                Chart("time", figure, "Time over tokens"),
                Chart("memory", charts.power(series, "tokens N", "memory, MB", order=models), "Memory over tokens"),
            ],
        )
    ]


def _reach(models: tuple[str, ...], draw: np.random.Generator) -> list[Part]:
    layers = {model: [draw.uniform(5, 30, 3).tolist() for _ in range(6)] for model in models}
    y, x = np.mgrid[-32:32, -32:32]
    fields = {
        f"{model}, {state}": np.exp(-(x**2 + y**2) / (60.0 + 80 * k + 50 * t))
        for k, model in enumerate(models)
        for t, state in enumerate(("untrained", "trained"))
    }
    return [
        Part(
            "distance",
            "How far heads look",
            charts=[Chart("distance", charts.heads(layers, 64, 33.0), "Distance by head and layer", "Dots are heads.")],
            split="val",
        ),
        Part(
            "field",
            "What a place depends on",
            charts=[Chart("field", charts.field(fields, across=2), "Effective receptive fields")],
            split="val",
        ),
    ]


def _invariance(models: tuple[str, ...], draw: np.random.Generator) -> list[Part]:
    return [
        Part(
            f"kind-{number}",
            f"Under {kind}",
            charts=[
                Chart(
                    f"kind_{number}",
                    charts.intervals(
                        {model: _span(draw, 0.5, 0.9, 0.05) for model in models}, "same answers", share=True
                    ),
                    f"Answers under {kind}",
                )
            ],
            split="val",
        )
        for number, kind in enumerate(("shift", "scale", "flip", "rotation", "permutation"))
    ]


PARTS: dict[str, Any] = {
    "compare": _compare, "data-efficiency": _data, "scaling": _scaling, "cost": _cost, "reach": _reach,
    "invariance": _invariance,
}  # fmt: skip
