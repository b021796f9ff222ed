"""A square drawing with smooth edges, in units of its own."""

from __future__ import annotations

from PIL import Image, ImageDraw

Colour = tuple[int, ...]
Point = tuple[float, float]


class Canvas:
    """A drawing of `size` pixels with sides of `units`, `supersampling` times as large until `finish` shrinks it."""

    def __init__(self, size: int, units: int, supersampling: int, background: Colour = (0, 0, 0)) -> None:
        self.size, self.scale = size, size * supersampling / units
        self.image = Image.new("RGB", (size * supersampling, size * supersampling), background)
        self.pen = ImageDraw.Draw(self.image)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.pen.ellipse(self._scaled([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, radius: float, fill: Colour) -> None:
        self.pen.rounded_rectangle(self._scaled([(x0, y0), (x1, y1)]), radius * self.scale, fill=fill)

    def ring(self, x: float, y: float, rx: float, ry: float, radius: float, colour: Colour, width: float) -> None:
        """Draw the outline of a box with round corners around a point."""
        corners = self._scaled([(x - rx, y - ry), (x + rx, y + ry)])
        self.pen.rounded_rectangle(corners, radius * self.scale, outline=colour, width=round(width * self.scale))

    def polygon(self, points: list[Point], fill: Colour) -> None:
        self.pen.polygon(self._scaled(points), fill=fill)

    def stroke(self, points: list[Point], colour: Colour, width: float) -> None:
        self.pen.line(self._scaled(points), fill=colour, width=round(width * self.scale), joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, colour)

    def finish(self, resample: Image.Resampling) -> Image.Image:
        return self.image.resize((self.size, self.size), resample)

    def _scaled(self, points: list[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]
