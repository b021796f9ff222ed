"""Draw the registry's pictures of this project: assets/icon.png and assets/banner.png.

The same face before and after an edit: what SEGA is for. Needs Pillow:

    python dev/make/icon.py
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ASSETS = Path(__file__).resolve().parents[1] / "assets"

Colour = tuple[int, int, int]
Point = tuple[float, float]

ICON = 400
BANNER = (1260, 540)
SUPERSAMPLING = 4

SLATE, BLUE = (58, 66, 82), (52, 152, 219)
NIGHT, PAPER, FAINT = (24, 28, 37), (246, 246, 242), (164, 172, 186)
SKIN, SHADE, HAIR, INK = (252, 216, 184), (236, 186, 148), (92, 56, 40), (32, 30, 40)
LIPS, TEETH, SHIRT = (206, 68, 82), (255, 255, 255), (150, 164, 184)


class Face:
    """A head in a square of 100 units, from the background on."""

    def __init__(self, size: int, background: Colour) -> None:
        self.size = size
        self.scale = size * SUPERSAMPLING / 100
        self.image = Image.new("RGB", (size * SUPERSAMPLING, size * SUPERSAMPLING), background)
        self.pen = ImageDraw.Draw(self.image)

    def finish(self) -> Image.Image:
        return self.image.resize((self.size, self.size), Image.Resampling.LANCZOS)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.pen.ellipse(self._scaled([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill)

    def polygon(self, points: list[Point], fill: Colour) -> None:
        self.pen.polygon(self._scaled(points), fill=fill)

    def line(self, points: list[Point], fill: Colour, width: float) -> None:
        self.pen.line(self._scaled(points), fill=fill, width=round(width * self.scale), joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, fill)

    def box(self, corners: list[Point], radius: float, fill: Colour | None, outline: Colour | None = None) -> None:
        self.pen.rounded_rectangle(
            self._scaled(corners), radius * self.scale, fill=fill, outline=outline, width=round(5 * self.scale)
        )

    def head(self) -> None:
        self.box([(8, 92), (92, 130)], 20, SHIRT)
        self.box([(38, 74), (62, 100)], 8, SHADE)
        self.box([(17, 9), (83, 62)], 33, HAIR)
        for x in (19, 81):
            self.ellipse(x, 54, 6, 8, SHADE)
        self.ellipse(50, 53, 31, 37, SKIN)
        arc = [math.pi * (1 + step / 24) for step in range(25)]
        fringe = [(50 + 31 * t, 30 + 14 * t * t) for t in (1 - step / 12 for step in range(25))]
        self.polygon([(50 + 33 * math.cos(a), 46 + 37 * math.sin(a)) for a in arc] + fringe, HAIR)
        for x in (37, 63):
            self.ellipse(x, 50, 4.4, 5.4, INK)
        self.ellipse(50, 61, 3.6, 4.6, SHADE)

    def mouth(self, smiling: bool) -> None:
        if not smiling:
            self.line([(38, 75), (62, 75)], LIPS, 5)
            return
        lower = [(50 + 19 * t, 70 + 15 * (1 - t * t)) for t in (step / 12 - 1 for step in range(25))]
        self.polygon(lower, TEETH)
        self.line(lower, LIPS, 4)
        self.line([lower[0], lower[-1]], LIPS, 4)

    def glasses(self) -> None:
        for x in (35, 65):
            self.box([(x - 13, 38), (x + 13, 62)], 9, None, INK)
        self.line([(47, 47), (53, 47)], INK, 4)
        for x, ear in ((23, 19), (77, 81)):
            self.line([(x, 47), (ear, 45)], INK, 4)

    def _scaled(self, points: list[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]


def face(size: int, background: Colour, *, smiling: bool = False, glasses: bool = False) -> Image.Image:
    """Draw the one face with what is added to it."""
    drawing = Face(size, background)
    drawing.head()
    drawing.mouth(smiling)
    if glasses:
        drawing.glasses()
    return drawing.finish()


def icon() -> Image.Image:
    """Draw the face, plain on the left and edited on the right."""
    image = face(ICON, SLATE)
    half = (ICON // 2, 0, ICON, ICON)
    image.paste(face(ICON, BLUE, smiling=True, glasses=True).crop(half), half)
    ImageDraw.Draw(image).line([(ICON // 2, 0), (ICON // 2, ICON)], fill=PAPER, width=6)
    return image


def banner() -> Image.Image:
    """Draw the name beside the face and what one concept after another makes of it."""
    image = Image.new("RGB", BANNER, NIGHT)
    pen = ImageDraw.Draw(image)
    pen.text((60, 140), "SEGA", fill=PAPER, font=ImageFont.load_default(124))
    pen.text((66, 286), "semantic guidance\nfor ComfyUI", fill=FAINT, font=ImageFont.load_default(35), spacing=12)
    tiles = [
        ("a face", SLATE, {}),
        ("+ smiling", BLUE, {"smiling": True}),
        ("+ glasses", BLUE, {"smiling": True, "glasses": True}),
    ]
    size, gap = 250, 16
    for index, (words, background, added) in enumerate(tiles):
        left, top = BANNER[0] - 54 - (3 - index) * size - (2 - index) * gap, 118
        mask = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING))
        ImageDraw.Draw(mask).rounded_rectangle([(0, 0), mask.size], 24 * SUPERSAMPLING, fill=255)
        image.paste(face(size, background, **added), (left, top), mask.resize((size, size), Image.Resampling.LANCZOS))
        colour = FAINT if index == 0 else BLUE
        pen.text((left + size / 2, top + size + 38), words, fill=colour, font=ImageFont.load_default(30), anchor="mm")
    return image


def main() -> None:
    ASSETS.mkdir(exist_ok=True)
    for name, image in (("icon", icon()), ("banner", banner())):
        image.quantize(128, dither=Image.Dither.NONE).save(ASSETS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
