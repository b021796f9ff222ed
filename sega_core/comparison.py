"""What a concept's guidance is made of at one evaluation: its text's estimate, and the one it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """A concept's text against what it is compared with (arXiv 2301.12247, equation 5).

    Args:
        estimate: the model's estimate for the concept's text, (B, C, *spatial).
        baseline: the estimate that it is compared with, of the same shape.
        divisor: what turns their difference into one of noise or velocity, a number or (B, 1, ..., 1): minus sigma for
            estimates of x0, 1 for estimates of noise or velocity.
        mask: where the user wants the edit, (B or 1, 1, *spatial), in [0, 1]; None is everywhere.
        attention: the cross-attention to the concept's words, (B, h, w); None does not look at it.
    """

    estimate: Tensor
    baseline: Tensor
    divisor: Tensor | float = 1.0
    mask: Tensor | None = None
    attention: Tensor | None = None

    def difference(self) -> Tensor:
        """Return the estimate minus the baseline, in noise or velocity space, (B, C, *spatial)."""
        return (self.estimate - self.baseline) / self.divisor
