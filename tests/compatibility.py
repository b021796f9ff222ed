"""README's compatibility table, from what the tests gave: `write` or `check` it.

Each argument after the command is a folder with the JSON files that pytest wrote for one ComfyUI with
`--compatibility FILE`: what became of the tests that carry `@pytest.mark.compat(group, row)`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
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


def in_readme(text: str) -> dict[str, Rows]:
    """Return the columns of the table in README."""
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
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    if command == "write":
        README.write_text(f"{before}{BEGIN}\n{table(columns)}\n{END}{after}", encoding="utf-8")
        return
    published = in_readme(old)
    # A row that only some of the ComfyUIs were asked for is compared there.
    asked = set().union(*columns.values())
    wrong = [
        f"{version}: {key[0]}: {key[1]}: README says {published.get(version, {}).get(key, 'nothing')!r}, the tests say "
        f"{rows.get(key, 'nothing')!r}"
        for version, rows in columns.items()
        for key in sorted(published.get(version, {}).keys() | rows.keys())
        if published.get(version, {}).get(key) != rows.get(key) and (key in rows or key not in asked)
    ]
    if wrong:
        raise SystemExit("\n".join([*wrong, "`nox -s compatibility` makes the table anew"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
