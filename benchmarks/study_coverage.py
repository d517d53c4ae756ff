"""How often the study's intervals hold the truth, on made-up studies whose truth is known.

    python benchmarks/study_coverage.py --studies 300    # one minute of one core

95 is what is promised. "one": a model's score. "pair": a difference alone. "all": all differences of a table at once,
of models that are equal, so that 100 - all is how often some model is called better although none is. "2x", "10x":
errors predicted for twice and ten times the largest size. "hidden": the largest size, predicted from the others.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "study"))

from worlds import outcomes
from worlds_of_curves import SIZES, law, measured

from vitrail.study.statistics.crossing import crossing
from vitrail.study.statistics.curves import fit_curve, hide_largest
from vitrail.study.statistics.differences import compare
from vitrail.study.statistics.folds import of_folds
from vitrail.study.statistics.joint import of_means

TABLES = [  # models, seeds, images, accuracy, what a training moves its model by
    (4, 3, 200, 0.70, 0.0), (4, 3, 200, 0.70, 0.1), (4, 3, 200, 0.70, 0.3), (2, 3, 200, 0.70, 0.1),
    (4, 2, 200, 0.70, 0.1), (4, 5, 600, 0.90, 0.1), (4, 3, 60, 0.70, 0.1), (2, 3, 200, 0.985, 0.05),
    (5, 3, 200, 0.70, (0.3, 0.1, 0.1, 0.1, 0.1)),
]  # fmt: skip
CURVES = [  # a, b, c, seed sd at the smallest size, at the largest
    (0.15, 0.35, 0.09, 0.01, 0.01), (0.15, 0.5, 0.0, 0.01, 0.01), (0.05, 1.0, 0.15, 0.01, 0.01),
    (0.30, 0.1, 0.0, 0.01, 0.01), (0.15, 0.35, 0.09, 0.003, 0.003), (0.15, 0.35, 0.09, 0.02, 0.004),
]  # fmt: skip


def shown(held: list[list[bool]], names: list[str]) -> str:
    """Percent of studies in which each interval held."""
    return "  ".join(f"{n} {100 * share:5.1f}" for n, share in zip(names, np.mean(held, axis=0), strict=True))


def tables(studies: int) -> None:
    """Scores and differences, of images and seeds."""
    for models, seeds, images, accuracy, sd in TABLES:
        rng, held, halves = np.random.default_rng(1), [], []
        for _ in range(studies):
            joint = of_means(outcomes(rng, [accuracy] * models, seeds, images, np.array(sd)), resamples=500)
            pairs = compare(joint, 0.0)
            held.append([joint.interval("m0").holds(accuracy), pairs[0].alone.holds(0)])
            held[-1].append(all(pair.together.holds(0) for pair in pairs))
            halves.append(pairs[0].together.half)
        trained = f"{np.max(sd)}{' of one' * (np.ndim(sd) > 0)}"
        about = f"{models} models, {seeds} seeds, {images} images, accuracy {accuracy}, training {trained}"
        print(f"{about:64} {shown(held, ['one', 'pair', 'all'])}  +-{100 * np.mean(halves):.1f} points", flush=True)


def folds(studies: int) -> None:
    """Differences of equal models, whose folds' scores are correlated as test / (test + train)."""
    rng, held = np.random.default_rng(1), []
    for _ in range(studies):
        scores = {}
        for name in ("m0", "m1", "m2"):
            scores[name] = rng.normal() * np.sqrt(0.2) + rng.normal(size=(2, 5)) * np.sqrt(0.8)
        pairs = compare(of_folds(scores, 5, 300), 0.0)
        held.append([pairs[0].alone.holds(0), all(pair.together.holds(0) for pair in pairs)])
    print(f"{'3 models, 2 x 5 folds':64} {shown(held, ['pair', 'all'])}", flush=True)


def curves(studies: int) -> None:
    """Parameters and predictions of learning curves with 5 sizes and 3 seeds."""
    for a, b, c, first, last in CURVES:
        rng, held = np.random.default_rng(1), []
        spreads = np.geomspace(first, last, len(SIZES))
        for _ in range(studies):
            joint = measured(rng, law(SIZES, a, b, c), seed_sd=spreads)
            curve = fit_curve(SIZES, joint)
            said = [curve.parameters[key].holds(value) for key, value in (("a", a * 4000**b), ("b", b), ("c", c))]
            said += [curve.predict(4000 * times).holds(a * times**-b + c) for times in (2, 10)]
            held.append([*said, hide_largest(SIZES, joint).held])
        about = f"{a} n^-{b} + {c}, seeds {first} to {last}"
        print(f"{about:64} {shown(held, ['a', 'b', 'c', '2x', '10x', 'hidden'])}", flush=True)


def whole(studies: int) -> None:
    """The same from outcomes of 600 images: two models with curves that cross, trained ever more alike."""
    rng, held = np.random.default_rng(1), []
    truths = law(SIZES, 0.15, 0.2, 0.05), law(SIZES, 0.25, 0.6, 0.03)
    factors = np.geomspace(1, 100, 10001)
    passes = factors[np.argmax(0.25 * factors**-0.6 + 0.03 < 0.15 * factors**-0.2 + 0.05)]
    for _ in range(studies):
        spreads = np.tile(np.geomspace(0.3, 0.05, len(SIZES)), 2)
        joint = of_means(outcomes(rng, [*(1 - np.concatenate(truths))], 3, 600, spreads), resamples=500).errors()
        half = len(SIZES)
        slow, fast = (fit_curve(SIZES, joint.select(joint.names[k : k + half])) for k in (0, half))
        held.append([slow.parameters["b"].holds(0.2), slow.predict(8000).holds(0.15 * 2**-0.2 + 0.05)])
        held[-1] += [slow.predict(40000).holds(0.15 * 10**-0.2 + 0.05)]
        held[-1] += [hide_largest(SIZES, joint.select(joint.names[:half])).held]
        held[-1] += [crossing(("fast", "slow"), fast, slow).factor.holds(float(passes))]
    about = f"0.15 n^-0.2 + 0.05 from outcomes, crossed at {passes:.2f} times"
    print(f"{about:64} {shown(held, ['b', '2x', '10x', 'hidden', 'crossing'])}", flush=True)


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300, help="made-up studies of each kind")
    studies = parser.parse_args().studies
    tables(studies)
    folds(studies)
    curves(studies)
    whole(studies)


if __name__ == "__main__":
    main()
