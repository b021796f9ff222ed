"""Intervals for the figures: every figure is of some faces, and other faces would give another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The two-sided 95% quantile of the normal distribution.
Z = 1.959964
RESAMPLES = 2000
SEED = 20261121


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% confidence interval."""

    value: float
    low: float
    high: float


def share(successes: int, trials: int) -> Estimate:
    """Return a share with Wilson's score interval."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes must be in [0, trials] and trials 1 or more, got {successes} of {trials}")
    p, z2 = successes / trials, Z * Z
    middle = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return Estimate(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)))


def resampled(faces: int) -> NDArray[np.intp]:
    """Return the faces of each bootstrap sample, (RESAMPLES, faces): always the same for as many faces."""
    return np.random.default_rng(SEED).integers(faces, size=(RESAMPLES, faces))


def mean(values: ArrayLike) -> Estimate:
    """Return the mean of a figure that each face has, with a bootstrap interval over the faces."""
    figures = np.asarray(values, float)
    return with_samples(float(figures.mean()), figures[resampled(len(figures))].mean(1))


def with_samples(value: float, samples: ArrayLike) -> Estimate:
    """Return a figure with the middle 95% of its bootstrap samples."""
    low, high = np.quantile(np.asarray(samples, float), (0.025, 0.975))
    return Estimate(value, float(low), float(high))


def at_equal(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return y of a curve at x, linear between its points, which may come in any order; NaN where it does not reach x.

    Where the curve has several points at one x, the best y counts: a user would take that one.
    """
    best: dict[float, float] = {}
    for at, value in zip(xs, ys, strict=True):
        best[at] = max(value, best.get(at, -math.inf))
    points = sorted(best)
    if not points[0] <= x <= points[-1]:
        return math.nan
    return float(np.interp(x, points, [best[point] for point in points]))


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return Spearman's rank correlation; ties share their mean rank, and it is 0 where nothing changes."""
    first, second = _ranks(xs), _ranks(ys)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    below = (array[None, :] < array[:, None]).sum(1)
    equal = (array[None, :] == array[:, None]).sum(1)
    return below + (equal - 1) / 2
