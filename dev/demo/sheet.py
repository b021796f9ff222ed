"""The contact sheet: one row per edit, one column per seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

MARGIN = 24
GAP = 6
LABEL_WIDTH = 190
PAPER, INK, FAINT, RULE = (252, 251, 248), (34, 36, 42), (120, 122, 130), (222, 220, 214)


@dataclass(frozen=True)
class Row:
    """One row; a row with a `section` starts a new part of the sheet under that heading."""

    label: str
    detail: str
    images: Sequence[Image.Image]
    section: str = ""


def contact_sheet(title: str, subtitle: str, rows: Sequence[Row], cell: int = 128) -> Image.Image:
    """Return the labelled sheet; every image is shown `cell` pixels wide."""
    columns = max(len(row.images) for row in rows)
    width = MARGIN * 2 + LABEL_WIDTH + columns * (cell + GAP) - GAP
    height = MARGIN * 2 + 62 + sum(cell + GAP + (34 if row.section else 0) for row in rows)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, font=ImageFont.load_default(26), fill=INK)
    pen.text((MARGIN, MARGIN + 30), subtitle, font=ImageFont.load_default(14), fill=FAINT)
    y = MARGIN + 62
    for row in rows:
        if row.section:
            pen.line([(MARGIN, y + 8), (width - MARGIN, y + 8)], fill=RULE)
            pen.text((MARGIN, y + 13), row.section.upper(), font=ImageFont.load_default(12), fill=FAINT)
            y += 34
        pen.text((MARGIN, y + cell / 2 - 20), row.label, font=ImageFont.load_default(17), fill=INK)
        pen.text((MARGIN, y + cell / 2 + 4), row.detail, font=ImageFont.load_default(13), fill=FAINT)
        for column, image in enumerate(row.images):
            picture = image if image.width == cell else image.resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(picture, (MARGIN + LABEL_WIDTH + column * (cell + GAP), y))
        y += cell + GAP
    return sheet
