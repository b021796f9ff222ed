"""The tables of docs/compatibility.md, from what the tests gave: `write` or `check` them.

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
# ComfyUI's own templates have a table of their own, for the newest ComfyUI; it says why one does not work.
TEMPLATES_BEGIN, TEMPLATES_END = "<!-- templates: made by `nox -s compatibility` -->", "<!-- end of templates -->"
TEMPLATES = ["Text to Image", "Text to Video"]
WORKS, WORKS_IN_PART, LACKS, FAILS = "✓", "(✓)", "-", "✗"

Rows = dict[tuple[str, str], str]


def read(folder: Path) -> tuple[str, Rows]:
    """Return the host's version and what each row gave there."""
    versions, rows, groups = set(), {}, GROUPS + TEMPLATES
    for file in sorted(folder.glob("*.json")):
        report = json.loads(file.read_text())
        versions.add(report["comfyui"])
        for row in report["rows"]:
            if row["group"] not in groups:
                raise SystemExit(f"{file}: the group must be one of {', '.join(groups)}, got {row['group']!r}")
            lacks = row["reason"] if row["group"] in TEMPLATES else LACKS
            works = (WORKS_IN_PART if row.get("skipped") else WORKS) if row.get("passed") else lacks
            rows[row["group"], row["row"]] = FAILS if row.get("failed") else works
    if len(versions) != 1:
        raise SystemExit(f"{folder} must hold the results of one ComfyUI, got {versions or 'none'}")
    return versions.pop(), rows


def table(groups: list[str], columns: dict[str, Rows]) -> str:
    """Return the groups as a Markdown table: a line per row, a column per version."""
    keys = dict.fromkeys(key for rows in columns.values() for key in rows)
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + ":-:|" * len(columns)]
    for group in groups:
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


def disagreements(then: dict[str, Rows], groups: list[str], columns: dict[str, Rows]) -> list[str]:
    """Return what the tests gave and the page says otherwise.

    Without the slow tests, rows may be missing, and of one that works in part the part may be all that ran.
    """
    return [
        f"{version}: {key[0]}: {key[1]}: {PAGE.name} says {said or 'nothing'!r}, the tests say {result!r}"
        for version, rows in columns.items()
        for key, result in rows.items()
        if key[0] in groups and (said := then.get(version, {}).get(key, "")) not in (result, WORKS_IN_PART)
    ]


def main(command: str, *folders: str) -> None:
    columns = dict(read(Path(folder)) for folder in folders)
    newest = dict(list(columns.items())[:1])
    tables = [(BEGIN, END, GROUPS, columns), (TEMPLATES_BEGIN, TEMPLATES_END, TEMPLATES, newest)]
    text, wrong = PAGE.read_text(encoding="utf-8"), []
    for begin, end, groups, shown in tables:
        before, rest = text.split(begin)
        old, after = rest.split(end)
        wrong += disagreements(published(old), groups, shown) if command == "check" else []
        text = f"{before}{begin}\n{table(groups, shown)}\n{end}{after}"
    if command == "write":
        PAGE.write_text(text, encoding="utf-8")
    elif wrong:
        raise SystemExit("\n".join([*wrong, "`nox -s compatibility` makes the tables anew"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
