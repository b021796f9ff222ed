"""The core as the nodes use it: estimates in, guidance out."""

from __future__ import annotations

from torch import Tensor

from sega_core import Comparison, Run


def guided_estimate(run: Run, step: int, estimates: Tensor, cfg: float) -> Tensor:
    """Return what a step predicts from one batch of estimates: negative, positive and concepts, in this order."""
    negative, positive, *concepts = estimates.chunk(2 + len(run.concepts))
    guidance = run.guidance(step, {c: Comparison(concepts[c] - negative) for c in run.needed(step)})
    prediction = negative + cfg * (positive - negative)
    return prediction if guidance is None else (prediction + guidance).to(prediction.dtype)
