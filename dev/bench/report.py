"""The figures as Markdown, each beside its target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

Row = Mapping[str, Any]


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the tables of what was measured."""
    parts = [_machine(figures["machine"])]
    for name, table in TABLES.items():
        if figures.get(name):
            parts.append(table(figures[name]))
    return "\n\n".join(parts) + "\n"


def write_into(file: Path, tables: str) -> None:
    """Put the tables between a page's two marks.

    Raises:
        ValueError: the page does not have both, in this order.
    """
    page = file.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} must have the lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n{tables}{END}{after}", encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns of numbers are on the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    marks = ["---:" if all(row[i][:1].isdigit() for row in rows) else "---" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, marks, *rows))


def verdict(rows: Iterable[Row]) -> str:
    """Say how many of the targets are met."""
    met = [row["met"] for row in rows]
    return "all met" if all(met) else f"{sum(met)} of {len(met)} met"


def _machine(machine: Mapping[str, Any]) -> str:
    return "Measured on " + ", ".join(str(value) for value in machine.values() if value) + "."


def _times(row: Row) -> str:
    return f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _met(row: Row) -> str:
    return "met" if row["met"] else "**missed**"


def _generation(rows: Sequence[Row]) -> str:
    cells = [
        (
            f"{row['network']}, {row['latents']}x{row['latents']}",
            row["edit"],
            row["steps"],
            f"{row['reference_passes']} / {row['our_passes']}",
            f"{row['reference_seconds']:.2f} / {row['our_seconds']:.2f}",
            _times(row),
            "≥ 1" if row["passes_ratio"] == 1 else f"≥ {0.95 * row['passes_ratio']:.2f}",
            _met(row),
            f"{row['difference']:.0e}",
        )
        for row in rows
    ]
    header = (
        "network, latents", "edit", "steps", "passes, diffusers / here", "seconds, diffusers / here",
        "times as fast (range)", "target", "", "latents differ by",
    )  # fmt: skip
    return f"### Whole generation, against diffusers: {verdict(rows)}\n\n{table(header, cells)}"


def _generation_memory(rows: Sequence[Row]) -> str:
    cells = [
        (
            f"{row['network']}, {row['latents']}x{row['latents']}",
            row["edit"],
            f"{row['reference_bytes'] / 1e6:.1f}",
            f"{row['our_bytes'] / 1e6:.1f}",
        )
        for row in rows
    ]
    header = ("network, latents", "edit", "diffusers, MB", "here, MB")
    return f"### Peak memory of a whole generation, beyond the weights\n\n{table(header, cells)}"


def _overhead(rows: Sequence[Row]) -> str:
    cells = [
        (
            f"{row['network']}, {row['latents']}x{row['latents']}",
            row["concepts"],
            f"{1000 * row['passes_seconds']:.1f}",
            f"{1000 * row['step_seconds']:.1f}",
            f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
            "≤ 1.02",
            _met(row),
        )
        for row in rows
    ]
    header = ("network, latents", "concepts", "the passes, ms", "a step, ms", "ratio (range)", "target", "")
    return f"### A step, against the host's own sampling of as many passes: {verdict(rows)}\n\n{table(header, cells)}"


def _maths(rows: Sequence[Row]) -> str:
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    cells = []
    for (size, concepts), group in groupby(rows, lambda row: (row["size"], row["concepts"])):
        cells.append((size, concepts, *(_milliseconds(row) for row in group)))
    header = ("latents", "concepts", *(f"{dtype}: times as fast (ms, diffusers / here)" for dtype in dtypes))
    target = f"target ≥ {rows[0]['target']:g}"
    return f"### The guidance alone, against diffusers, {target}: {verdict(rows)}\n\n{table(header, cells)}"


def _milliseconds(row: Row) -> str:
    ratio = f"{row['ratio']:.1f}" if row["met"] else f"**{row['ratio']:.1f}**"
    return f"{ratio} ({1000 * row['reference_seconds']:.2f} / {1000 * row['our_seconds']:.2f})"


def _exactness(rows: Sequence[Row]) -> str:
    cells = [
        (row["size"], row["dtype"], row["elements"], row["differ"] - row["rounded"], row["rounded"], _met(row))
        for row in rows
    ]
    header = ("latents", "", "elements", "judged differently", "... by torch.quantile's rounding", "")
    return (
        f"### The same elements pass the threshold as with a full quantile: {verdict(rows)}\n\n{table(header, cells)}"
    )


def _gpu(rows: Sequence[Row]) -> str:
    cells = [(row["what"], row["figure"], row["target"], _met(row)) for row in rows]
    return f"### On the GPU: {verdict(rows)}\n\n{table(('what', 'figure', 'target', ''), cells)}"


def _memory(rows: Sequence[Row]) -> str:
    cells = [
        (
            row["mode"],
            row["momentum"],
            row["concepts"],
            f"{row['core']:.1f}",
            f"{row['host']:.1f}",
            f"≤ {row['target']}",
            row["kept"],
            _met(row),
        )
        for row in rows
    ]
    header = (
        "mode", "momentum", "concepts", "core, latents at the peak", "the host's peak rises by, latents", "target",
        "kept after the run, bytes", "",
    )  # fmt: skip
    return f"### Memory beyond the host's own passes: {verdict(rows)}\n\n{table(header, cells)}"


TABLES = {
    "generation": _generation,
    "generation_memory": _generation_memory,
    "overhead": _overhead,
    "maths": _maths,
    "exactness": _exactness,
    "gpu": _gpu,
    "memory": _memory,
}
