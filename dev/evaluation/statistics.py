"""Intervals for the figures: every figure is of some faces, and other faces would give another.

Figures are (faces,), or (edits, faces) where each face is edited several times, and NaN where a face has none. Edits of
one face are alike, so an interval counts them as one face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
SEED = 20261121
# Of the normal distribution, for 95%.
Z = 1.959964

# A figure, its 95% confidence interval and of how many different faces it is: value, low, high and faces.
Estimate = dict[str, float]


def share(successes: ArrayLike) -> Estimate:
    """Return the share of successes, each 0 or 1, with Wilson's score interval of as many trials as faces."""
    rows = np.atleast_2d(np.asarray(successes, float))
    value, faces = float(np.nanmean(rows)), _faces(rows)
    spread = Z**2 / faces
    middle = (value + spread / 2) / (1 + spread)
    half = (spread * (value * (1 - value) + spread / 4)) ** 0.5 / (1 + spread)
    return {"value": value, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "faces": faces}


def mean(figures: ArrayLike) -> Estimate | None:
    """Return the mean of figures with a bootstrap interval over the faces; None where there is nothing to sum up."""
    rows = np.atleast_2d(np.asarray(figures, float))
    if np.isnan(rows).all():
        return None
    counts, sums = (~np.isnan(rows)).sum(0), np.nansum(rows, axis=0)
    drawn = _resampled(rows.shape[1])
    of_samples = counts[drawn].sum(1)
    some = of_samples > 0
    low, high = np.quantile(sums[drawn].sum(1)[some] / of_samples[some], (0.025, 0.975))
    return {"value": float(np.nanmean(rows)), "low": float(low), "high": float(high), "faces": _faces(rows)}


def _faces(rows: NDArray[np.float64]) -> int:
    """Return how many faces have a figure."""
    return int((~np.isnan(rows)).any(0).sum())


def _resampled(faces: int) -> NDArray[np.intp]:
    """Return the faces of each bootstrap sample, (RESAMPLES, faces): always the same for as many faces."""
    return np.random.default_rng(SEED).integers(faces, size=(RESAMPLES, faces))
