"""The guard: limits what a strength above the default may add. Our own; off in reference mode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .concept_settings import STRENGTH

# Up to the default strength, nothing is limited.
FREE_STRENGTH = STRENGTH
# How far a stronger edit may move the estimate of x0 beyond that per step, as a share of the unedited estimate's range.
MARGIN = 0.05


@dataclass(frozen=True)
class Guard:
    """The limits of one concept's guidance.

    Args:
        free: the share of the guidance that is not limited, in (0, 1], a number or (B,).
        room: the largest magnitude of the rest, (B, C, 1, ...).
    """

    free: Tensor | float
    room: Tensor


def guarded(guidance: Tensor, guard: Guard) -> Tensor:
    """Limit a concept's guidance, (B, C, *spatial); return the same shape."""
    free = guidance * per_sample(guard.free, guidance)
    return free + torch.clamp(guidance - free, -guard.room, guard.room)


def room_of(plain: Tensor, sigma: float) -> Tensor:
    """Return `Guard.room` for each sample and channel, (B, C, 1, ...), fp32.

    Args:
        plain: the unedited estimate of x0, (B, C, *spatial).
        sigma: noise level, above 0.
    """
    axes = tuple(range(2, plain.ndim))
    return (plain.amax(axes, keepdim=True) - plain.amin(axes, keepdim=True)).float() * (MARGIN / sigma)


def per_sample(factor: Tensor | float, values: Tensor) -> Tensor | float:
    """Return a factor, a number or (B,), in a shape that multiplies values, (B, C, *spatial)."""
    return factor.view(-1, *[1] * (values.ndim - 1)) if isinstance(factor, Tensor) else factor
