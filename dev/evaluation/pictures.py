"""The report's pictures: where ours is better and where not, success over the strength, and faces edited each way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from PIL import Image

from ..demo.sheet import Row, contact_sheet
from ..report import BLUE, GREY, INK, ORANGE, STYLE
from .comparison import SUCCESS, opponent, outcome
from .edits import tasks_named
from .studio import PROMPTS, Studio
from .verdict import ATTRIBUTES, COMPOSITION
from .ways import WAYS, plain, ways_of, wish_of

PLOT = {
    **STYLE,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "text.color": INK,
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
}
PANELS = {SUCCESS: "Success", ATTRIBUTES: "Attributes kept", COMPOSITION: "Composition kept"}
# Readable without colours, too.
LOOKS = {"win": (BLUE, "o", BLUE), "draw": (GREY, "o", "white"), "loss": (ORANGE, "s", ORANGE)}
SHOWN, CELL = ("+ hat", "- glasses"), 96


def plot_comparisons(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw what ours has more than each other way: a point and its interval for each group and measure.

    Ways for generated and for given pictures stand together where their group is the same.
    """
    groups = list(dict.fromkeys(row["group"] for row in rows))
    lines = dict.fromkeys(sorted(map(_line, rows), key=lambda line: groups.index(line[0])))
    # A space between the groups.
    places = {line: i + groups.index(line[0]) for i, line in enumerate(lines)}
    with mpl.rc_context(PLOT):
        height = 1.4 + 0.22 * (max(places.values()) + 1)
        figure, axes = plt.subplots(1, len(PANELS), figsize=(11.2, height), sharey=True, layout="constrained")
        for axis, (measure, title) in zip(axes, PANELS.items(), strict=True):
            _draw_panel(axis, [row for row in rows if row["measure"] == measure], places)
            axis.set(title=title, xlabel="ours minus it, points")
        axes[0].set_yticks([*places.values()], [": ".join(line) for line in lines])
        axes[0].set_ylim(max(places.values()) + 1, -1)
        marks = [
            plt.Line2D([], [], color=colour, marker=marker, mfc=fill, ls="", label=f"ours is {word}")
            for word, (colour, marker, fill) in zip(("better", "undecided", "worse"), LOOKS.values(), strict=True)
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=3)
        figure.savefig(file, dpi=110, pil_kwargs={"quality": 85})
        plt.close(figure)


def _line(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["group"], opponent(row)


def _draw_panel(axis: Axes, rows: Sequence[Mapping[str, Any]], places: Mapping[tuple[str, str], int]) -> None:
    axis.axvline(0, color=INK, lw=1)
    for row in rows:
        colour, marker, fill = LOOKS[outcome(row)]
        place, value = places[_line(row)], 100 * row["value"]
        reach = [[value - 100 * row["low"]], [100 * row["high"] - value]]
        axis.errorbar(value, place, xerr=reach, fmt=marker, color=colour, mfc=fill, ms=5, lw=1.4)


def plot_strengths(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw how often an edit succeeds over the strength."""
    with mpl.rc_context(PLOT):
        figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
        looks = zip((BLUE, ORANGE), ("o-", "s--"), strict=True)
        for edit, (colour, line) in zip(dict.fromkeys(row["edit"] for row in rows), looks, strict=True):
            own = [row for row in rows if row["edit"] == edit]
            strengths = [row["strength"] for row in own]
            axis.plot(strengths, [row["value"] for row in own], line, color=colour, label=edit)
            axis.fill_between(
                strengths, [row["low"] for row in own], [row["high"] for row in own], color=colour, alpha=0.1, lw=0
            )
        axis.set(xlabel="strength", ylabel="success", ylim=(-0.03, 1.04))
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.legend(loc="lower right")
        figure.savefig(file, dpi=110, pil_kwargs={"quality": 85})
        plt.close(figure)


def draw_ways(studio: Studio, file: Path) -> None:
    """Draw a face of each prompt without an edit and edited each way."""
    panels = []
    for task in tasks_named(*SHOWN):
        wishes = [wish_of(task, look) for look in PROMPTS]
        recipes = {"no edit": plain, **{way: WAYS[way] for way in ways_of(task.group)}}
        panels.append([])
        for way, recipe_of in recipes.items():
            images = studio.draw([recipe_of(wish) for wish in wishes]).images[:: studio.faces // len(PROMPTS)]
            row = Row(way, "", [Image.fromarray(image) for image in images], "" if panels[-1] else task.name)
            panels[-1].append(row)
    contact_sheet("", "", *panels, cell=CELL).save(file, quality=82, method=6)
