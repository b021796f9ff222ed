"""What people type to find a node, in the editor's two searches.

The editor puts nodes with the word in their name first, then those on its list of frequent nodes, then the rest by
search aliases: only there can a pack be first. The node library keeps that order within each folder.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.compat("Editor", "the nodes are found by the words that people type")

RIGHT = {
    "slider": "SEGA Concept",
    "remove": "SEGA Concept",
    "replace": "SEGA Concept",
    "edit": "Edit with a Concept (SEGA)",
    "inversion": "SEGA Invert",
    "LEDITS": "SEGA Invert",
    "negative": "SEGA Concept",
    "smile": "SEGA Concept",
}


def found(field: Locator, results: Locator, word: str) -> list[str]:
    """Type a word; return the titles of the results, once the right one is there."""
    right = results.filter(has_text=RIGHT[word]).first
    field.fill("")
    expect(right).not_to_be_attached()
    field.fill(word)
    expect(right).to_be_attached()
    return [text.split("\n")[0].strip() for text in results.all_inner_texts()]


@pytest.fixture
def frequent(server: Any) -> set[str]:
    """The titles of the nodes on the editor's list of frequent ones."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(server.url + path) as answer:
            return json.load(answer)

    nodes = get("/object_info")
    return {nodes[name]["display_name"] or name for name in get("/assets/sorted-custom-node-map.json") if name in nodes}


def test_the_search_box_finds_the_right_node_first(opened: Callable[..., Any], frequent: set[str]) -> None:
    editor = opened()
    page = editor.page
    editor.evaluate("() => app.graph.clear()")
    field = editor.open_search()
    results = page.locator("[data-testid=result-item], .p-autocomplete-option")
    for word, right in RIGHT.items():
        titles = found(field, results, word)
        before = titles[: titles.index(right)]
        assert [title for title in before if word not in title.lower() and title not in frequent] == [], word
    page.keyboard.press("Escape")


def test_the_node_library_finds_the_right_node(opened: Callable[..., Any]) -> None:
    page = opened(own=True).page
    page.locator("#graph-canvas").focus()
    page.keyboard.press("n")
    field = page.get_by_placeholder("Search").first
    results = page.locator("[role=treeitem]:not([aria-expanded]), .p-tree-node-leaf")
    for word, right in RIGHT.items():
        nodes = [title for title in found(field, results, word) if title.startswith("SEGA ")]
        assert nodes[0] == right or not right.startswith("SEGA "), word
