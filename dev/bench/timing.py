"""Times of two pieces of work that take turns, so that other work on the machine slows down both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch


def now() -> float:
    """Return the time in seconds, once a GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turns(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Do both in every round, the other one first in every second round; return the `spread` of their times."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            start = now()
            (first, second)[which]()
            times[which].append(now() - start)
    return spread(*times)


def spread(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Return how many times longer the first took, as median and range of the rounds, and both median times."""
    ratios = [one / two for one, two in zip(first, second, strict=True)]
    return {
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "first_seconds": median(first),
        "second_seconds": median(second),
    }
