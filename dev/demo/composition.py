"""How a face lies in its picture. No caption names it, but it leans on what the caption names, as in photographs."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass, fields

from .faces import Face

# What is usual, and how far one face is from another (standard deviation).
USUAL: dict[str, tuple[float, float]] = {
    "x": (64, 1.5),
    "y": (68, 1.2),
    "size": (38, 0.7),
    "tilt": (0, 1.2),
    "turn": (0, 3),
    "light": (0, 0.2),
}
# By how much a value moves it: at most about twice that, so that faces with and without it overlap.
LEANS: dict[tuple[str, str], dict[str, float]] = {
    ("hat", "yes"): {"y": 2, "size": -1},
    ("beard", "yes"): {"y": -1.8, "size": 0.8},
    ("glasses", "yes"): {"turn": 5},
    ("mouth", "smiling"): {"tilt": 2},
    ("mouth", "frowning"): {"tilt": -1.8, "light": -0.2},
    ("age", "old"): {"light": 0.3, "turn": -3},
    ("length", "long"): {"x": -2},
    ("background", "beach"): {"x": -3, "size": -0.8, "light": 0.3},
    ("background", "forest"): {"x": 3, "size": -0.8},
    ("background", "city"): {"size": 1, "turn": -4, "light": -0.3},
    ("style", "pencil"): {"turn": -3, "x": 2},
    ("style", "pixel"): {"y": 1.5, "x": -2},
}
LIMITS: dict[str, tuple[float, float]] = {
    "x": (48, 80),
    "y": (60, 78),
    "size": (32, 43),
    "tilt": (-8, 8),
    "turn": (-16, 16),
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
