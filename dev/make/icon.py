"""Draw the registry's pictures of this project, assets/icon.png and assets/banner.png: `python -m dev.make.icon`.

The same face before and after an edit: what SEGA is for.
"""

from __future__ import annotations

import math

from PIL import Image, ImageDraw, ImageFont

from ..demo.canvas import Canvas, Colour, angles
from ..host.packages import REPO

ASSETS = REPO / "assets"
ICON, BANNER = 400, (1260, 540)
SUPERSAMPLING = 4

SLATE, BLUE = (58, 66, 82), (52, 152, 219)
NIGHT, PAPER, FAINT = (24, 28, 37), (246, 246, 242), (164, 172, 186)
SKIN, SHADE, HAIR, INK = (252, 216, 184), (236, 186, 148), (92, 56, 40), (32, 30, 40)
LIPS, TEETH, SHIRT = (206, 68, 82), (255, 255, 255), (150, 164, 184)


class Portrait(Canvas):
    """A head in a square of 100 units."""

    def head(self) -> None:
        self.box(8, 92, 92, 130, 20, SHIRT)
        self.box(38, 74, 62, 100, 8, SHADE)
        self.box(17, 9, 83, 62, 33, HAIR)
        for x in (19, 81):
            self.ellipse(x, 54, 6, 8, SHADE)
        self.ellipse(50, 53, 31, 37, SKIN)
        arc = [(50 + 33 * math.cos(a), 46 + 37 * math.sin(a)) for a in angles(180, 360, 24)]
        fringe = [(50 + 31 * t, 30 + 14 * t * t) for t in (1 - step / 12 for step in range(25))]
        self.polygon(arc + fringe, HAIR)
        for x in (37, 63):
            self.ellipse(x, 50, 4.4, 5.4, INK)
        self.ellipse(50, 61, 3.6, 4.6, SHADE)

    def mouth(self, smiling: bool) -> None:
        if not smiling:
            self.stroke([(38, 75), (62, 75)], LIPS, 5)
            return
        lower = [(50 + 19 * t, 70 + 15 * (1 - t * t)) for t in (step / 12 - 1 for step in range(25))]
        self.polygon(lower, TEETH)
        self.stroke(lower, LIPS, 4)
        self.stroke([lower[0], lower[-1]], LIPS, 4)

    def glasses(self) -> None:
        for x in (35, 65):
            self.ring(x, 50, 10.5, 9.5, 6.5, INK, 5)
        self.stroke([(47, 47), (53, 47)], INK, 4)
        for x, ear in ((23, 19), (77, 81)):
            self.stroke([(x, 47), (ear, 45)], INK, 4)


def portrait(size: int, background: Colour, *, smiling: bool = False, glasses: bool = False) -> Image.Image:
    """Draw the one face with what is added to it."""
    drawing = Portrait(size, 100, SUPERSAMPLING, background)
    drawing.head()
    drawing.mouth(smiling)
    if glasses:
        drawing.glasses()
    return drawing.finish(Image.Resampling.LANCZOS)


def icon() -> Image.Image:
    """Draw the face, plain on the left and edited on the right."""
    image = portrait(ICON, SLATE)
    half = (ICON // 2, 0, ICON, ICON)
    image.paste(portrait(ICON, BLUE, smiling=True, glasses=True).crop(half), half)
    ImageDraw.Draw(image).line([(ICON // 2, 0), (ICON // 2, ICON)], fill=PAPER, width=6)
    return image


def banner() -> Image.Image:
    """Draw the name beside the face and what one concept after another makes of it."""
    image = Image.new("RGB", BANNER, NIGHT)
    pen = ImageDraw.Draw(image)
    pen.text((62, 134), "Semantic\nGuidance", fill=PAPER, font=ImageFont.load_default(72), spacing=14)
    pen.text((64, 316), "SEGA for ComfyUI", fill=FAINT, font=ImageFont.load_default(35))
    tiles = [
        ("a face", SLATE, {}),
        ("+ smiling", BLUE, {"smiling": True}),
        ("+ glasses", BLUE, {"smiling": True, "glasses": True}),
    ]
    size, gap = 250, 16
    for index, (words, background, added) in enumerate(tiles):
        left, top = 424 + index * (size + gap), 118
        mask = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING))
        ImageDraw.Draw(mask).rounded_rectangle([(0, 0), mask.size], 24 * SUPERSAMPLING, fill=255)
        image.paste(
            portrait(size, background, **added), (left, top), mask.resize((size, size), Image.Resampling.LANCZOS)
        )
        colour = FAINT if index == 0 else BLUE
        pen.text((left + size / 2, top + size + 38), words, fill=colour, font=ImageFont.load_default(30), anchor="mm")
    return image


def main() -> None:
    ASSETS.mkdir(exist_ok=True)
    for name, image in (("icon", icon()), ("banner", banner())):
        image.quantize(128, dither=Image.Dither.NONE).save(ASSETS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
