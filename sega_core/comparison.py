"""The inputs to a concept's guidance at one evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .guard import Guard


@dataclass(frozen=True)
class Comparison:
    """A concept's text against what it is compared with (arXiv 2301.12247, equation 5).

    Args:
        difference: the model's estimate for the concept's text minus the estimate it is compared with, in noise or
            velocity space, (B, C, *spatial).
        scale: multiplies the concept's guidance scale, a number or (B,): the prompt's own guidance scale if the
            concept's is relative to it, else 1.
        mask: where the user wants the edit, (B or 1, 1, *spatial), in [0, 1]; None is everywhere.
        attention: the cross-attention to the concept's words, (B, h, w); None ignores it.
        guard: limits the guidance; None is no limit.
    """

    difference: Tensor
    scale: Tensor | float = 1.0
    mask: Tensor | None = None
    attention: Tensor | None = None
    guard: Guard | None = None
