"""The figures as one picture: a small panel for each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#999999", "#333333"
MARKERS = "os^"

Row = Mapping[str, Any]


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Write the picture of the parts that were measured."""
    panels = [(name, panel) for name, panel in PANELS.items() if figures.get(name)]
    if not panels:
        return
    style = {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    with plt.rc_context(style | {"axes.edgecolor": GREY, "axes.spines.top": False, "axes.spines.right": False}):
        widths = [1.5 if name == "generation" else 1 for name, _ in panels]
        figure, axes = plt.subplots(
            1, len(panels), figsize=(3.6 * sum(widths), 3.6), width_ratios=widths, squeeze=False, layout="constrained"
        )
        for (name, panel), ax in zip(panels, axes[0], strict=True):
            panel(ax, figures[name])
        figure.savefig(file, dpi=160)
        plt.close(figure)


def _generation(ax: Axes, rows: Sequence[Row]) -> None:
    edits = list(dict.fromkeys(row["edit"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    for number, network in enumerate(networks):
        own = [row for row in rows if row["network"] == network]
        shift = 0.16 * (2 * number - len(networks) + 1)
        places = [edits.index(row["edit"]) + shift for row in own]
        ratios = [row["ratio"] for row in own]
        spread = [[row["ratio"] - row["low"] for row in own], [row["high"] - row["ratio"] for row in own]]
        colour = (BLUE, ORANGE)[number]
        low, high = [place - 0.14 for place in places], [place + 0.14 for place in places]
        expected = [row["passes_ratio"] for row in own]
        ax.vlines(expected, low, high, colors=GREY, linewidth=2, label=None if number else "passes saved")
        ax.errorbar(ratios, places, xerr=spread, fmt=MARKERS[number], color=colour, markersize=5, label=network)
    ax.set_yticks(range(len(edits)), edits)
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set_xlabel("times as fast as diffusers")
    ax.set_title("Whole generation", loc="left")
    ax.legend(frameon=False, loc="lower left")


def _maths(ax: Axes, rows: Sequence[Row]) -> None:
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    for number, size in enumerate(sizes):
        own = [row for row in rows if row["size"] == size and row["dtype"] == "fp32"]
        counts = [row["concepts"] for row in own]
        colour = (BLUE, ORANGE, INK)[number]
        ax.plot(counts, [row["ratio"] for row in own], color=colour, marker=MARKERS[number], markersize=5, label=size)
    ax.axhline(rows[0]["target"], color=GREY, linestyle="--", label="target")
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("concepts")
    ax.set_ylabel("times as fast as diffusers")
    ax.set_title("The guidance alone, fp32", loc="left")
    ax.legend(frameon=False)


def _memory(ax: Axes, rows: Sequence[Row]) -> None:
    most = max(row["momentum"] for row in rows)
    for number, mode in enumerate(dict.fromkeys(row["mode"] for row in rows)):
        own = [row for row in rows if row["mode"] == mode and row["momentum"] == most]
        counts = [row["concepts"] for row in own]
        colour = (BLUE, ORANGE)[number]
        ax.plot(counts, [row["core"] for row in own], color=colour, marker=MARKERS[number], markersize=5, label=mode)
    ax.plot(counts, [row["target"] for row in own], color=GREY, linestyle="--", label="target")
    ax.set_xticks(counts)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("concepts")
    ax.set_ylabel("latents at the peak")
    ax.set_title("Memory of the core", loc="left")
    ax.legend(frameon=False)


PANELS = {"generation": _generation, "maths": _maths, "memory": _memory}
