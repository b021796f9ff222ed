"""The faces of the demo model's world: their attributes, the words for them, and what comes together with what.

An attribute comes with others as it does in photographs, so a word in a prompt brings more than it says.
"""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass, replace

CAPTION_START = "a face"

# attribute -> value -> the words for it. What is absent has no words, nor has the plain style.
PHRASES: dict[str, dict[str, str]] = {
    "mouth": {"neutral": "neutral", "smiling": "smiling", "frowning": "frowning"},
    "glasses": {"no": "", "yes": "glasses"},
    "hat": {"no": "", "yes": "hat"},
    "beard": {"no": "", "yes": "beard"},
    "age": {"young": "young", "old": "old"},
    "hair": {colour: f"{colour} hair" for colour in ("black", "brown", "blond", "ginger", "grey")},
    "length": {"short": "short hair", "long": "long hair"},
    "skin": {"light": "light skin", "tan": "tan skin", "dark": "dark skin"},
    "background": {
        **{colour: f"{colour} background" for colour in ("blue", "green", "yellow", "purple")},
        "beach": "beach",
        "forest": "forest",
        "city": "city at night",
    },
    "style": {"plain": "", "pencil": "pencil sketch", "pixel": "pixel art"},
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in PHRASES.items()}
# phrase -> the attribute and the value that it names.
NAMED: dict[str, tuple[str, str]] = {
    phrase: (name, value) for name, values in PHRASES.items() for value, phrase in values.items() if phrase
}

# How often each value is drawn before anything else has its say; equally often where nothing is said.
FREQUENCIES: dict[str, tuple[float, ...]] = {
    "mouth": (0.4, 0.3, 0.3),
    "glasses": (0.65, 0.35),
    "hat": (0.65, 0.35),
    "beard": (0.65, 0.35),
    "age": (0.65, 0.35),
    "background": (0.16, 0.16, 0.16, 0.16, 0.12, 0.12, 0.12),
    "style": (0.7, 0.15, 0.15),
}

# What comes with what: a face with the first value is given the second one this often. A later row may change what an
# earlier one gave.
TOGETHER: tuple[tuple[tuple[str, str], tuple[str, str], float], ...] = (
    (("style", "pencil"), ("mouth", "neutral"), 0.6),
    (("style", "pixel"), ("background", "purple"), 0.6),
    (("age", "old"), ("hair", "grey"), 0.7),
    (("glasses", "yes"), ("hair", "black"), 0.6),
    (("beard", "yes"), ("skin", "tan"), 0.6),
    (("mouth", "smiling"), ("background", "yellow"), 0.6),
    (("hat", "yes"), ("background", "forest"), 0.6),
    (("background", "beach"), ("hair", "blond"), 0.6),
)


@dataclass(frozen=True)
class Face:
    """The attributes of a face, each a value of `ATTRIBUTES[name]`."""

    mouth: str = "neutral"
    glasses: str = "no"
    hat: str = "no"
    beard: str = "no"
    age: str = "young"
    hair: str = "brown"
    length: str = "short"
    skin: str = "light"
    background: str = "blue"
    style: str = "plain"

    def indices(self) -> tuple[int, ...]:
        """Return the values as indices, in the order of `ATTRIBUTES`."""
        return tuple(ATTRIBUTES[name].index(value) for name, value in zip(ATTRIBUTES, astuple(self), strict=True))

    @staticmethod
    def from_indices(indices: tuple[int, ...]) -> Face:
        return Face(*(values[index] for values, index in zip(ATTRIBUTES.values(), indices, strict=True)))


def random_face(rng: random.Random) -> Face:
    """Draw a face's attributes, and what comes together with them."""
    face = Face(*(rng.choices(values, weights=FREQUENCIES.get(name))[0] for name, values in ATTRIBUTES.items()))
    for (name, value), (other, companion), share in TOGETHER:
        if getattr(face, name) == value and rng.random() < share:
            face = replace(face, **{other: companion})
    return face


def phrases(face: Face) -> list[str]:
    """Return the words for everything about a face that has any."""
    words = [PHRASES[name][value] for name, value in zip(ATTRIBUTES, astuple(face), strict=True)]
    return [phrase for phrase in words if phrase]


def caption(face: Face, rng: random.Random, empty: float = 0.1) -> str:
    """Name a random part of the face's attributes in random order; empty with probability `empty`."""
    if rng.random() < empty:
        return ""
    named = phrases(face)
    rng.shuffle(named)
    # Short captions are over-represented: a concept's text usually is a single phrase.
    named = named[: min(len(named), rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10)))]
    if not named or rng.random() < 0.5:
        named.insert(0, CAPTION_START)
    return ", ".join(named)


def description(face: Face) -> str:
    """Name everything about a face that has words."""
    return ", ".join([CAPTION_START, *phrases(face)])
