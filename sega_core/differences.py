"""From the host's estimates to what a run works with, one concept at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor


class Differences(Mapping[int, Tensor]):
    """Each concept's estimate minus the baseline's, in the space of equation 5, made when it is asked for.

    So there is one of them at a time, however many concepts there are.

    Args:
        baseline: the baseline's estimate, (B, C, *spatial).
        estimates: per concept those of its texts, of the same shape; their mean counts.
        divisor: what a difference is divided by, (B, 1, ..., 1) or a number: minus sigma for estimates of x0, which
            gives noise or velocity; 1 for estimates of noise or velocity.
    """

    def __init__(
        self, baseline: Tensor, estimates: Mapping[int, Sequence[Tensor]], divisor: Tensor | float = 1.0
    ) -> None:
        self.baseline = baseline
        self.estimates = estimates
        self.divisor = divisor

    def __getitem__(self, c: int) -> Tensor:
        return (_mean(self.estimates[c]) - self.baseline) / self.divisor

    def __iter__(self) -> Iterator[int]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)


def _mean(estimates: Sequence[Tensor]) -> Tensor:
    first, *others = estimates
    return sum(others, first) / len(estimates) if others else first
