"""The numbers and choices that settings accept; the nodes' inputs use the same."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` up to `most`, or below `below`.

    Args:
        low: the smallest.
        most: the largest; None if `below` ends the range.
        below: an excluded upper bound.
    """

    low: float = 0.0
    most: float | None = None
    below: float = math.inf

    def check(self, name: str, value: float) -> None:
        """Check that a number is in this range.

        Raises:
            ValueError: names the setting, its range and the value.
        """
        number = isinstance(value, int | float) and not isinstance(value, bool) and value <= sys.float_info.max
        if not number or not (self.low <= value < self.below if self.most is None else self.low <= value <= self.most):
            raise ValueError(f"{name} must be in {self}, got {value!r}")

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.below:g})" if self.most is None else f"[{self.low:g}, {self.most:g}]"


AMOUNT = Range()
SHARE = Range(most=1.0)
SHARE_BELOW_1 = Range(below=1.0)

# By name, for `Concept`, `ConceptSettings` and `Settings`.
RANGES = {
    "strength": AMOUNT,
    "guidance_scale": AMOUNT,
    "threshold": SHARE_BELOW_1,
    "start_percent": SHARE,
    "end_percent": SHARE,
    "weight": AMOUNT,
    "attention_threshold": SHARE_BELOW_1,
    "momentum_scale": AMOUNT,
    "momentum_beta": SHARE_BELOW_1,
    "warmup_tolerance": SHARE,
}


def check_numbers(settings: object) -> None:
    """Check that all numbers of a settings object are in their ranges.

    Raises:
        ValueError: names the setting, its range and the value.
    """
    for name, value in vars(settings).items():
        if name in RANGES:
            RANGES[name].check(name, value)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a value is one of the choices.

    Raises:
        ValueError: names the setting, the choices and the value.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_count(name: str, value: int, least: int = 0) -> None:
    """Check a number of steps.

    Raises:
        ValueError: names the setting, the least and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of steps, {least} or more, got {value!r}")
