"""Times of two pieces of work that take turns, so that what else the machine does falls on both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Times:
    """The seconds of each round."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times longer the first one took, in each round."""
        return [first / second for first, second in zip(self.first, self.second, strict=True)]

    def spread(self) -> dict[str, float]:
        """Return the ratio's median and range, and each one's median time."""
        return {
            "ratio": median(self.ratios),
            "low": min(self.ratios),
            "high": max(self.ratios),
            "first_seconds": median(self.first),
            "second_seconds": median(self.second),
        }


def seconds(work: Callable[[], Any]) -> float:
    """Return how long the work takes, until a GPU has finished it too."""
    _finish()
    start = time.perf_counter()
    work()
    _finish()
    return time.perf_counter() - start


def in_turns(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> Times:
    """Do both in every round, the other one first in every second round."""
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2 == 0:
            before = seconds(first)
            times.append((before, seconds(second)))
        else:
            after = seconds(second)
            times.append((seconds(first), after))
    columns: Sequence[tuple[float, ...]] = list(zip(*times, strict=True))
    return Times(*columns)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
