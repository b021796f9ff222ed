"""README's comparison: nothing that another implementation offers is missing here, and every row has its test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- features -->", "<!-- end of features -->"
TABLE = (REPO / "README.md").read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
LINES = [line.strip("| \n").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]
# A line of one cell is a heading.
ROWS = [line for line in LINES[1:] if len(line) > 1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_another_implementation_offers_is_offered_here(row: list[str]) -> None:
    feature, ours, *theirs, test = row
    assert len(theirs) == 4
    assert ours.strip() not in ("", "\N{EN DASH}", "part"), feature
    assert all(cell.strip() for cell in [*theirs, test])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_test_that_a_row_names_exists(row: list[str]) -> None:
    named = re.fullmatch(r"\[(\w+)\]\((tests/\w+/\w+\.py)\)", row[-1].strip())
    assert named, row[-1]
    tree = ast.parse((REPO / named[2]).read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.FunctionDef) and node.name == f"test_{named[1]}" for node in tree.body)


def test_the_table_is_there() -> None:
    assert len(ROWS) > 30
