"""Saturating power laws, error = a (x + d)^-b + c, fitted to many curves at once.

For a given exponent b (and shift d) the best a, c >= 0 are known in closed form (variable projection: Golub and Pereyra
1973). So only b and d are searched: over a grid that covers all they may be, then ever more closely around the best
point, each curve on its own. No start can be a bad one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrail.report.statistics import Doubles
from vitrail.study.statistics.nonnegative import two_terms

LEAST_EXPONENT, MOST_EXPONENT = 0.01, 4.0
EXPONENTS, SHIFTS = 40, 12
_ROUNDS, _AROUND = 7, 7


@dataclass(frozen=True)
class Law:
    """error = a (x / unit + d / unit)^-b + c of R curves; a, b, c, d (R,), all >= 0; misfit (R,): weighted squares.

    a is the error above c at x + d = unit. d is 0 unless it was asked for.
    """

    a: Doubles
    b: Doubles
    c: Doubles
    d: Doubles
    unit: float
    misfit: Doubles

    def at(self, x: Doubles) -> Doubles:
        """Errors (R, P) at x (P,) > 0, of any size."""
        base = (x + self.d[:, None]) / self.unit
        values: Doubles = self.a[:, None] * base ** -self.b[:, None] + self.c[:, None]
        return values

    @property
    def factor(self) -> Doubles:
        """a (R,) as the formula has it without a unit: the error above c at x + d = 1."""
        scaled: Doubles = self.a * self.unit**self.b
        return scaled


def fit(x: Doubles, errors: Doubles, weights: Doubles, shifted: bool = False) -> Law:
    """The law nearest to each of R curves, by weighted least squares.

    x (J,): images, compute or steps, > 0.  errors (R, J), >= 0.  weights (J,): 1 / variance.  shifted: whether d is
    free (Zhai et al. 2022, arXiv 2106.04560, equation 1: E = a (C + d)^-b + c) or 0. 0.01 <= b <= 4; a d under a
    thousandth of the least x is 0. Raises ValueError for fewer points than free parameters.
    """
    free = 4 if shifted else 3
    if len(x) < free or (x <= 0).any():
        raise ValueError(f"A power law with {free} parameters needs {free} or more sizes above 0, not {len(x)}.")
    unit, share = float(x.max()), weights / weights.sum()
    scaled = x / unit
    exponents = np.linspace(np.log(LEAST_EXPONENT), np.log(MOST_EXPONENT), EXPONENTS)
    bounds = [(exponents[0], exponents[-1])]
    grids = [exponents]
    if shifted:
        grids.append(np.linspace(np.log(scaled.min() * 1e-3), np.log(3.0), SHIFTS))
        bounds.append((grids[1][0], grids[1][-1]))
    points = np.stack([axis.ravel() for axis in np.meshgrid(*grids, indexing="ij")], axis=-1)[None]  # (1, K, free - 2)
    steps = [grid[1] - grid[0] for grid in grids]
    for turn in range(_ROUNDS + 1):
        a, c, misfit = _project(points, scaled, errors, share)
        best = misfit.argmin(axis=1)[:, None]
        a, c, misfit = (np.take_along_axis(found, best, axis=1)[:, 0] for found in (a, c, misfit))
        chosen = np.take_along_axis(np.broadcast_to(points, (len(errors), *points.shape[1:])), best[..., None], axis=1)
        if turn == _ROUNDS:
            break
        offsets = [np.linspace(-step, step, _AROUND) for step in steps]
        around = np.stack([axis.ravel() for axis in np.meshgrid(*offsets, indexing="ij")], axis=-1)
        lowest, highest = (np.array(ends) for ends in zip(*bounds, strict=True))
        points = np.clip(chosen + around, lowest, highest)
        steps = [2 * step / (_AROUND - 1) for step in steps]
    missing = np.where(np.isnan(errors).any(axis=1), np.nan, 1.0)
    logs = chosen[:, 0]
    shift = np.exp(logs[:, 1]) * unit if shifted else np.zeros(len(errors))
    shift = np.where(shift > x.min() * 1.001e-3, shift, 0.0)
    return Law(a * missing, np.exp(logs[:, 0]) * missing, c * missing, shift * missing, unit, misfit)


def _project(points: Doubles, scaled: Doubles, errors: Doubles, share: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """a, c and the misfit (R, K) at points (1 or R, K, 1 or 2): log b, and log d if there are two."""
    exponent = np.exp(points[..., :1])
    base = scaled + (np.exp(points[..., 1:]) if points.shape[-1] > 1 else 0.0)
    basis = base**-exponent  # (1 or R, K, J)
    weighted = errors * share
    pp, pq = basis**2 @ share, basis @ share
    py = weighted @ basis[0].T if len(basis) == 1 else np.einsum("rj,rkj->rk", weighted, basis)
    qy, yy = weighted.sum(axis=1)[:, None], (weighted * errors).sum(axis=1)[:, None]
    a, c = two_terms(pp, pq, np.ones_like(pp), py, qy)
    return a, c, yy - 2 * a * py - 2 * c * qy + a * a * pp + 2 * a * c * pq + c * c
