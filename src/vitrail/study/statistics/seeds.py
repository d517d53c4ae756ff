"""How far chance in training moved a score: few seeds, so its size is itself uncertain.

Three seeds resampled with replacement give ten different means, none outside the three: their percentiles hold the
truth far too seldom. So what seeds do is drawn from a normal law whose variance is drawn too, from what it could be
given the seeds seen (a generalised confidence interval: Weerahandi 1993; for crossed designs Burdick, Borror and
Montgomery 2005).
"""

from __future__ import annotations

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.seeding import generator

PRIOR = 4
"""What seeds do to the other models of a table counts as this many more seeds of each (Smyth 2004, moderated variance).

Three seeds alone have 2 degrees of freedom, and a normal interval 2.2 times as wide as many seeds would give. 4 says
that the variances of two models often differ two- or threefold. Where one is nine times the others (which
`benchmarks/study_coverage.py` has too), the 95 % interval of that model holds in 86 %, and those of all differences
together in 94 %.
"""


def spread(scores: Doubles) -> Doubles:
    """The variance between seeds (M,) of scores (M, S); NaN for one seed."""
    if scores.shape[1] < 2:
        return np.full(len(scores), np.nan)
    found: Doubles = scores.var(axis=1, ddof=1)
    return found


def moderated(variances: Doubles, explained: Doubles, seeds: int) -> tuple[Doubles, Doubles]:
    """Variances (M,) between seeds, each drawn towards what others let expect, and their degrees of freedom (M,).

    What is alike is the ratio to the part that images explain: models whose seeds differ on more images differ more in
    their scores. A model leans on those whose part is like its own (a factor of 2 apart counts 0.6, of 4 0.1), so that
    the end of a learning curve does not inherit the chances of its start. Where images explain nothing, variances
    themselves are taken as alike. A model without another like it keeps its own.
    """
    own = seeds - 1
    some = explained > 1e-12 * explained.max()  # seeds that agree on every image differ by rounding alone
    if not some.any() or (variances[~some] > 1e-12 * variances.max()).any():
        some, explained = np.ones(len(variances), bool), np.ones(len(variances))
    scale = np.where(some, explained, 1.0)
    ratio = np.where(some, variances / scale, 0.0)
    apart = np.log2(scale[:, None] / scale)
    weight = np.exp(-0.5 * apart**2) * (some[:, None] & some)
    lean = PRIOR * np.minimum(1.0, weight.sum(axis=1) - np.diag(weight))  # less of it where hardly another is alike
    expected = (weight @ ratio) / np.maximum(weight.sum(axis=1), 1e-300)
    return scale * (lean * expected + own * ratio) / (lean + own), lean + own


def seed_draws(
    names: tuple[str, ...], variances: Doubles, explained: Doubles, seeds: int, resamples: int
) -> Doubles:  # fmt: skip
    """What other seeds could have moved each model's mean score by: (R, M), around 0.

    variances (M,): between seeds.  explained (M,): the part of them that few test images alone explain, since each seed
    errs on other images; that part is in the draws of images already.
    0 for one seed, of which nothing is known.
    """
    if seeds < 2:
        return np.zeros((resamples, len(names)))
    leaned, freedom = moderated(variances, explained, seeds)
    columns = []
    for name, variance, degrees, known in zip(names, leaned, freedom, explained, strict=True):
        rng = generator("seeds of", name)
        possible = variance * degrees / rng.chisquare(degrees, resamples)
        beyond = np.maximum(0.0, possible - known)
        columns.append(rng.normal(size=resamples) * np.sqrt(beyond / seeds))
    return np.stack(columns, axis=1)
