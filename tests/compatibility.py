"""The table of docs/compatibility.md, from what the tests gave: `write` or `check` it.

Each argument after the command is a folder with the JSON files that pytest wrote for one ComfyUI with
`--compatibility FILE`: what became of the tests that carry `@pytest.mark.compat(group, row)`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"
BEGIN, END = "<!-- compatibility: made by `nox -s compatibility` -->", "<!-- end of compatibility -->"
GROUPS = [
    "Features",
    "Editor",
    "Samplers",
    "Schedulers",
    "Sampling nodes",
    "Guiders",
    "Models",
    "Conditioning",
    "Guidance and model nodes",
    "Other packs' patches",
    "Memory and devices",
    "Server",
    "Unusual inputs",
    "Refused with a clear error",
]
WORKS, WORKS_IN_PART, LACKS, FAILS = "✓", "(✓)", "-", "✗"

Rows = dict[tuple[str, str], str]


def read(folder: Path) -> tuple[str, Rows]:
    """Return the host's version and what each row gave there."""
    versions, rows = set(), {}
    for file in sorted(folder.glob("*.json")):
        report = json.loads(file.read_text())
        versions.add(report["comfyui"])
        for row in report["rows"]:
            if row["group"] not in GROUPS:
                raise SystemExit(f"{file}: the group must be one of {', '.join(GROUPS)}, got {row['group']!r}")
            works = (WORKS_IN_PART if row.get("skipped") else WORKS) if row.get("passed") else LACKS
            rows[row["group"], row["row"]] = FAILS if row.get("failed") else works
    if len(versions) != 1:
        raise SystemExit(f"{folder} must hold the results of one ComfyUI, got {versions or 'none'}")
    return versions.pop(), rows


def table(columns: dict[str, Rows]) -> str:
    """Return the table as Markdown: a line per row, a column per version."""
    keys = dict.fromkeys(key for rows in columns.values() for key in rows)
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + ":-:|" * len(columns)]
    for group in GROUPS:
        named = [key for key in keys if key[0] == group]
        if named:
            lines.append(f"| **{group}** |" + " |" * len(columns))
        for key in named:
            cells = [rows.get(key, "") for rows in columns.values()]
            lines.append(f"| {key[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def published(text: str) -> dict[str, Rows]:
    """Return the columns of a table that `table` made."""
    lines = [line.strip("| \n").split("|") for line in text.splitlines() if line.startswith("|")]
    versions = [cell.strip() for cell in lines[0]]
    columns: dict[str, Rows] = {version: {} for version in versions}
    group = ""
    for first, *cells in lines[2:]:
        if first.strip().startswith("**"):
            group = first.strip(" *")
            continue
        for version, cell in zip(versions, cells, strict=True):
            columns[version][group, first.strip()] = cell.strip()
    return columns


def main(command: str, *folders: str) -> None:
    columns = dict(read(Path(folder)) for folder in folders)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    if command == "write":
        PAGE.write_text(f"{before}{BEGIN}\n{table(columns)}\n{END}{after}", encoding="utf-8")
        return
    then = published(old)
    # Without the slow tests, rows may be missing, and of one that works in part the part may be all that ran.
    wrong = [
        f"{version}: {key[0]}: {key[1]}: {PAGE.name} says {said or 'nothing'!r}, the tests say {result!r}"
        for version, rows in columns.items()
        for key, result in rows.items()
        if (said := then.get(version, {}).get(key, "")) not in (result, WORKS_IN_PART)
    ]
    if wrong:
        raise SystemExit("\n".join([*wrong, "`nox -s compatibility` makes the table anew"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
