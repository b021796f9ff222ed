"""A square drawing with smooth edges, in units of its own."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

Colour = tuple[int, ...]
Point = tuple[float, float]


class Canvas:
    """A drawing of `size` pixels with sides of `units`, `supersampling` times as large until `finish` shrinks it."""

    def __init__(self, size: int, units: int, supersampling: int, background: Colour = (0, 0, 0)) -> None:
        self.size, self.units, self.scale = size, units, size * supersampling / units
        self.image = Image.new("RGB", (size * supersampling, size * supersampling), background)
        self.pen = ImageDraw.Draw(self.image)
        self.rotate(0, 0, 0)

    def rotate(self, degrees: float, x: float, y: float) -> None:
        """Turn what is drawn from now on around a point, clockwise; 0 degrees undoes it."""
        self._pivot, self._cos, self._sin = (x, y), math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.polygon([(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles(0, 360, 48)], fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float, fill: Colour) -> None:
        self.polygon(_round_box(x0, y0, x1, y1, radius), fill)

    def ring(self, x: float, y: float, rx: float, ry: float, radius: float, colour: Colour, width: float) -> None:
        """Draw the outline of a box with round corners around a point."""
        corners = _round_box(x - rx, y - ry, x + rx, y + ry, radius)
        self.stroke([*corners, *corners[:2]], colour, width)

    def polygon(self, points: list[Point], fill: Colour) -> None:
        self.pen.polygon(self._placed(points), fill=fill)

    def stroke(self, points: list[Point], colour: Colour, width: float) -> None:
        self.pen.line(self._placed(points), fill=colour, width=round(width * self.scale), joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, colour)

    def gradient(self, top: Colour, bottom: Colour, y0: float = 0, y1: float | None = None) -> None:
        """Fill the full width between two heights, from one colour to another."""
        first, last = round(y0 * self.scale), round((self.units if y1 is None else y1) * self.scale)
        for row in range(first, last):
            t = (row - first) / (last - first)
            self.pen.line([(0, row), (self.image.width, row)], fill=blend(top, bottom, t))

    def finish(self, resample: Image.Resampling) -> Image.Image:
        return self.image.resize((self.size, self.size), resample)

    def _placed(self, points: list[Point]) -> list[Point]:
        (px, py), cos, sin, scale = self._pivot, self._cos, self._sin, self.scale
        return [
            ((px + (x - px) * cos - (y - py) * sin) * scale, (py + (x - px) * sin + (y - py) * cos) * scale)
            for x, y in points
        ]


def angles(first: float, last: float, steps: int) -> list[float]:
    """Return `steps` + 1 angles in radians, from one in degrees to another."""
    return [math.radians(first + (last - first) * i / steps) for i in range(steps + 1)]


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour that lies `share` of the way from `a` to `b`."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))


def _round_box(x0: float, y0: float, x1: float, y1: float, radius: float) -> list[Point]:
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    corners = ((x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180), (x1 - r, y0 + r, 270))
    return [(x + r * math.cos(a), y + r * math.sin(a)) for x, y, start in corners for a in angles(start, start + 90, 8)]
