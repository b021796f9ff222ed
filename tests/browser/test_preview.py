"""SEGA Preview in the editor: a tab for each concept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.renderers import NODES2_FIRST

pytestmark = pytest.mark.compat("Editor", "SEGA Preview's heat maps, browsed by concept")


def shown_picture(view: Any) -> str:
    """Return the address of the picture, which has arrived."""
    picture = view.locator("img")
    picture.evaluate("async (image) => { await image.decode() }")
    return picture.get_attribute("src")


@NODES2_FIRST
def test_heat_maps_are_browsed_by_concept(shown: Callable[..., Any], renderer: str) -> None:
    editor = shown(renderer, "preview", batch=2)
    node = editor.node("SEGAPreview")
    concepts = [editor.node("SEGAConcept", place) for place in range(3)]
    for concept, text in zip(concepts, ("glasses", "hat", "smiling"), strict=True):
        editor.set_values(concept, text=text, direction="remove" if text == "hat" else "add")
    editor.show(node)
    view = editor.view(node)
    view.get_by_text("Run the workflow").wait_for()
    assert editor.run() == "success"
    tabs = view.get_by_role("tab")
    tabs.nth(3).wait_for()
    assert tabs.all_inner_texts() == ["+ glasses", "− hat", "+ smiling", "Strength"]
    files = [image["filename"] for image in editor.outputs(node)["images"]]
    assert len(files) == 3 * 2 + 1
    assert files[0] in shown_picture(view)
    tabs.nth(1).click()
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert files[2] in shown_picture(view)
    view.get_by_role("button", name="›").click()
    assert files[3] in shown_picture(view)
    editor.screenshot(f"preview-{renderer}")
    tabs.nth(1).press("ArrowRight")
    assert files[5] in shown_picture(view)
    tabs.nth(2).press("ArrowRight")
    assert files[6] in shown_picture(view)
    assert view.get_by_role("button", name="›").is_hidden()
    # The pictures stand there once: not again below, as the editor shows a node's pictures.
    assert editor.page.locator(f'[data-node-id="{node}"] img').count() == (1 if renderer == "nodes2" else 0)
    assert editor.evaluate("(id) => app.graph.getNodeById(id).imgs?.length ?? 0", node) == 0


def test_what_another_extension_draws_on_the_node_stays(opened: Callable[..., Any]) -> None:
    editor = opened("canvas")
    node = editor.evaluate(
        """() => {
          const { prototype } = LiteGraph.registered_node_types.SEGAPreview
          const before = prototype.onDrawBackground
          prototype.onDrawBackground = function (...args) {
            before?.apply(this, args)
            prototype.onDrawBackground = before
            window.drawn = true
          }
          const node = LiteGraph.createNode("SEGAPreview")
          app.graph.add(node)
          return node.id
        }"""
    )
    editor.show(node)
    editor.page.wait_for_function("() => window.drawn")
