"""The guard of strong edits: no colours that the unedited picture does not have. Our own, off in reference mode."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the range, on either side. None of it changes edits of strength 1: they make a place darker or lighter too.
MARGIN = 0.05


def guarded(edited: Tensor, plain: Tensor) -> Tensor:
    """Keep an edited estimate within the range of the unedited one, and a margin, per sample and channel.

    Args:
        edited: the estimate of x0 with guidance, (B, C, *spatial).
        plain: without it, of the same shape.

    Returns:
        Same shape and dtype.
    """
    axes = tuple(range(2, plain.ndim))
    low, high = plain.amin(axes, keepdim=True), plain.amax(axes, keepdim=True)
    room = MARGIN * (high - low)
    return torch.clamp(edited, low - room, high + room)
