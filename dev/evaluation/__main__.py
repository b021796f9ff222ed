"""Measure the edits of the demo model: figures with intervals, plots, pictures and a report.

Run it with `nox -s evaluate`. What was drawn is kept in `evaluation-output/`, so an interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..demo.workflows import LOOKS
from ..host.packages import REPO
from ..report import fill
from . import pictures, report
from .first_edit import first_edit
from .photos import photos
from .studio import Studio

PARTS = {"first_edit": first_edit, "photos": photos}
OUTPUT = REPO / "evaluation-output"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="nox -s evaluate --", description=__doc__)
    parser.add_argument("--faces", type=int, default=64, help="faces per condition, a multiple of 4 (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the parts to measure; default: all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for figures, plots and pictures")
    parser.add_argument("--report", type=Path, help="a page whose marked tables are filled in, such as docs/quality.md")
    parser.add_argument("--report-only", action="store_true", help="write the report again, of the figures in --output")
    options = parser.parse_args(arguments)
    if options.faces < len(LOOKS) or options.faces % len(LOOKS):
        parser.error(f"--faces: must be a multiple of {len(LOOKS)}, got {options.faces}")
    start = time.monotonic()
    folder: Path = options.output
    if not options.report_only:
        _measure(options.only, options.faces, folder)
    files = {name: folder / f"{name}.json" for name in PARTS if (folder / f"{name}.json").exists()}
    measured = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items()}
    if "first_edit" in measured:
        pictures.plot_strength(measured["first_edit"], folder / "strength.webp")
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
    if "first_edit" in parts:
        pictures.draw_strengths(studio, folder / "strengths.webp")
    studio.bar.close()


if __name__ == "__main__":
    main()
