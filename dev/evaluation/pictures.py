"""The report's pictures: the attribute's probability over the strength, and faces at rising strength."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter
from PIL import Image

from ..demo.measure import EDITS
from ..demo.sheet import Row, contact_sheet
from ..demo.workflows import LOOKS
from ..report import BLUE, GREY, INK, ORANGE, STYLE
from .first_edit import STRENGTHS, STRONG
from .recipe import Recipe, edited, plain
from .studio import Studio

GRID = {"axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.8}
FONT = {"font.size": 11, "axes.titlesize": 12, "axes.titleweight": "bold"}
SHOWN = ("+ glasses", "- hat")
PER_LOOK, CELL = 2, 96


def plot_strength(part: Mapping[str, Any], file: Path) -> None:
    """Draw the probability of each attribute over the strength; readable without colours."""
    with mpl.rc_context({**STYLE, **FONT, **GRID}):
        figure, axes = plt.subplots(1, 2, figsize=(11.2, 4.6), layout="constrained")
        for axis, (sign, title) in zip(axes, (("+", "Adding"), ("-", "Removing")), strict=True):
            rows = [row for row in part["strength"] if row["edit"].startswith(sign)]
            looks = zip((BLUE, ORANGE, INK, GREY), ("o-", "s--", "^-.", "D:"), strict=True)
            for row, (colour, line) in zip(rows, looks, strict=True):
                low, value, high = ([chance[side] for chance in row["chance"]] for side in ("low", "value", "high"))
                axis.plot(row["strengths"], value, line, color=colour, label=row["edit"][2:], ms=6)
                axis.fill_between(row["strengths"], low, high, color=colour, alpha=0.08, lw=0)
            axis.set(title=title, xlabel="strength", ylim=(-0.03, 1.04), xticks=rows[0]["strengths"])
            axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axis.legend(loc="best")
        axes[0].set_ylabel("probability of the attribute")
        figure.savefig(file, dpi=110, bbox_inches="tight", pil_kwargs={"quality": 85})
        plt.close(figure)


def draw_strengths(studio: Studio, file: Path) -> None:
    """Draw a few faces of two edits at rising strength, in the report's own size."""
    rows = []
    for edit in EDITS:
        if edit.name in SHOWN:
            rows.append(_row(studio, "no edit", plain(edit), edit.name))
            rows += [_row(studio, f"strength {each:g}", edited(edit, each)) for each in (*STRENGTHS[1:], STRONG)]
    sheet = contact_sheet("Rising strength", "the same noise in every column", rows, CELL)
    sheet.save(file, quality=80, method=6)


def _row(studio: Studio, label: str, recipe: Recipe, section: str = "") -> Row:
    images = studio.draw(recipe).images
    firsts = range(0, len(images), len(images) // len(LOOKS))
    shown = [images[first + i] for first in firsts for i in range(min(PER_LOOK, studio.per_look))]
    return Row(label, "", [Image.fromarray(image) for image in shown], section)
