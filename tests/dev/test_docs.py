"""What README and docs/ name is there: links, files, headings, and the tests of the comparison's rows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dev.host.packages import REPO

PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").rglob("*.md"))]
TABLE = (REPO / "docs" / "comparison.md").read_text(encoding="utf-8").split("<!-- features -->")[1].split("<!--")[0]
ROWS = re.findall(r"^\| ([^|*]+?) \|.*\| \[(\w+)\]\(\.\./(tests/\w+/\w+\.py)\) \|$", TABLE, re.MULTILINE)


def headings(page: Path) -> set[str]:
    """Return what the code host calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:\w+/)+[\w.\-]+\.\w+)`", page.read_text(encoding="utf-8"))
    ours = [name for name in named if (REPO / name.split("/")[0]).is_dir()]
    assert [name for name in ours if not (REPO / name).exists()] == []


@pytest.mark.parametrize(("feature", "test", "file"), ROWS, ids=[row[0] for row in ROWS])
def test_the_test_that_a_row_of_the_comparison_names_exists(feature: str, test: str, file: str) -> None:
    tree = ast.parse((REPO / file).read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.FunctionDef) and node.name == f"test_{test}" for node in tree.body)


def test_every_row_of_the_comparison_names_a_test() -> None:
    features = [line for line in TABLE.splitlines() if line.startswith("| ") and "**" not in line.split("|")[1]]
    assert len(ROWS) == len(features) - 1 > 30
