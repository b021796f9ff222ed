"""How a face lies in its picture. No caption names it, but it leans on what the caption names, as in photographs."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass, fields

from .faces import Face

# What is usual, and how far one face is from another (standard deviation).
USUAL: dict[str, tuple[float, float]] = {
    "x": (64, 4.5),
    "y": (67, 3.5),
    "size": (35, 2),
    "tilt": (0, 3.5),
    "turn": (0, 8),
    "light": (0, 0.3),
}
# By how much a value moves it.
LEANS: dict[tuple[str, str], dict[str, float]] = {
    ("hat", "yes"): {"y": 6, "size": -4},
    ("beard", "yes"): {"y": -5, "size": 3},
    ("glasses", "yes"): {"turn": 14},
    ("mouth", "smiling"): {"tilt": 7},
    ("mouth", "frowning"): {"tilt": -5, "light": -0.4},
    ("age", "old"): {"light": 0.5, "turn": -6},
    ("length", "long"): {"x": -4},
    ("background", "beach"): {"x": -13, "size": -4, "light": 0.5},
    ("background", "forest"): {"x": 12, "size": -3},
    ("background", "city"): {"size": 4, "turn": -12, "light": -0.5},
    ("style", "pencil"): {"turn": -8, "x": 5},
    ("style", "pixel"): {"y": 3, "x": -4},
}
LIMITS: dict[str, tuple[float, float]] = {
    "x": (40, 88),
    "y": (56, 80),
    "size": (25, 42),
    "tilt": (-16, 16),
    "turn": (-25, 25),
    "light": (-1, 1),
}


@dataclass(frozen=True)
class Composition:
    """Where a head is and how it is held and lit.

    Args:
        x, y: the head's middle, in pixels.
        size: from the head's middle to its chin, in pixels.
        tilt: degrees clockwise.
        turn: degrees to the picture's right.
        light: from -1, from the left, to 1, from the right.
    """

    x: float
    y: float
    size: float
    tilt: float
    turn: float
    light: float

    def row(self) -> tuple[float, ...]:
        return astuple(self)


NAMES = tuple(field.name for field in fields(Composition))


def random_composition(face: Face, rng: random.Random) -> Composition:
    """Draw how the face lies in its picture."""
    drawn = {}
    for name, (mean, deviation) in USUAL.items():
        leaning = sum(by.get(name, 0) for (attribute, value), by in LEANS.items() if getattr(face, attribute) == value)
        low, high = LIMITS[name]
        drawn[name] = max(low, min(high, rng.gauss(mean + leaning, deviation)))
    return Composition(**drawn)
