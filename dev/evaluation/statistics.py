"""Intervals for the figures: every figure is of some faces, and other faces would give another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..demo.measure import Outcome

RESAMPLES = 2000
SEED = 20261121


# A figure and its 95% confidence interval: value, low and high.
Estimate = dict[str, float]


def share(successes: ArrayLike) -> Estimate:
    """Return the share of successes, a bool for each face, with Wilson's score interval."""
    done = np.asarray(successes, bool)
    interval = stats.binomtest(int(done.sum()), done.size).proportion_ci(0.95, "wilson")
    return {"value": float(done.mean()), "low": float(interval.low), "high": float(interval.high)}


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
    return {"value": value, "low": float(low), "high": float(high)}


def figures(outcome: Outcome) -> dict[str, Any]:
    """Return an edit's figures with their intervals."""
    return {
        "faces": outcome.faces,
        "success": share(outcome.done),
        "isolation": mean(outcome.isolation),
        "kept": {name: share(stayed) for name, stayed in outcome.stayed.items()},
    }


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return Spearman's rank correlation, 0 where nothing changes."""
    return float(stats.spearmanr(xs, ys).statistic) if np.ptp(xs) and np.ptp(ys) else 0.0
