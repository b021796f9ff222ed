"""Measure the edits of the demo model against what people do instead: figures with intervals, plots and a report.

Run it with `nox -s evaluate`. What was drawn is kept in `evaluation-output/`, so an interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..host.packages import REPO
from ..report import fill
from . import pictures, report
from .first_edit import first_edit
from .generated import ways
from .photos import photos
from .studio import PROMPTS, Studio

PARTS = {"ways": ways, "photos": photos, "first_edit": first_edit}
OUTPUT = REPO / "evaluation-output"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="nox -s evaluate --", description=__doc__)
    parser.add_argument(
        "--faces", type=int, default=104, help=f"faces per condition, a multiple of {len(PROMPTS)} (%(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the parts to measure; default: all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for figures, plots and pictures")
    parser.add_argument("--report", type=Path, help="a page whose marked tables are filled in, such as docs/quality.md")
    parser.add_argument("--report-only", action="store_true", help="write the report again, of the figures in --output")
    options = parser.parse_args(arguments)
    if options.faces < len(PROMPTS) or options.faces % len(PROMPTS):
        parser.error(f"--faces: must be a multiple of {len(PROMPTS)}, got {options.faces}")
    start = time.monotonic()
    folder: Path = options.output
    if not options.report_only:
        _measure(options.only, options.faces, folder)
    files = {name: folder / f"{name}.json" for name in PARTS if (folder / f"{name}.json").exists()}
    measured = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    _plot(measured, folder)
    tables = report.tables(measured)
    if options.report:
        fill(options.report, tables)
    else:
        text = "\n".join(f"## {name}\n{table}" for name, table in tables.items())
        (folder / "tables.md").write_text(text, encoding="utf-8")
    sys.stdout.write(f"{options.report or folder} written, {time.monotonic() - start:.0f} s in all\n")


def _measure(parts: Sequence[str], faces: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    studio = Studio(OUTPUT / "drawn", faces)
    for name in parts:
        studio.bar.set_description(name)
        figures = json.dumps({"faces": faces, **PARTS[name](studio)})
        # Five digits are enough.
        rounded = json.loads(figures, parse_float=lambda digits: float(f"{float(digits):.5g}"))
        (folder / f"{name}.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    if "ways" in parts:
        pictures.draw_ways(studio, folder / "faces.webp")
    studio.bar.close()


def _plot(measured: Mapping[str, Any], folder: Path) -> None:
    compared = [row for name in ("ways", "photos") for row in measured.get(name, {}).get("comparisons", [])]
    if compared:
        pictures.plot_comparisons(compared, folder / "ways.webp")
    if "first_edit" in measured:
        pictures.plot_strengths(measured["first_edit"]["strengths"], folder / "strength.webp")


if __name__ == "__main__":
    main()
