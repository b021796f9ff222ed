"""What a concept's guidance is made of at one evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .guard import Guard


@dataclass(frozen=True)
class Comparison:
    """A concept's text against what it is compared with (arXiv 2301.12247, equation 5).

    Args:
        difference: the model's estimate for the concept's text minus the one that it is compared with, in noise or
            velocity space, (B, C, *spatial).
        scale: what the concept's guidance scale is multiplied by, a number or (B,): the prompt's own guidance scale
            where the concept's is relative to it, 1 where it is absolute.
        mask: where the user wants the edit, (B or 1, 1, *spatial), in [0, 1]; None is everywhere.
        attention: the cross-attention to the concept's words, (B, h, w); None does not look at it.
        guard: what limits the guidance; None does not.
    """

    difference: Tensor
    scale: Tensor | float = 1.0
    mask: Tensor | None = None
    attention: Tensor | None = None
    guard: Guard | None = None
