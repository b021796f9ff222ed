"""What is behind a face: a plain background or one of three scenes, a function each."""

from __future__ import annotations

import random

from .canvas import Canvas, Colour, blend

PLAIN = {"blue": (110, 168, 224), "green": (128, 190, 128), "yellow": (244, 222, 140), "purple": (170, 136, 204)}
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def vary(colour: Colour, by: int, rng: random.Random) -> Colour:
    """Return a colour like this one."""
    return tuple(max(0, min(255, c + rng.randint(-by, by))) for c in colour)


def plain(canvas: Canvas, colour: Colour, rng: random.Random) -> None:
    top = vary(colour, 8, rng)
    canvas.gradient(top, blend(top, BLACK, 0.12))


def beach(canvas: Canvas, rng: random.Random) -> None:
    horizon = rng.uniform(52, 60)
    canvas.gradient((118, 196, 240), (214, 238, 248), 0, horizon)
    canvas.ellipse(rng.uniform(98, 112), rng.uniform(16, 24), 11, 11, (255, 240, 170))
    canvas.gradient((32, 128, 190), (70, 178, 206), horizon, horizon + 22)
    canvas.gradient((246, 226, 172), (226, 196, 136), horizon + 22)
    canvas.ellipse(30, horizon + 23, 60, 3, WHITE)
    canvas.ellipse(108, horizon + 25, 44, 3, WHITE)
    sail = rng.uniform(84, 112)
    canvas.polygon([(sail, horizon - 14), (sail, horizon + 1), (sail + 9, horizon + 1)], (250, 250, 246))
    canvas.box(sail - 5, horizon + 2, sail + 11, horizon + 5, 1, (150, 70, 60))


def forest(canvas: Canvas, rng: random.Random) -> None:
    canvas.gradient((196, 224, 206), (150, 192, 150), 0, 96)
    canvas.gradient((92, 132, 70), (66, 104, 52), 96)
    shift = rng.uniform(-6, 6)
    for x, top, shade in ((12, 34, 104), (58, 42, 104), (104, 30, 104), (36, 8, 70), (84, 4, 70), (124, 20, 70)):
        fir(canvas, x + shift, top, (shade - 60, shade + 20, shade - 34))


def fir(canvas: Canvas, x: float, top: float, green: Colour) -> None:
    canvas.box(x - 3, 80, x + 3, 104, 1, (92, 64, 44))
    for y, half in ((top, 10), (top + 18, 15), (top + 38, 20)):
        canvas.polygon([(x, y), (x - half, y + 34), (x + half, y + 34)], green)


def city(canvas: Canvas, rng: random.Random) -> None:
    canvas.gradient((14, 18, 50), (58, 48, 98))
    canvas.ellipse(rng.uniform(12, 24), rng.uniform(14, 22), 8, 8, (244, 240, 214))
    shift = rng.uniform(-5, 5)
    for x, top, width in ((-4, 52, 26), (24, 36, 24), (50, 60, 20), (72, 28, 26), (100, 46, 30)):
        building(canvas, x + shift, top, width)


def building(canvas: Canvas, x: float, top: float, width: float) -> None:
    canvas.box(x, top, x + width, 140, 1, (30, 32, 58))
    for row in range(5):
        for column in range(int(width // 8)):
            left, y = x + 3 + column * 8, top + 6 + row * 12
            canvas.box(left, y, left + 4.5, y + 6, 0.5, (252, 214, 112))


def draw(canvas: Canvas, background: str, rng: random.Random) -> None:
    """Draw what is behind the face."""
    scenes = {"beach": beach, "forest": forest, "city": city}
    if background in scenes:
        scenes[background](canvas, rng)
    else:
        plain(canvas, PLAIN[background], rng)
