"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..report import table

Row = Mapping[str, Any]


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the tables of what was measured."""
    parts = ["Measured on " + ", ".join(str(value) for value in figures["machine"].values() if value) + ".\n"]
    for name, (title, make) in TABLES.items():
        if figures.get(name):
            parts.append(f"### {title}\n\n{make(figures[name])}")
    return "\n".join(parts)


def _network(row: Row) -> str:
    return f"{row['network']}, {row['latents']}x{row['latents']}"


def _generation(rows: Sequence[Row]) -> str:
    cells = [
        (
            _network(row),
            row["edit"],
            row["steps"],
            f"{row['reference_passes']} / {row['our_passes']}",
            f"{row['reference_seconds']:.2f} / {row['our_seconds']:.2f}",
            f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            f"{row['difference']:.0e}",
        )
        for row in rows
    ]
    header = ("network, latents", "edit", "steps", "passes, diffusers / here", "seconds, diffusers / here")
    return table((*header, "times as fast (range)", "latents differ by"), cells)


def _generation_memory(rows: Sequence[Row]) -> str:
    megabytes = ("reference_bytes", "our_bytes")
    cells = [(_network(row), row["edit"], *(f"{row[name] / 1e6:.1f}" for name in megabytes)) for row in rows]
    return table(("network, latents", "edit", "diffusers, MB", "here, MB"), cells)


def _overhead(rows: Sequence[Row]) -> str:
    cells = [
        (
            _network(row),
            row["concepts"],
            f"{1000 * row['passes_seconds']:.1f}",
            f"{1000 * row['step_seconds']:.1f}",
            f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
        )
        for row in rows
    ]
    return table(("network, latents", "concepts", "the passes, ms", "a step, ms", "ratio (range)"), cells)


def _maths(rows: Sequence[Row]) -> str:
    dtypes = dict.fromkeys(row["dtype"] for row in rows)
    cells = [
        (
            *of_all,
            *(
                f"{row['ratio']:.1f} ({1000 * row['reference_seconds']:.2f} / {1000 * row['our_seconds']:.2f})"
                for row in group
            ),
        )
        for of_all, group in groupby(rows, lambda row: (row["size"], row["concepts"]))
    ]
    header = ("latents", "concepts", *(f"{dtype}: times as fast (ms, diffusers / here)" for dtype in dtypes))
    return table(header, cells)


def _exactness(rows: Sequence[Row]) -> str:
    names = ("size", "dtype", "elements")
    cells = [(*map(row.get, names), row["differ"] - row["rounded"], row["rounded"]) for row in rows]
    return table(("latents", "", "elements", "judged differently", "... by torch.quantile's rounding"), cells)


def _gpu(rows: Sequence[Row]) -> str:
    return table(("what", "figure"), [(row["what"], row["figure"]) for row in rows])


def _memory(rows: Sequence[Row]) -> str:
    names = ("mode", "momentum", "concepts")
    cells = [(*map(row.get, names), f"{row['core']:.1f}", f"{row['host']:.1f}", row["kept"]) for row in rows]
    header = (*names, "core, latents at the peak", "the host's peak rises by, latents", "kept after the run, bytes")
    return table(header, cells)


TABLES = {
    "generation": ("Whole generation, against diffusers", _generation),
    "generation_memory": ("Peak memory of a whole generation, beyond the weights", _generation_memory),
    "overhead": ("A step, against the host's own sampling of as many passes", _overhead),
    "maths": ("The guidance alone, against diffusers", _maths),
    "exactness": ("The same elements pass the threshold as with a full quantile", _exactness),
    "gpu": ("On the GPU", _gpu),
    "memory": ("Memory beyond the host's own passes", _memory),
}
