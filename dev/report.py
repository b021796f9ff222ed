"""What the reports on speed and quality share: Markdown tables, the pages they are put into, and how plots look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#8a8a8a", "#222222"
STYLE: Mapping[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; columns of numbers are on the right."""
    header, body = list(header), [[str(cell) for cell in row] for row in rows]
    marks = ["---:" if all(row[i][:1].isdigit() for row in body) else "---" for i in range(len(header))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, marks, *body))


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` on a page, for each table.

    Raises:
        ValueError: the page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    for name, made in tables.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page.name} has no markers for {name!r}")
        text = pattern.sub(lambda found, made=made: f"{found[1]}\n{made}\n{found[2]}", text)
    page.write_text(text, encoding="utf-8")
