"""Draw cartoon faces: the whole training set of the demo model comes from here, a function for each thing drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from . import scenes, styles
from .canvas import Canvas, Colour, Point, angles, blend
from .composition import Composition, random_composition
from .faces import Face, description, random_face
from .scenes import BLACK, WHITE, vary

SIZE = 128
SUPERSAMPLING = 3

HAIR = {
    "black": (36, 32, 38),
    "brown": (118, 72, 40),
    "blond": (238, 206, 104),
    "ginger": (212, 92, 30),
    "grey": (172, 174, 180),
}
SKIN = {"light": (250, 218, 194), "tan": (214, 162, 118), "dark": (128, 84, 60)}
HATS = ((190, 52, 60), (44, 84, 150), (60, 120, 84), (92, 60, 110))
SHIRTS = ((70, 84, 104), (160, 70, 80), (230, 226, 218), (84, 130, 120), (214, 150, 70))
LIPS, DARK = (206, 62, 78), (30, 26, 32)


def draw(face: Face, rng: random.Random) -> Image.Image:
    """Draw the face as a SIZE x SIZE RGB image; `rng` gives the composition and the rest that no caption names."""
    return draw_composed(face, random_composition(face, rng), rng)


def draw_composed(face: Face, composition: Composition, rng: random.Random) -> Image.Image:
    """Draw the face as `draw` does, in this composition."""
    canvas = Canvas(SIZE, SIZE, SUPERSAMPLING)
    head = _Head(canvas, composition, rng)
    hair, skin = vary(HAIR[face.hair], 7, rng), vary(SKIN[face.skin], 6, rng)
    scenes.draw(canvas, face.background, rng)
    long_hair = face.length == "long"
    if long_hair:
        head.mane(hair)
    head.body(vary(rng.choice(SHIRTS), 10, rng), blend(skin, BLACK, 0.16))
    head.lean()
    head.hair_back(hair)
    head.skull(skin)
    if long_hair:
        head.strands(hair)
    if face.age == "old":
        head.wrinkles(skin)
    else:
        head.cheeks(skin)
    head.eyes(face.age)
    head.nose(skin)
    if face.beard == "yes":
        head.beard(hair)
    head.mouth(face.mouth)
    head.hair_front(hair)
    head.brows((228, 228, 230) if face.age == "old" else blend(hair, BLACK, 0.25), 4 if face.age == "old" else 2.6)
    if face.glasses == "yes":
        head.glasses()
    if face.hat == "yes":
        head.hat(vary(rng.choice(HATS), 8, rng))
    if face.style == "pencil":
        canvas.image = styles.pencil(canvas.image)
    image = canvas.finish(Image.Resampling.BOX)
    return styles.pixel(image) if face.style == "pixel" else image


def described_drawings(seed: int, count: int, **attributes: str) -> Iterator[tuple[str, Image.Image]]:
    """Yield drawings of random faces that have these attributes, each behind its description."""
    rng = random.Random(seed)
    for _ in range(count):
        face = replace(random_face(rng), **attributes)
        yield description(face), draw(face, rng)


class _Head:
    """A head of random proportions; features lie at (across, down), shares of its half width and half height."""

    def __init__(self, canvas: Canvas, composition: Composition, rng: random.Random) -> None:
        self.canvas, self.composition = canvas, composition
        self.x, self.y, self.h = composition.x, composition.y, composition.size
        self.w = self.h * rng.uniform(0.8, 0.84)
        self.unit = self.h / 36
        self.yaw = math.radians(composition.turn)
        self.eye_across = rng.uniform(0.44, 0.46)
        self.eye_down = -rng.uniform(0.09, 0.12)
        self.mouth_down = rng.uniform(0.53, 0.55)
        self.fringe = rng.uniform(0.46, 0.52)
        self.gaze = rng.uniform(-0.8, 0.8)

    def lean(self) -> None:
        """Tilt what is drawn from now on around the neck."""
        self.canvas.rotate(self.composition.tilt, self.x, self.y + self.h)

    def at(self, across: float, down: float) -> Point:
        """Return where a feature is: the face is as round as a drum, and turned."""
        angle = math.asin(max(-1.0, min(1.0, across))) + self.yaw
        return self.x + self.w * math.sin(max(-1.5, min(1.5, angle))), self.y + self.h * down

    def narrowed(self, across: float) -> float:
        """Return how much narrower a feature looks there than from the front."""
        angle = math.asin(max(-1.0, min(1.0, across)))
        return min(1.15, math.cos(angle + self.yaw) / math.cos(angle))

    def mane(self, colour: Colour) -> None:
        w, h = self.w, self.h
        self.canvas.box(self.x - w * 1.3, self.y - h * 0.3, self.x + w * 1.3, self.y + h * 1.55, w * 0.5, colour)

    def strands(self, colour: Colour) -> None:
        w, h = self.w, self.h
        for side in (-1, 1):
            near, far = self.x + side * w * 0.86, self.x + side * w * 1.3
            self.canvas.polygon(
                [(near, self.y - h * 0.6), (far, self.y - h * 0.4), (far, self.y + h), (near, self.y + h * 0.9)], colour
            )

    def body(self, shirt: Colour, neck: Colour) -> None:
        u, chin = self.unit, self.y + self.h
        self.canvas.box(self.x - 42 * u, chin + 6 * u, self.x + 42 * u, SIZE + 60, 20 * u, shirt)
        self.canvas.box(self.x - 10 * u, chin - 14 * u, self.x + 10 * u, chin + 12 * u, 6 * u, neck)

    def hair_back(self, colour: Colour) -> None:
        edge, bottom = 5 * self.unit, self.y + self.h * 0.1
        self.canvas.box(
            self.x - self.w - edge, self.y - self.h - edge, self.x + self.w + edge, bottom, self.w * 0.9, colour
        )

    def skull(self, skin: Colour) -> None:
        x, y, w, h, shade = self.x, self.y, self.w, self.h, blend(skin, BLACK, 0.2)
        for side in (-1, 1):
            self.canvas.ellipse(x + side * w, y, 4.5 * self.unit, 6.5 * self.unit, shade)
        self.canvas.ellipse(x, y, w, h, skin)
        light = self.composition.light
        dark_side = [(x - math.copysign(w, light) * math.cos(a), y + h * math.sin(a)) for a in angles(-90, 90, 24)]
        width = math.copysign(w, light) * (1 - 0.75 * abs(light))
        edge = [(x - width * math.cos(a), y + h * math.sin(a)) for a in angles(90, -90, 24)]
        self.canvas.polygon(dark_side + edge, shade)

    def cheeks(self, skin: Colour) -> None:
        for side in (-1, 1):
            x, y = self.at(side * 0.6, 0.28)
            self.canvas.ellipse(x, y, 5.5 * self.unit, 4 * self.unit, blend(skin, (230, 90, 90), 0.35))

    def wrinkles(self, skin: Colour) -> None:
        line = blend(skin, BLACK, 0.45)
        for side in (-1, 1):
            under = [
                self.at(side * (self.eye_across + t * 0.2), self.eye_down + 0.26 - 0.05 * t * t) for t in (-1, 0, 1)
            ]
            fold = [self.at(side * across, down) for across, down in ((0.3, 0.22), (0.48, 0.36), (0.56, 0.56))]
            for points in (under, fold):
                self.canvas.stroke(points, line, 2.4 * self.unit)

    def eyes(self, age: str) -> None:
        u, tall = self.unit, 4.2 if age == "old" else 6.5
        for side in (-1, 1):
            (x, y), narrow = self.at(side * self.eye_across, self.eye_down), self.narrowed(side * self.eye_across)
            self.canvas.ellipse(x, y, 7.4 * u * narrow, tall * u, WHITE)
            pupil = x + (self.gaze + self.yaw * 3) * u
            self.canvas.ellipse(pupil, y, 3.8 * u * narrow, min(4.2, tall - 0.4) * u, DARK)

    def brows(self, colour: Colour, width: float) -> None:
        for side in (-1, 1):
            ends = [self.at(side * self.eye_across + across, self.eye_down - 0.27) for across in (-0.19, 0.19)]
            self.canvas.stroke(ends, colour, width * self.unit)

    def nose(self, skin: Colour) -> None:
        x, y = self.at(0, 0.2)
        x += self.yaw * 4 * self.unit
        self.canvas.ellipse(x, y, 3.8 * self.unit, 5.2 * self.unit, blend(skin, BLACK, 0.2))

    def beard(self, colour: Colour) -> None:
        outer = [
            (self.x + (self.w + 1) * math.cos(a), self.y + self.h * (0.22 + 0.88 * math.sin(a)))
            for a in angles(0, 180, 24)
        ]
        inner = [self.at(math.cos(a) * 0.84, 0.26 + 0.14 * math.sin(a)) for a in angles(180, 0, 24)]
        self.canvas.polygon(outer + inner, colour)

    def mouth(self, kind: str) -> None:
        u = self.unit
        if kind == "neutral":
            ends = [self.at(across, self.mouth_down) for across in (-0.36, 0.36)]
            self.canvas.stroke(ends, LIPS, 4.2 * u)
            return
        steps = [t / 8 - 1 for t in range(17)]
        if kind == "smiling":
            lower = [self.at(0.5 * t, self.mouth_down - 0.1 + 0.36 * (1 - t * t)) for t in steps]
            self.canvas.polygon(lower, WHITE)
            self.canvas.stroke(lower, LIPS, 3.2 * u)
            self.canvas.stroke([lower[0], lower[-1]], LIPS, 2.6 * u)
        else:
            upper = [self.at(0.46 * t, self.mouth_down - 0.1 + 0.28 * t * t) for t in steps]
            self.canvas.stroke(upper, LIPS, 4.2 * u)

    def hair_front(self, colour: Colour) -> None:
        edge, line = 5 * self.unit, self.y - self.h * self.fringe
        top = [
            (self.x + (self.w + edge) * math.cos(a), self.y - 4 * self.unit + (self.h + 2 * self.unit) * math.sin(a))
            for a in angles(180, 360, 24)
        ]
        under = [(self.x + self.w * 0.97 * t, line + 8 * self.unit * t * t) for t in (1, 0.5, 0, -0.5, -1)]
        self.canvas.polygon(top + under, colour)

    def glasses(self) -> None:
        frame, u, rims = (22, 22, 28), self.unit, []
        for side in (-1, 1):
            (x, y), radius = self.at(side * self.eye_across, self.eye_down + 0.02), self.w * self.eye_across * 0.84
            radius *= self.narrowed(side * self.eye_across)
            self.canvas.ring(x, y, radius, 9.6 * u, 7.5 * u, frame, 3.4 * u)
            ear = self.x + side * (self.w + 2 * u)
            self.canvas.stroke([(x + side * radius, y - 2 * u), (ear, y - 4 * u)], frame, 2.8 * u)
            rims.append((x - side * radius, y - u))
        self.canvas.stroke(rims, frame, 3.2 * u)

    def hat(self, colour: Colour) -> None:
        x, w, u, brim, band = self.x, self.w, self.unit, self.y - self.h * 0.5, blend(colour, BLACK, 0.4)
        self.canvas.box(x - w * 0.92, brim - 32 * u, x + w * 0.92, brim + 2 * u, 10 * u, colour)
        self.canvas.box(x - w * 0.92, brim - 10 * u, x + w * 0.92, brim, u, band)
        self.canvas.box(x - w - 14 * u, brim - 4 * u, x + w + 14 * u, brim + 4 * u, 4 * u, colour)
