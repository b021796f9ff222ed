"""The core as the nodes use it: estimates in, guidance out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sega_core import Comparison, Run


def guidance_of(run: Run, step: int, baseline: Tensor, concepts: Sequence[Tensor]) -> Tensor | None:
    """Return the guidance of a step from the estimates of noise, each (B, C, *spatial)."""
    return run.guidance(step, {c: Comparison(concepts[c] - baseline) for c in run.needed(step)})


def guided_estimate(run: Run, step: int, estimates: Tensor, cfg: float) -> Tensor:
    """Return what a step predicts from one batch of estimates: negative, positive and concepts, in this order."""
    negative, positive, *concepts = estimates.chunk(2 + len(run.concepts))
    guidance = guidance_of(run, step, negative, concepts)
    prediction = negative + cfg * (positive - negative)
    return prediction if guidance is None else (prediction + guidance).to(prediction.dtype)
