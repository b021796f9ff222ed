"""Intervals for the figures: every figure is of some faces, and other faces would give another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 2000
SEED = 20261121

# A figure, its 95% confidence interval and of how many faces it is: value, low, high and faces.
Estimate = dict[str, float]


def share(successes: ArrayLike) -> Estimate:
    """Return the share of successes, a bool for each face, with Wilson's score interval."""
    done = np.asarray(successes, bool)
    interval = stats.binomtest(int(done.sum()), done.size).proportion_ci(0.95, "wilson")
    return {"value": float(done.mean()), "low": float(interval.low), "high": float(interval.high), "faces": done.size}


def mean(figures: ArrayLike) -> Estimate | None:
    """Return the mean of figures with a bootstrap interval over the faces; None where there is nothing to sum up.

    Args:
        figures: (faces,), or (edits, faces) where the same faces are edited in several ways; NaN where a face has none.
            All that a face has stays together in a bootstrap sample.
    """
    rows = np.atleast_2d(np.asarray(figures, float))
    counts = (~np.isnan(rows)).sum(0)
    if not counts.any():
        return None
    sums, drawn = np.nansum(rows, axis=0), _resampled(rows.shape[1])
    of_samples = counts[drawn].sum(1)
    some = of_samples > 0
    low, high = np.quantile(sums[drawn].sum(1)[some] / of_samples[some], (0.025, 0.975))
    found = int(counts.sum())
    return {"value": float(sums.sum() / found), "low": float(low), "high": float(high), "faces": found}


def _resampled(faces: int) -> NDArray[np.intp]:
    """Return the faces of each bootstrap sample, (RESAMPLES, faces): always the same for as many faces."""
    return np.random.default_rng(SEED).integers(faces, size=(RESAMPLES, faces))
