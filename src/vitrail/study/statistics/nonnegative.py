"""Least squares with two terms, neither of them negative, for many right-hand sides at once, in closed form."""

from __future__ import annotations

import numpy as np

from vitrail.report.statistics import Doubles


def two_terms(pp: Doubles, pq: Doubles, qq: Doubles, py: Doubles, qy: Doubles) -> tuple[Doubles, Doubles]:
    """(a, c) >= 0 that minimise sum w (y - a p - c q)^2, from its weighted sums of products, which broadcast.

    pp = sum w p p > 0, pq = sum w p q, and so on. Where the free optimum has a negative term, the optimum lies on the
    edge where one of them is 0 (Lawson and Hanson 1974, chapter 23); of the two edges the lower is taken.
    """
    determinant = pp * qq - pq * pq
    with np.errstate(divide="ignore", invalid="ignore"):
        a, c = (qq * py - pq * qy) / determinant, (pp * qy - pq * py) / determinant
        free = (a >= 0) & (c >= 0) & (determinant > 1e-14 * pp * qq)
    alone_p, alone_q = np.maximum(py, 0) / pp, np.maximum(qy, 0) / qq
    on_p = alone_p * np.maximum(py, 0) >= alone_q * np.maximum(qy, 0)  # what each edge takes off the sum of squares
    return np.where(free, a, np.where(on_p, alone_p, 0.0)), np.where(free, c, np.where(on_p, 0.0, alone_q))
