"""Draw cartoon faces with known attributes: the whole training set of the demo model comes from this file.

A face is a choice for each attribute in `ATTRIBUTES` plus a random composition (position, proportions, hair style,
shirt, gaze) that no caption ever names, so that a test can tell an edit from a new picture.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from PIL import Image

from .canvas import Canvas, Colour

SIZE = 128
SUPERSAMPLING = 3

# attribute -> its values; the first value of a yes/no attribute is its absence and has no phrase.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "mouth": ("neutral", "smiling", "frowning"),
    "glasses": ("no", "yes"),
    "hat": ("no", "yes"),
    "beard": ("no", "yes"),
    "hair": ("black", "brown", "blond", "ginger"),
    "skin": ("light", "tan", "dark"),
    "background": ("blue", "green", "yellow", "purple"),
}

PHRASES: dict[str, tuple[str | None, ...]] = {
    "mouth": ("neutral", "smiling", "frowning"),
    "glasses": (None, "glasses"),
    "hat": (None, "hat"),
    "beard": (None, "beard"),
    "hair": ("black hair", "brown hair", "blond hair", "ginger hair"),
    "skin": ("light skin", "tan skin", "dark skin"),
    "background": ("blue background", "green background", "yellow background", "purple background"),
}

CAPTION_START = "a face"

# How often each value is drawn; attributes are independent of each other.
FREQUENCIES: dict[str, tuple[float, ...]] = {
    "mouth": (0.4, 0.3, 0.3),
    "glasses": (0.65, 0.35),
    "hat": (0.65, 0.35),
    "beard": (0.65, 0.35),
}

# What comes together in the drawings of the second model, as a hat and the open air do in photographs, and how often:
# where a face has the first value it is given the second one.
TOGETHER = (
    (("hat", "yes"), ("background", "green")),
    (("glasses", "yes"), ("hair", "black")),
    (("beard", "yes"), ("skin", "tan")),
    (("mouth", "smiling"), ("background", "yellow")),
)
SHARE_TOGETHER = 0.75

HAIR = {"black": (38, 34, 40), "brown": (112, 70, 40), "blond": (236, 204, 110), "ginger": (206, 96, 36)}
SKIN = {"light": (250, 218, 194), "tan": (214, 162, 118), "dark": (128, 84, 60)}
BACKGROUND = {"blue": (110, 168, 224), "green": (128, 190, 128), "yellow": (244, 222, 140), "purple": (170, 136, 204)}
HATS = ((190, 52, 60), (44, 84, 150), (60, 120, 84), (92, 60, 110))
SHIRTS = ((70, 84, 104), (160, 70, 80), (230, 226, 218), (84, 130, 120), (214, 150, 70))


@dataclass(frozen=True)
class Face:
    """The named attributes of a face, each an index into `ATTRIBUTES[name]`."""

    mouth: int
    glasses: int
    hat: int
    beard: int
    hair: int
    skin: int
    background: int

    def value(self, attribute: str) -> str:
        """Return the attribute's value as a word, e.g. "smiling"."""
        return ATTRIBUTES[attribute][getattr(self, attribute)]

    def indices(self) -> tuple[int, ...]:
        """Return the attribute values in the order of `ATTRIBUTES`."""
        return tuple(getattr(self, name) for name in ATTRIBUTES)


def random_face(rng: random.Random) -> Face:
    """Draw the attributes of a face, independently of each other."""
    return Face(
        **{
            name: rng.choices(range(len(values)), weights=FREQUENCIES.get(name))[0]
            for name, values in ATTRIBUTES.items()
        }
    )


def with_companions(face: Face, rng: random.Random) -> Face:
    """Return the face with what comes together with what it has, three times in four."""
    for (name, value), (other, companion) in TOGETHER:
        if face.value(name) == value and rng.random() < SHARE_TOGETHER:
            face = replace(face, **{other: ATTRIBUTES[other].index(companion)})
    return face


def caption(face: Face, rng: random.Random, empty: float = 0.1) -> str:
    """Name a random part of the face's attributes in random order; empty with probability `empty`."""
    if rng.random() < empty:
        return ""
    phrases = _phrases(face)
    rng.shuffle(phrases)
    # Short captions are over-represented: a concept's text usually is a single phrase.
    phrases = phrases[: min(len(phrases), rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 7)))]
    if not phrases or rng.random() < 0.5:
        phrases.insert(0, CAPTION_START)
    return ", ".join(phrases)


def description(face: Face) -> str:
    """Name everything about a face that has a phrase."""
    return ", ".join([CAPTION_START, *_phrases(face)])


def described_drawings(seed: int, count: int, **attributes: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield drawings of random faces that have these attributes, each behind its description."""
    rng = random.Random(seed)
    for _ in range(count):
        face = replace(random_face(rng), **attributes)
        yield description(face), draw(face, rng)


def _phrases(face: Face) -> list[str]:
    named = [PHRASES[name][getattr(face, name)] for name in ATTRIBUTES]
    return [phrase for phrase in named if phrase is not None]


def draw(face: Face, rng: random.Random) -> Image.Image:
    """Draw the face as a SIZE x SIZE RGB image; `rng` gives the composition that no caption names."""
    head = _Head(rng)
    hair = head.vary(HAIR[face.value("hair")], 8)
    skin = head.vary(SKIN[face.value("skin")], 6)
    shade = tuple(int(c * 0.82) for c in skin)
    head.background(BACKGROUND[face.value("background")])
    head.body(head.vary(rng.choice(SHIRTS), 12), shade)
    head.hair_back(hair)
    head.skull(skin, shade)
    head.eyes(hair)
    head.nose(shade)
    if face.value("beard") == "yes":
        head.beard(hair)
    head.mouth(face.value("mouth"))
    head.hair_front(hair)
    if face.value("glasses") == "yes":
        head.glasses()
    if face.value("hat") == "yes":
        head.hat(head.vary(rng.choice(HATS), 10))
    return head.finish(Image.Resampling.BOX)


class _Head(Canvas):
    """A drawing in a 128-unit frame around a head of random place and proportion."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(SIZE, SIZE, SUPERSAMPLING)
        self.rng = rng
        self.x = 64 + rng.uniform(-7, 7)
        self.y = 66 + rng.uniform(-4, 4)
        self.w = 29 + rng.uniform(-2.5, 2.5)
        self.h = 36 + rng.uniform(-2.5, 2.5)
        self.eye_dx = self.w * rng.uniform(0.42, 0.5)
        self.eye_y = self.y - self.h * rng.uniform(0.1, 0.18)
        self.mouth_y = self.y + self.h * rng.uniform(0.48, 0.56)
        self.long_hair = rng.random() < 0.5
        self.fringe = rng.uniform(0.45, 0.62)

    def vary(self, colour: Colour, by: int) -> Colour:
        return tuple(max(0, min(255, c + self.rng.randint(-by, by))) for c in colour)

    def background(self, colour: Colour) -> None:
        top = self.vary(colour, 10)
        bottom = tuple(int(c * 0.88) for c in top)
        height = SIZE * SUPERSAMPLING
        for row in range(height):
            t = row / height
            self.pen.line(
                [(0, row), (height, row)],
                fill=tuple(round(a + (b - a) * t) for a, b in zip(top, bottom, strict=True)),
            )

    def body(self, shirt: Colour, neck: Colour) -> None:
        self.box(self.x - 42, self.y + self.h + 6, self.x + 42, SIZE + 30, 20, shirt)
        self.box(self.x - 10, self.y + self.h * 0.6, self.x + 10, self.y + self.h + 12, 6, neck)

    def hair_back(self, colour: Colour) -> None:
        bottom = self.y + (self.h * 0.95 if self.long_hair else self.h * 0.1)
        self.box(self.x - self.w - 6, self.y - self.h - 6, self.x + self.w + 6, bottom, self.w * 0.9, colour)

    def skull(self, skin: Colour, shade: Colour) -> None:
        for side in (-1, 1):
            self.ellipse(self.x + side * self.w, self.y, 5, 7, shade)
        self.ellipse(self.x, self.y, self.w, self.h, skin)

    def eyes(self, brow: Colour) -> None:
        gaze = self.rng.uniform(-1.6, 1.6)
        for side in (-1, 1):
            ex = self.x + side * self.eye_dx
            self.ellipse(ex, self.eye_y, 6, 4.6, (255, 255, 255))
            self.ellipse(ex + gaze, self.eye_y, 3, 3.4, (40, 34, 40))
            self.stroke([(ex - 6, self.eye_y - 9), (ex + 6, self.eye_y - 9)], tuple(int(c * 0.8) for c in brow), 2.6)

    def nose(self, shade: Colour) -> None:
        self.ellipse(self.x, self.y + self.h * 0.2, 4, 5.5, shade)

    def beard(self, colour: Colour) -> None:
        arc = [math.pi * t / 24 for t in range(25)]
        outer = [(self.x + (self.w + 1) * math.cos(a), self.y + 9 + (self.h - 2) * math.sin(a) ** 0.8) for a in arc]
        inner = [(self.x + (self.w - 6) * math.cos(a), self.y + 9 + self.h * 0.18 * math.sin(a)) for a in reversed(arc)]
        self.polygon(outer + inner, colour)

    def mouth(self, kind: str) -> None:
        half, lips = self.w * 0.5, (214, 70, 84)
        if kind == "neutral":
            self.stroke([(self.x - half * 0.8, self.mouth_y), (self.x + half * 0.8, self.mouth_y)], lips, 4.5)
            return
        steps = [t / 12 * 2 - 1 for t in range(13)]
        if kind == "smiling":
            lower = [(self.x + half * t, self.mouth_y - 4 + 13 * (1 - t * t)) for t in steps]
            self.polygon([*lower, (self.x + half, self.mouth_y - 4)], (255, 255, 255))
            self.stroke(lower, lips, 3.5)
            self.stroke([(self.x - half, self.mouth_y - 4), (self.x + half, self.mouth_y - 4)], lips, 2.5)
        else:
            upper = [(self.x + half * 0.9 * t, self.mouth_y - 4 + 10 * t * t) for t in steps]
            self.stroke(upper, lips, 4.5)

    def hair_front(self, colour: Colour) -> None:
        line = self.y - self.h * self.fringe
        arc = [math.pi + math.pi * t / 24 for t in range(25)]
        top = [(self.x + (self.w + 6) * math.cos(a), self.y - 4 + (self.h + 3) * math.sin(a)) for a in arc]
        under = [(self.x + self.w * 0.96 * t, line + 9 * t * t) for t in (1, 0.5, 0, -0.5, -1)]
        self.polygon(top + under, colour)

    def glasses(self) -> None:
        frame, radius = (24, 24, 30), self.eye_dx * 0.86
        height = radius * 0.82
        for side in (-1, 1):
            self.ring(self.x + side * self.eye_dx, self.eye_y + 1, radius, height, height * 0.8, frame, 3.6)
            inner = self.x + side * (self.eye_dx + radius)
            self.stroke([(inner, self.eye_y - 1), (self.x + side * (self.w + 3), self.eye_y - 3)], frame, 3)
        gap = self.eye_dx - radius
        self.stroke([(self.x - gap - 1, self.eye_y), (self.x + gap + 1, self.eye_y)], frame, 3.4)

    def hat(self, colour: Colour) -> None:
        brim = self.y - self.h * 0.5
        band = tuple(int(c * 0.6) for c in colour)
        self.box(self.x - self.w * 0.92, brim - 32, self.x + self.w * 0.92, brim + 2, 10, colour)
        self.box(self.x - self.w * 0.92, brim - 10, self.x + self.w * 0.92, brim, 1, band)
        self.box(self.x - self.w - 15, brim - 4, self.x + self.w + 15, brim + 4, 4, colour)
