"""What becomes of our nodes when workflows are saved, copied, put into subgraphs, or opened without the extension."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from dev.host.packages import REPO
from support.renderers import CANVAS_FIRST, NODES2_FIRST

pytestmark = pytest.mark.compat("Editor", "save and reload, copy and paste, subgraphs, themes; without the extension")

SAVED = "() => JSON.parse(JSON.stringify(app.graph.serialize()))"


@CANVAS_FIRST
def test_a_saved_workflow_opens_as_it_was(shown: Callable[..., Any], renderer: str) -> None:
    editor = shown(renderer, "three_concepts")
    concept = editor.node("SEGAConcept", 1)
    editor.set_values(concept, text="hat", start_percent=0.3, end_percent=0.8, direction="remove", preset="none")
    before, saved = editor.api_workflow(), editor.evaluate(SAVED)
    (values,) = [node["widgets_values"] for node in saved["nodes"] if node["id"] == int(concept)]
    assert (values[0], values[2], values[5:8]) == ("hat", "remove", [0.3, 0.8, "none"])
    editor.reload()
    editor.load(saved)
    assert editor.api_workflow() == before
    editor.show(concept)
    editor.view(concept).get_by_text("steps 3 to 5 of 6 (30% to 80%)").wait_for()
    sampler = editor.node("SEGASampler")
    editor.show(sampler)
    expect(editor.view(sampler).get_by_role("listitem")).to_have_count(3)


@NODES2_FIRST
def test_a_copied_concept_has_a_timeline_of_its_own(shown: Callable[..., Any], renderer: str) -> None:
    editor = shown(renderer, start_percent=0.15)
    first = editor.node("SEGAConcept")
    editor.evaluate(
        """(id) => {
          app.canvas.selectNode(app.graph.getNodeById(id))
          app.canvas.copyToClipboard()
          app.canvas.pasteFromClipboard()
        }""",
        first,
    )
    second = editor.node("SEGAConcept", 1)
    assert second != first
    editor.show(second)
    timeline = editor.view(second)
    timeline.get_by_text("not connected to a sampler").wait_for()
    timeline.locator("[data-end=start]").press("ArrowRight")
    # Without a sampler that tells its steps the ends move in five percent.
    assert [editor.value(concept, "start_percent") for concept in (first, second)] == [0.15, 0.2]


@NODES2_FIRST
def test_concepts_and_samplers_find_each_other_through_subgraphs(
    opened: Callable[..., Any], demo_workflow: Any, renderer: str
) -> None:
    # A page of its own: older editors draw no nodes in Nodes 2.0 once they have shown a subgraph.
    editor = opened(renderer, own=True)
    shown = {"SEGAConcept": "steps 4 to 20 of 20", "SEGASampler": "glasses"}
    for kinds in (["SEGAConcept"], ["SEGASampler"], ["SEGAConcept", "SEGASampler"]):
        editor.load(demo_workflow(start_percent=0.15, steps=20))
        before = {node["class_type"] for node in editor.api_workflow().values()}
        editor.evaluate(
            """(kinds) => {
              const chosen = new Set(app.graph._nodes.filter(({ comfyClass }) => kinds.includes(comfyClass)))
              const { subgraph } = app.graph.convertToSubgraph(chosen)
              app.canvas.setGraph(subgraph)
            }""",
            kinds,
        )
        for kind in kinds:
            editor.view(editor.node(kind)).get_by_text(shown[kind]).wait_for(state="attached")
        editor.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")
        for kind in shown.keys() - set(kinds):
            editor.view(editor.node(kind)).get_by_text(shown[kind]).wait_for(state="attached")
        assert {node["class_type"] for node in editor.api_workflow().values()} == before


@CANVAS_FIRST
def test_without_the_extension_the_nodes_work(opened: Callable[..., Any], demo_workflow: Any, renderer: str) -> None:
    editor = opened(renderer, extension=False)
    editor.load(demo_workflow("preview"))
    saved = editor.evaluate(SAVED)
    assert editor.evaluate("() => document.querySelectorAll('.sega').length") == 0
    assert editor.run() == "success"
    assert len(editor.outputs(editor.node("SEGAPreview"))["images"]) == 4
    concept = next(node for node in saved["nodes"] if node["type"] == "SEGAConcept")
    assert len(concept["widgets_values"]) == 12
    assert all("/extensions/semantic-guidance/" in error for error in editor.errors), "nothing else is wrong"
    editor.errors.clear()


@pytest.mark.parametrize("palette", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_the_views_take_the_themes_colours(opened: Callable[..., Any], demo_workflow: Any, palette: str) -> None:
    editor = opened("canvas", **{"Comfy.ColorPalette": palette})
    editor.load(demo_workflow(start_percent=0.15, steps=20))
    node = editor.node("SEGAConcept")
    editor.show(node)
    view = editor.view(node)
    view.get_by_text("steps 4 to 20").wait_for()
    ink, field = view.evaluate(
        """(view) => [view, view.querySelector(".sega-track")].map((part) => {
          const style = getComputedStyle(part)
          const colour = (part === view ? style.color : style.backgroundColor).match(/[\\d.]+/g).map(Number)
          return colour.slice(0, 3).reduce((sum, value) => sum + value) / 3
        })"""
    )
    editor.screenshot(f"theme-{palette}")
    assert (ink < field) if palette == "light" else (ink > field)
    concept = editor.evaluate("() => app.canvas.constructor.link_type_colors.SEGA_CONCEPT")
    assert concept == "#56b4e9"


@NODES2_FIRST
def test_picking_a_preset_fills_the_fields(shown: Callable[..., Any], renderer: str) -> None:
    presets = json.loads((REPO / "nodes" / "presets.json").read_text(encoding="utf-8"))
    beard = next(preset for preset in presets if preset["name"] == "beard")
    editor = shown(renderer, start_percent=0.15, steps=20)
    node = editor.node("SEGAConcept")
    editor.show(node)
    editor.pick(node, "preset", "beard")
    editor.view(node).get_by_text("steps 5 to 20 of 20 (20% to 100%)").wait_for()
    editor.type_number(node, "strength", 1.5)
    assert editor.value(node, "strength") == 1.5
    editor.pick(node, "preset", "boat")
    editor.pick(node, "preset", "beard")
    inputs = editor.api_workflow()[str(node)]["inputs"]
    assert {name: inputs[name] for name in beard if name in inputs} == {
        name: value for name, value in beard.items() if name not in ("name", "source")
    }
