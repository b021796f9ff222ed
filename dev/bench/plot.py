"""The figures as one picture: a small panel for each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from ..report import BLUE, GREY, INK, ORANGE, STYLE

COLOURS, MARKERS = (BLUE, ORANGE, INK), "os^"

Row = Mapping[str, Any]


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Write the picture of the parts that were measured."""
    panels = [(name, panel) for name, panel in PANELS.items() if figures.get(name)]
    if not panels:
        return
    with plt.rc_context({**STYLE, "font.size": 9, "text.color": INK}):
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
        low, high = [place - 0.14 for place in places], [place + 0.14 for place in places]
        expected = [row["passes_ratio"] for row in own]
        ax.vlines(expected, low, high, colors=GREY, linewidth=2, label=None if number else "passes saved")
        looks = {"fmt": MARKERS[number], "color": COLOURS[number], "markersize": 5}
        ax.errorbar(ratios, places, xerr=spread, label=network, **looks)
    ax.set_yticks(range(len(edits)), edits)
    ax.invert_yaxis()
    ax.set(xlabel="times as fast as diffusers", title="Whole generation")
    ax.set_xlim(left=0)
    ax.legend(loc="lower left")


def _over_concepts(ax: Axes, rows: Sequence[Row], line: str, figure: str) -> None:
    """Draw a figure over the number of concepts, a line for each value of `line`."""
    for number, value in enumerate(dict.fromkeys(row[line] for row in rows)):
        own = [row for row in rows if row[line] == value]
        counts = [row["concepts"] for row in own]
        looks = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 5}
        ax.plot(counts, [row[figure] for row in own], label=value, **looks)
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.set_ylim(bottom=0)
    ax.legend()


def _maths(ax: Axes, rows: Sequence[Row]) -> None:
    ax.set_xscale("log", base=2)
    _over_concepts(ax, [row for row in rows if row["dtype"] == "fp32"], "size", "ratio")
    ax.set(xlabel="concepts", ylabel="times as fast as diffusers", title="The guidance alone, fp32")


def _memory(ax: Axes, rows: Sequence[Row]) -> None:
    most = max(row["momentum"] for row in rows)
    _over_concepts(ax, [row for row in rows if row["momentum"] == most], "mode", "core")
    ax.set(xlabel="concepts", ylabel="latents at the peak", title="Memory of the core")


PANELS = {"generation": _generation, "maths": _maths, "memory": _memory}
