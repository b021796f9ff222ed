"""The blueprints: found in the node search and the node library, dropped in, connected and run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.faces import CAPTION, as_png, drawn_face, judged
from support.renderers import NODES2_FIRST

pytestmark = pytest.mark.compat("Editor", "the blueprints: found, dropped in, run")

# What suits the demo model.
SAMPLING = {"prompt": CAPTION, "width": 128, "height": 128, "steps": 10, "cfg": 3.5}
ONE, SEVERAL, PICTURE = "Edit with a Concept (SEGA)", "Several Concepts (SEGA)", "Edit Picture (SEGA)"
# By blueprint: what a user types, what turns the edit off, and what the demo model's judge then sees.
USED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    ONE: ({**SAMPLING, "text": "hat"}, {"strength": 0}, {"hat": "yes"}),
    SEVERAL: (
        {**SAMPLING, "text_1": "glasses", "text_2": "hat", "text_3": "beard"},
        {"strength_1": 0, "strength_2": 0, "strength_3": 0},
        {"glasses": "yes", "hat": "yes", "beard": "yes"},
    ),
    PICTURE: ({"description": CAPTION, "text": "hat"}, {"strength": 0}, {"hat": "yes"}),
}


def drop(editor: Any, blueprint: str) -> None:
    """Put a blueprint into an empty workflow by the node search."""
    page = editor.page
    editor.evaluate("() => app.graph.clear()")
    editor.open_search().fill(blueprint)
    page.get_by_role("option").filter(has_text=blueprint).first.click()
    page.wait_for_function("() => app.graph._nodes.some(({ subgraph }) => subgraph)")
    # The new node hangs on the mouse.
    page.mouse.click(900, 600)


CONNECT = """() => {
  const edit = app.graph._nodes.find(({ subgraph }) => subgraph)
  const size = edit.subgraph._nodes.find(({ comfyClass }) => comfyClass === "ImageScaleToTotalPixels")
  if (size) size.widgets.find(({ name }) => name === "megapixels").value = (128 / 1024) ** 2
  const add = (type) => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    return node
  }
  const [model, save] = [add("SEGADemoModel"), add("SaveImage")]
  const input = (name) => edit.inputs.findIndex((each) => each.name === name)
  if (size) add("LoadImage").connect(0, edit, input("image"))
  for (const [slot, name] of ["model", "clip", "vae"].entries()) model.connect(slot, edit, input(name))
  edit.connect(0, save, 0)
  edit.pos = [400, 100]
  save.pos = [900, 100]
  return [edit.id, save.id]
}"""


@NODES2_FIRST
@pytest.mark.parametrize("blueprint", USED)
def test_a_blueprint_is_found_and_makes_its_edit(
    opened: Callable[..., Any], server: Any, blueprint: str, renderer: str
) -> None:
    server.client().upload("example.png", as_png(drawn_face()))
    editor = opened(renderer)
    values, off, edited = USED[blueprint]
    drop(editor, blueprint)
    edit, save = editor.evaluate(CONNECT)
    editor.set_values(edit, **values)
    seen = {}
    for step, more in (("edited", {}), ("plain", off)):
        editor.set_values(edit, **more)
        assert editor.run() == "success"
        editor.show()
        editor.screenshot(f"blueprint-{blueprint}-{step}-{renderer}")
        seen[step] = judged(editor.pictures(save))
    for attribute, value in edited.items():
        assert (seen["edited"][attribute], seen["plain"][attribute] == [value]) == ([value], False), attribute
    others = seen["plain"].keys() - edited.keys()
    assert {name: seen["edited"][name] for name in others} == {name: seen["plain"][name] for name in others}


def test_the_node_library_lists_the_blueprints(opened: Callable[..., Any]) -> None:
    editor = opened()
    page = editor.page
    page.keyboard.press("n")
    page.locator("input[placeholder*=Search]:visible").last.fill("(SEGA)")
    for blueprint in USED:
        page.get_by_text(blueprint, exact=True).first.wait_for()
    editor.screenshot("blueprint-library")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
