"""A plot of how strongly each concept acted over the steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...sega_core import Concept, Direction
from .lettering import COLOURS, FAINT, INK, PAPER, Font, draw_badge, font_of_size, lettered

WIDTH = 1024
SUPERSAMPLING = 3
MARGIN, HEADER, FOOTER = 28, 68, 44
BADGE, SCALE, LONGEST_NAME = 28, 62, 230
RIGHT = WIDTH - 32
GRID, BASE = (44, 48, 56), (92, 97, 107)
ZONE, HATCH = (31, 34, 40), (43, 47, 55)


def effect_plot(magnitudes: Tensor, concepts: Sequence[Concept], texts: Sequence[str]) -> Tensor:
    """Return the plot, one row per concept, all on the same scale; without concepts, only the axis.

    Args:
        magnitudes: how strongly each concept acted, (steps, concepts), 0 or more.
        concepts: the concepts.
        texts: the concepts' texts.

    Returns:
        (height, 1024, 3), fp32, in [0, 1].
    """
    steps, rows = magnitudes.shape
    pitch = row_height(rows)
    gap = max(8, pitch // 8)
    names = [lettered(text, c + 1, 17 * SUPERSAMPLING, LONGEST_NAME * SUPERSAMPLING) for c, text in enumerate(texts)]
    longest = max((font.getlength(name) for name, font in names), default=0) / SUPERSAMPLING
    plot = Plot(steps, HEADER + rows * pitch - gap + FOOTER, MARGIN + BADGE + longest + SCALE)
    plot.header()
    most = float(magnitudes.max()) if rows else 0.0
    for c, concept in enumerate(concepts):
        top = HEADER + c * pitch
        bottom = top + pitch - gap
        plot.name((top + bottom) / 2, concept.direction, *names[c])
        plot.row(top, bottom, concept, magnitudes[:, c].tolist(), most)
    plot.scale(HEADER, HEADER + pitch - gap, most)
    plot.ticks(HEADER + rows * pitch - gap)
    return plot.as_tensor()


def row_height(rows: int) -> int:
    """Return the height of a row with the gap below it: large for one concept, compact for many."""
    return min(220, max(40, 560 // max(rows, 1)))


def step_ticks(steps: int) -> list[int]:
    """Return the steps to label on the axis: at most eleven, at multiples of 1, 2 or 5 times a power of ten."""
    power = 1
    while True:
        for every in (power, 2 * power, 5 * power):
            if (steps - 1) // every <= 10:
                return list(range(0, steps, every))
        power *= 10


class Plot:
    """The plot being drawn; coordinates are pixels of the finished picture."""

    def __init__(self, steps: int, height: int, left: float) -> None:
        self.steps = steps
        self.left = left
        self.image = Image.new("RGB", (WIDTH * SUPERSAMPLING, height * SUPERSAMPLING), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def as_tensor(self) -> Tensor:
        return torch.from_numpy(np.array(self.image.reduce(SUPERSAMPLING))).float() / 255

    def header(self) -> None:
        self.text((MARGIN, 38), "Strength over the steps", INK, 20, "ls")
        right: float = RIGHT
        for direction in ("remove", "add"):
            right -= self.font(14).getlength(direction) / SUPERSAMPLING
            self.text((right, 38), direction, FAINT, 14, "ls")
            self.badge(right - 22, 25.5, 15, direction)
            right -= 42
        self.text((right, 38), "mean size of a concept's guidance, one scale for all", FAINT, 13, "rs")

    def name(self, middle: float, direction: Direction, name: str, font: Font) -> None:
        """Write a concept's name in front of its row."""
        self.badge(MARGIN, middle - 9, 18, direction)
        self.pen.text(self._scaled([(MARGIN + BADGE, middle)])[0], name, INK, font, anchor="lm")

    def row(self, top: float, bottom: float, concept: Concept, values: list[float], most: float) -> None:
        """Draw a concept's strength at each step, over the zones where it does not act."""
        end = self.steps if concept.cooldown_steps is None else min(concept.cooldown_steps, self.steps)
        self.zone("before the start", 0, min(concept.warmup_steps, self.steps), top, bottom)
        self.zone("after the end", end, self.steps, top, bottom)
        self.line([(self.left, top), (RIGHT, top)], GRID, 1)
        levels = [bottom - (bottom - top) * value / most if most else bottom for value in values]
        outline = [(self.x(step + side), level) for step, level in enumerate(levels) for side in (0, 1)]
        colour = COLOURS[concept.direction]
        dark = tuple(round(0.3 * bright + 0.7 * paper) for bright, paper in zip(colour, PAPER, strict=True))
        self.pen.polygon(self._scaled([(self.left, bottom), *outline, (RIGHT, bottom)]), dark)
        self.line([(self.left, bottom), (RIGHT, bottom)], BASE, 1)
        self.line(outline, colour, 2)

    def zone(self, name: str, first: int, end: int, top: float, bottom: float) -> None:
        """Hatch the steps from `first` to before `end`, with a name if there is room."""
        if first >= end:
            return
        left, right = self.x(first), self.x(end)
        size = (round((right - left) * SUPERSAMPLING), round((bottom - top) * SUPERSAMPLING))
        hatching = Image.new("RGB", size, ZONE)
        pen = ImageDraw.Draw(hatching)
        for x in range(-size[1], size[0], 9 * SUPERSAMPLING):
            pen.line([(x, size[1]), (x + size[1], 0)], HATCH, SUPERSAMPLING)
        self.image.paste(hatching, (round(left * SUPERSAMPLING), round(top * SUPERSAMPLING)))
        if self.font(12).getlength(name) / SUPERSAMPLING + 16 <= right - left:
            self.text((left + 8, top + 18), name, FAINT, 12, "ls")

    def scale(self, top: float, bottom: float, most: float) -> None:
        """Write the scale of a row; it is the same for all rows."""
        self.text((self.left - 10, bottom), "0", FAINT, 12, "rs")
        if most:
            self.text((self.left - 10, top), f"{most:.2g}", FAINT, 12, "rm")

    def ticks(self, bottom: float) -> None:
        """Number the steps below the last row."""
        self.text((self.left - 10, bottom + 21), "step", FAINT, 13, "rs")
        for step in step_ticks(self.steps):
            middle = self.x(step + 0.5)
            self.line([(middle, bottom), (middle, bottom + 5)], BASE, 1)
            self.text((middle, bottom + 21), str(step), FAINT, 13, "ms")

    def x(self, step: float) -> float:
        return self.left + (RIGHT - self.left) * step / self.steps

    def font(self, size: int) -> Font:
        return font_of_size(size * SUPERSAMPLING)

    def text(self, place: tuple[float, float], text: str, colour: tuple[int, int, int], size: int, anchor: str) -> None:
        self.pen.text(self._scaled([place])[0], text, colour, self.font(size), anchor=anchor)

    def badge(self, left: float, top: float, size: float, direction: Direction) -> None:
        draw_badge(self.pen, left * SUPERSAMPLING, top * SUPERSAMPLING, size * SUPERSAMPLING, direction)

    def line(self, places: list[tuple[float, float]], colour: tuple[int, ...], width: float) -> None:
        self.pen.line(self._scaled(places), colour, round(width * SUPERSAMPLING), joint="curve")

    def _scaled(self, places: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in places]
