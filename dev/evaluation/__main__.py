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
from typing import Any

from ..demo.run import LOOKS
from ..host.packages import REPO
from . import plots, report, sheets
from .acceleration import acceleration
from .alternatives import alternatives
from .first_edit import first_edit
from .photos import photos
from .properties import properties
from .search import search
from .settings import settings
from .studio import Studio

PARTS = {
    "first_edit": first_edit,
    "photos": photos,
    "properties": properties,
    "alternatives": alternatives,
    "settings": settings,
    "acceleration": acceleration,
}
# For when the default values are chosen anew: not part of a run without --only.
OTHER_PARTS = {"search": search}
OUTPUT = REPO / "evaluation-output"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nox -s evaluate --", description=__doc__)
    parts = [*PARTS, *OTHER_PARTS]
    parser.add_argument("--faces", type=int, default=64, help="faces per condition, a multiple of 4; default 64")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of the parts {', '.join(parts)}, with commas")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for figures, plots and pictures")
    parser.add_argument("--report", type=Path, help="a page whose marked tables are filled in")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only: must be some of {', '.join(parts)}, got {', '.join(unknown)}")
    if options.faces < len(LOOKS) or options.faces % len(LOOKS):
        parser.error(f"--faces: must be a multiple of {len(LOOKS)}, got {options.faces}")
    start = time.monotonic()
    options.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(OUTPUT / "drawn", options.faces)
    measured: dict[str, Any] = {}
    for name in chosen:
        studio.bar.set_description(name)
        measured[name] = {"faces": options.faces, **(PARTS | OTHER_PARTS)[name](studio)}
        _write(options.output / f"{name}.json", measured[name])
    written = plots.plot(measured, options.output) + sheets.sheets(studio, chosen, options.output)
    tables = report.tables(measured)
    if options.report:
        report.fill(options.report, tables)
        written.append(options.report)
    else:
        written.append(options.output / "tables.md")
        written[-1].write_text("\n".join(f"## {name}\n\n{table}" for name, table in tables.items()), encoding="utf-8")
    studio.bar.close()
    sys.stdout.write("\n".join([*map(str, written), f"{time.monotonic() - start:.0f} s in all", ""]))
    return 0


def _write(file: Path, figures: dict[str, Any]) -> None:
    file.write_text(json.dumps(_rounded(figures), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
