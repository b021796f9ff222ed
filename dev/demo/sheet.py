"""The contact sheet: panels side by side, in each one row per edit and one column per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

MARGIN, GUTTER, GAP = 36, 64, 6
TITLE, LABELS, HEADING, CAPTION = 92, 196, 70, 30
PAPER, INK, FAINT, RULE, ACCENT = (252, 251, 248), (34, 36, 42), (112, 114, 122), (222, 220, 214), (0, 114, 178)


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        label: what was done, to the left of the pictures.
        detail: what else to know, below the label.
        images: the pictures.
        section: a heading above the row, which starts a new part.
        captions: what stands above each picture.
    """

    label: str
    detail: str
    images: Sequence[Image.Image]
    section: str = ""
    captions: Sequence[str] = ()

    @property
    def above(self) -> int:
        """Return the room above the pictures."""
        return HEADING * bool(self.section) + CAPTION * bool(self.captions)


def above_caption(heat: Image.Image) -> Image.Image:
    """Return a heat map of SEGA Preview without the caption below it."""
    return heat.crop((0, 0, heat.width, heat.width))


def contact_sheet(title: str, subtitle: str, *panels: Sequence[Row], cell: int = 160) -> Image.Image:
    """Return the labelled sheet; every picture is shown `cell` pixels wide."""
    drawn = [_panel(rows, cell) for rows in panels]
    top = MARGIN + (TITLE if title else 0)
    width = 2 * MARGIN + sum(panel.width for panel in drawn) + GUTTER * (len(drawn) - 1)
    sheet = Image.new("RGB", (width, top + max(panel.height for panel in drawn) + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(44))
    pen.text((MARGIN, MARGIN + 60), subtitle, FAINT, ImageFont.load_default(20))
    left = MARGIN
    for panel in drawn:
        sheet.paste(panel, (left, top))
        left += panel.width + GUTTER
    return sheet


def _panel(rows: Sequence[Row], cell: int) -> Image.Image:
    width = LABELS + max(len(row.images) for row in rows) * (cell + GAP) - GAP
    panel = Image.new("RGB", (width, sum(row.above + cell + GAP for row in rows) - GAP), PAPER)
    pen, y = ImageDraw.Draw(panel), 0
    for row in rows:
        if row.section:
            pen.line([(0, y + 22), (width, y + 22)], RULE, 2)
            pen.text((0, y + 32), row.section, ACCENT, ImageFont.load_default(26))
        y += row.above
        pen.text((0, y + cell / 2 - 6), row.label, INK, ImageFont.load_default(24), "ls")
        pen.multiline_text((0, y + cell / 2 + 6), row.detail, FAINT, ImageFont.load_default(17), spacing=5)
        for column, image in enumerate(row.images):
            left = LABELS + column * (cell + GAP)
            panel.paste(image.resize((cell, cell), Image.Resampling.LANCZOS), (left, y))
            if row.captions:
                caption = row.captions[column]
                pen.text((left + cell / 2, y - CAPTION / 2 - 1), caption, INK, ImageFont.load_default(19), "mm")
        y += cell + GAP
    return panel
