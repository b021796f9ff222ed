"""The figures as plots, readable without colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .report import LOSS, SUCCESS_COST, TARGET

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#8a8a8a", "#222222"
COLOURS = {"diffusers' SEGA": ORANGE, "changed prompt": INK}
MARKERS = "osD^vPX*"
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "evaluation",
}


TITLES = {
    "attention_threshold": "attention threshold",
    "start_percent": "start",
    "end_percent": "end",
    "momentum_scale": "momentum scale",
}


def plot(parts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the plots of all parts that were measured; return their files."""
    makers = {
        "alternatives": ("alternatives", _alternatives),
        "first_edit": ("strength", _strength),
        "settings": ("settings", _settings),
        "acceleration": ("acceleration", _acceleration),
    }
    written = []
    with mpl.rc_context(STYLE):
        for part, (name, make) in makers.items():
            if part in parts:
                figure = make(parts[part])
                written.append(folder / f"{name}.webp")
                figure.savefig(written[-1], dpi=110, bbox_inches="tight", pil_kwargs={"quality": 85})
                plt.close(figure)
    return written


def _panels(columns: int, height: float = 4.6) -> tuple[Figure, Sequence[Axes]]:
    figure, axes = plt.subplots(1, columns, figsize=(5.6 * columns, height), layout="constrained")
    return figure, list(axes)


def _mean_points(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return (success, isolation), in the mean over the edits, of each strength that all edits have."""
    edits = {row["edit"] for row in rows}
    found = []
    for strength in sorted({row["strength"] for row in rows}):
        at = [row for row in rows if row["strength"] == strength]
        if {row["edit"] for row in at} == edits:
            found.append(tuple(sum(row[name]["value"] for row in at) / len(at) for name in ("success", "isolation")))
    return found


def _alternatives(part: Mapping[str, Any]) -> Figure:
    figure, axes = _panels(2, 5.6)
    axes[1].sharey(axes[0])
    ways = [name for name in dict.fromkeys(row["way"] for row in part["ways"]) if name != "ours"]
    for axis, (sign, title) in zip(axes, (("+", "Adding"), ("-", "Removing")), strict=True):
        rows = [row for row in part["ways"] if row["edit"].startswith(sign)]
        names = [name for name in dict.fromkeys(row["way"] for row in rows) if name != "ours"]
        for name in names:
            marker = MARKERS[ways.index(name)]
            points = _mean_points([row for row in rows if row["way"] == name])
            colour = COLOURS.get(name, GREY)
            axis.plot(*zip(*points, strict=True), marker, color=colour, ls="-", lw=1, ms=7, label=name)
        points = [(0.0, 1.0), *_mean_points([row for row in rows if row["way"] == "ours" and not row.get("default")])]
        axis.plot(
            *zip(*points, strict=True), "o-", color=BLUE, lw=2.2, ms=6, label="this pack, rising strength", zorder=5
        )
        best = [row for row in rows if row.get("default")]
        x, y = (sum(row[name]["value"] for row in best) / len(best) for name in ("success", "isolation"))
        axis.plot(x, y, "o", mfc="none", mec=BLUE, ms=14, mew=2, label="default values", zorder=6)
        axis.axvline(TARGET, color=INK, lw=0.8, ls=":")
        axis.axhline(TARGET, color=INK, lw=0.8, ls=":")
        axis.set(title=f"{title}, mean of the edits", xlabel="success", xlim=(-0.03, 1.04))
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].set_ylabel("isolation: other attributes kept")
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=5, fontsize=9)
    return figure


def _strength(part: Mapping[str, Any]) -> Figure:
    figure, axes = _panels(2)
    for axis, (sign, title) in zip(axes, (("+", "Adding"), ("-", "Removing")), strict=True):
        rows = [row for row in part["strength"] if row["edit"].startswith(sign)]
        looks = zip((BLUE, ORANGE, INK, GREY), ("o-", "s--", "^-.", "D:"), strict=True)
        for row, (colour, line) in zip(rows, looks, strict=True):
            values = [chance["value"] for chance in row["chance"]]
            low, high = ([chance[side] for chance in row["chance"]] for side in ("low", "high"))
            axis.plot(row["strengths"], values, line, color=colour, label=row["edit"][2:], ms=6)
            axis.fill_between(row["strengths"], low, high, color=colour, alpha=0.08, lw=0)
        axis.set(title=title, xlabel="strength", ylim=(-0.03, 1.04), xticks=rows[0]["strengths"])
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.legend(loc="best")
    axes[0].set_ylabel("probability of the attribute")
    return figure


def _settings(part: Mapping[str, Any]) -> Figure:
    groups = list(dict.fromkeys(row["setting"] for row in part["settings"]))
    figure, axes = plt.subplots(2, 3, figsize=(12.5, 6.6), layout="constrained", sharey=True)
    for axis, name in zip(axes.flat, groups, strict=True):
        rows = [row for row in part["settings"] if row["setting"] == name]
        places = range(len(rows))
        for figure_name, colour, line, shift in (("success", ORANGE, "s--", -0.06), ("isolation", BLUE, "o-", 0.06)):
            values = [row[figure_name]["value"] for row in rows]
            errors = [
                [value - row[figure_name]["low"] for value, row in zip(values, rows, strict=True)],
                [row[figure_name]["high"] - value for value, row in zip(values, rows, strict=True)],
            ]
            at = [place + shift for place in places]
            axis.errorbar(at, values, errors, fmt=line, color=colour, capsize=3, lw=1.5, ms=6, label=figure_name)
        axis.axhline(TARGET, color=INK, lw=0.8, ls=":")
        labels = [f"{row['value']:g}" for row in rows]
        axis.set(title=TITLES.get(name, name), xticks=list(places), xticklabels=labels)
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.flat[0].legend(loc="lower left")
    return figure


def _acceleration(part: Mapping[str, Any]) -> Figure:
    figure, axes = _panels(2)
    exact = part["ways"][0]
    families = (
        ("reuse", "re-use for so many steps", BLUE, "o-"),
        ("end", "end at this share of the steps", ORANGE, "s--"),
    )
    for axis, lost in zip(axes, ("success lost", "isolation lost"), strict=True):
        combined = [row for row in part["ways"] if "," in row["way"]]
        _losses(axis, combined, lost, "D", INK, "combined")
        for family, label, colour, line in families:
            rows = [row for row in part["ways"] if row["way"].startswith(family) and "," not in row["way"]]
            _losses(axis, [exact, *rows], lost, line, colour, label)
            for row in rows:
                at = (row["cost"], 100 * row[lost]["value"])
                axis.annotate(row["way"].split()[-1], at, (5, 5), textcoords="offset points", color=colour, fontsize=10)
        axis.axvspan(1, SUCCESS_COST, color="#e9f2f8", zorder=0)
        axis.axhline(100 * LOSS, color=INK, lw=0.8, ls=":")
        title = f"{lost.capitalize()} against every pass, points"
        axis.set(title=title, xlabel="cost, times plain CFG", xlim=(1, 3.1))
    axes[1].legend(loc="upper right")
    return figure


def _losses(axis: Axes, rows: Sequence[Mapping[str, Any]], lost: str, line: str, colour: str, label: str) -> None:
    """Draw what ways lose, in points, over what they cost."""
    rows = sorted(rows, key=lambda row: row["cost"])
    low, value, high = ([100 * row[lost][side] for row in rows] for side in ("low", "value", "high"))
    errors = np.abs([np.subtract(value, low), np.subtract(high, value)])
    costs = [row["cost"] for row in rows]
    axis.errorbar(costs, value, errors, fmt=line, color=colour, capsize=2, lw=1.4, elinewidth=0.8, ms=6, label=label)
