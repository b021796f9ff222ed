"""SEGA Concept's timeline: shows and edits when the concept acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.renderers import CANVAS_FIRST, NODES2_FIRST

pytestmark = pytest.mark.compat("Editor", "SEGA Concept's timeline: start, end, add or remove, warnings")


@pytest.fixture
def concept(shown: Callable[..., Any]) -> Callable[..., tuple[Any, int, Any]]:
    """Open a workflow of 20 steps; return the editor, the concept's id and its timeline."""

    def open_workflow(renderer: str, **inputs: Any) -> tuple[Any, int, Any]:
        editor = shown(renderer, **{"steps": 20, "start_percent": 0.15, **inputs})
        node = editor.node("SEGAConcept")
        editor.show(node)
        return editor, node, editor.view(node)

    return open_workflow


def values(editor: Any, node: int) -> tuple[float, float]:
    return editor.value(node, "start_percent"), editor.value(node, "end_percent")


def drag(editor: Any, timeline: Any, end: str, share: float) -> None:
    """Drag a handle to a share of the track."""
    handle = timeline.locator(f"[data-end={end}]")
    # This waits until it stands still.
    handle.hover()
    track, box = timeline.locator(".sega-track").bounding_box(), handle.bounding_box()
    mouse = editor.page.mouse
    mouse.down()
    mouse.move(track["x"] + share * track["width"], box["y"] + 3, steps=5)
    mouse.up()


@CANVAS_FIRST
def test_the_ends_can_be_dragged(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer)
    timeline.get_by_text("steps 4 to 20 of 20 (15% to 100%)").wait_for()
    drag(editor, timeline, "start", 0.26)
    assert values(editor, node) == (0.25, 1)
    drag(editor, timeline, "end", 0.59)
    assert values(editor, node) == (0.25, 0.6)
    timeline.get_by_text("steps 6 to 12 of 20 (25% to 60%)").wait_for()
    editor.screenshot(f"timeline-{renderer}")
    drag(editor, timeline, "start", 0.9)
    assert values(editor, node) == (0.55, 0.6), "the start stops before the end"
    drag(editor, timeline, "end", 1.2)
    assert values(editor, node) == (0.55, 1), "at the right end a concept never stops"
    inputs = editor.api_workflow()[str(node)]["inputs"]
    assert (inputs["start_percent"], inputs["end_percent"]) == (0.55, 1)


@CANVAS_FIRST
def test_what_was_dragged_can_be_undone(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer)
    drag(editor, timeline, "start", 0.5)
    assert values(editor, node) == (0.5, 1)
    editor.undo()
    editor.page.wait_for_function(
        "(id) => app.graph.getNodeById(id).widgets.find(({ name }) => name === 'start_percent').value === 0.15",
        arg=node,
    )
    editor.show(node)
    editor.view(node).get_by_text("steps 4 to 20 of 20").wait_for()


@NODES2_FIRST
def test_the_ends_obey_the_keyboard(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer)
    start, end = timeline.locator("[data-end=start]"), timeline.locator("[data-end=end]")
    for key, expected in [("ArrowRight", 0.2), ("PageUp", 0.3), ("ArrowLeft", 0.25), ("Home", 0)]:
        start.press(key)
        assert values(editor, node) == (expected, 1)
    end.press("PageDown")
    assert values(editor, node) == (0, 0.9)
    assert start.get_attribute("aria-valuetext") == "starts at step 1 (0%)"
    assert end.get_attribute("aria-valuetext") == "ends after step 18 (90%)"


@pytest.mark.parametrize("steps", [7, 30])
def test_the_ends_stop_at_whole_steps(concept: Any, steps: int) -> None:
    editor, node, timeline = concept("canvas", steps=steps)
    editor.set_values(node, start_percent=0, end_percent=1)
    timeline.get_by_text(f"steps 1 to {steps} of {steps}").wait_for()
    start, end = timeline.locator("[data-end=start]"), timeline.locator("[data-end=end]")
    for step in range(1, steps):
        start.press("ArrowRight")
        timeline.get_by_text(f"steps {step + 1} to {steps} of {steps}").wait_for()
        begin = editor.value(node, "start_percent")
        # The sampler begins with the first step that is not before this: a value after the step's start would lose it.
        assert step / steps - 0.001 < begin <= step / steps
    start.press("Home")
    for step in range(steps - 1, 0, -1):
        end.press("ArrowLeft")
        timeline.get_by_text(f"steps 1 to {step} of {steps}").wait_for()
        assert step / steps - 0.001 < editor.value(node, "end_percent") <= step / steps


@pytest.mark.parametrize("step", ["key", "direction"])
def test_keys_and_the_direction_can_be_undone(concept: Any, step: str) -> None:
    editor, node, timeline = concept("nodes2", direction="add")
    if step == "key":
        timeline.locator("[data-end=start]").press("ArrowRight")
        assert editor.value(node, "start_percent") == 0.2
    else:
        timeline.get_by_role("button", name="+ add").click()
        assert editor.value(node, "direction") == "remove"
    editor.undo()
    editor.show(node)
    editor.view(node).get_by_text("steps 4 to 20 of 20").wait_for(state="attached")
    editor.view(node).get_by_text("+ add").wait_for(state="attached")


@NODES2_FIRST
def test_add_and_remove_are_told_apart_and_switched(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer)
    button = timeline.locator(".sega-direction")
    colours = []
    for text, direction in [("+ add", "remove"), ("− remove", "add")]:
        assert button.inner_text() == text
        colours.append(button.evaluate("(button) => getComputedStyle(button).backgroundColor"))
        button.click()
        assert editor.value(node, "direction") == direction
    assert colours[0] != colours[1]


@NODES2_FIRST
def test_what_the_fields_say_is_shown(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer)
    editor.set_values(node, start_percent=0.3, end_percent=0.45)
    timeline.get_by_text("steps 7 to 9 of 20 (30% to 45%)").wait_for()
    editor.set_values(editor.node("SEGASampler"), steps=8)
    timeline.get_by_text("steps 4 to 4 of 8 (30% to 45%)").wait_for()
    editor.set_values(node, end_percent=0.33)
    timeline.get_by_text("none of 8 steps (30% to 33%)").wait_for()


WARNINGS = [
    ({"start_percent": 0.5, "end_percent": 0.4}, "end_percent (0.4) must be after start_percent (0.5)."),
    ({"weight": 0.0}, "No effect: weight is 0."),
    ({"strength": 0.0}, "No effect: strength is 0."),
    ({"threshold": 0.999}, "Hardly any effect: the threshold leaves 0.1% of it."),
    ({"text": " "}, "No effect: text is empty."),
    ({"instead_of": "glasses"}, "No effect: with and without are the same text."),
]


def test_settings_without_effect_are_warned_of(concept: Any) -> None:
    editor, node, timeline = concept("nodes2")
    good = {name: editor.value(node, name) for inputs, _ in WARNINGS for name in inputs}
    editor.set_values(editor.node("PrimitiveStringMultiline"), value="a face, glasses")
    listed = editor.view(editor.node("SEGASampler")).get_by_role("listitem")
    assert timeline.get_by_role("listitem").count() == 0
    for inputs, warning in WARNINGS:
        editor.set_values(node, **inputs)
        timeline.get_by_text(warning).wait_for()
        assert listed.get_attribute("title") == warning
        editor.set_values(node, **good)
        timeline.get_by_text(warning).wait_for(state="detached")


def test_a_value_from_another_node_is_shown_and_cannot_be_dragged(concept: Any) -> None:
    editor, node, timeline = concept("canvas")
    editor.evaluate(
        """(id) => {
          const given = LiteGraph.createNode("PrimitiveFloat")
          app.graph.add(given)
          given.widgets[0].value = 0.35
          const concept = app.graph.getNodeById(id)
          given.connect(0, concept, concept.inputs.findIndex(({ name }) => name === "start_percent"))
        }""",
        node,
    )
    timeline.get_by_text("steps 8 to 20 of 20 (35% to 100%)").wait_for()
    drag(editor, timeline, "start", 0.1)
    assert editor.value(node, "start_percent") == 0.15
    assert timeline.locator("[data-end=start]").get_attribute("aria-disabled") == "true"


def test_a_concept_that_leads_nowhere_says_so_and_its_ends_move_in_five_percent(concept: Any) -> None:
    editor, node, timeline = concept("canvas")
    editor.evaluate("(id) => app.graph.getNodeById(id).disconnectInput('concepts')", editor.node("SEGASampler"))
    timeline.get_by_text("not connected to a sampler").wait_for()
    drag(editor, timeline, "start", 0.33)
    assert values(editor, node) == (0.35, 1)
    assert timeline.locator("[data-end=start]").get_attribute("aria-valuetext") == "starts at 35%"


def test_the_steps_of_the_sampler_that_uses_a_patched_model_are_known(shown: Any) -> None:
    editor = shown("canvas", "model_patch", steps=17)
    editor.view(editor.node("SEGAConcept")).get_by_text("to 17 of 17").wait_for(state="attached")


def test_a_part_of_a_sampling_is_counted_in_its_whole_schedule(opened: Any, demo_workflow: Any) -> None:
    workflow = demo_workflow("model_patch", steps=20, start_percent=0.3, end_percent=0.8)
    patch = next(key for key, node in workflow.items() if node["class_type"] == "SEGAModelPatch")
    workflow["part"] = {
        "class_type": "KSamplerAdvanced",
        "inputs": {"model": [patch, 0], "steps": 20, "start_at_step": 5, "end_at_step": 12},
    }
    for key in [key for key, node in workflow.items() if node["class_type"] in ("CFGGuider", "SamplerCustomAdvanced")]:
        del workflow[key]
    editor = opened()
    editor.load(workflow)
    shown = editor.view(editor.node("SEGAConcept")).get_by_text("steps 7 to 16 of 20 (30% to 80%)")
    shown.wait_for(state="attached")


def test_percents_are_of_the_schedule_that_denoise_takes_the_end_of(concept: Any) -> None:
    editor, node, timeline = concept("nodes2")
    editor.set_values(editor.node("SEGASampler"), denoise=0.5)
    editor.set_values(node, start_percent=0.2, end_percent=0.75)
    # Its 20 steps are the last of 40.
    timeline.get_by_text("steps 1 to 10 of 20 (20% to 75%)").wait_for()
    editor.set_values(node, start_percent=0.55, end_percent=1)
    timeline.get_by_text("steps 3 to 20 of 20 (55% to 100%)").wait_for()
