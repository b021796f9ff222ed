"""SEGA Concept's timeline: shows and edits when the concept acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

RENDERERS = pytest.mark.parametrize("renderer", ["canvas", "nodes2"])

pytestmark = pytest.mark.compat("Editor", "SEGA Concept's timeline: warm-up, cool-down, add or remove, warnings")


@pytest.fixture
def concept(opened: Callable[..., Any], small_workflow: Any) -> Callable[..., tuple[Any, int, Any]]:
    """Open a workflow of 20 steps; return the editor, the concept's id and its timeline."""

    def open_workflow(renderer: str, **inputs: Any) -> tuple[Any, int, Any]:
        editor = opened(renderer)
        editor.load(small_workflow(**inputs))
        node = editor.node("SEGAConcept")
        editor.show(node)
        return editor, node, editor.view(node)

    return open_workflow


def values(editor: Any, node: int) -> tuple[int, int]:
    return editor.value(node, "warmup_steps"), editor.value(node, "cooldown_steps")


def drag(editor: Any, timeline: Any, end: str, share: float) -> None:
    """Drag a handle to a share of the track."""
    track = timeline.locator(".sega-track").bounding_box()
    box = timeline.locator(f"[data-end={end}]").bounding_box()
    mouse = editor.page.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(track["x"] + share * track["width"], box["y"] + 3, steps=5)
    mouse.up()


@RENDERERS
def test_the_ends_can_be_dragged(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer, warmup_steps=3)
    timeline.get_by_text("acts in steps 4 to 20 of 20").wait_for()
    drag(editor, timeline, "start", 0.25)
    assert values(editor, node) == (5, 0)
    drag(editor, timeline, "end", 0.6)
    assert values(editor, node) == (5, 12)
    timeline.get_by_text("acts in steps 6 to 12 of 20").wait_for()
    editor.screenshot(f"timeline-{renderer}")
    drag(editor, timeline, "start", 0.9)
    assert values(editor, node) == (11, 12), "the start stops before the end"
    drag(editor, timeline, "end", 1.2)
    assert values(editor, node) == (11, 0), "at the right end a concept never stops"
    inputs = editor.api_workflow()[str(node)]["inputs"]
    assert (inputs["warmup_steps"], inputs["cooldown_steps"]) == (11, 0)


@RENDERERS
def test_what_was_dragged_can_be_undone(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer, warmup_steps=3)
    drag(editor, timeline, "start", 0.5)
    assert values(editor, node) == (10, 0)
    editor.undo()
    editor.page.wait_for_function(
        "(id) => app.graph.getNodeById(id).widgets.find(({ name }) => name === 'warmup_steps').value === 3", arg=node
    )
    editor.show(node)
    editor.view(node).get_by_text("acts in steps 4 to 20 of 20").wait_for()


@RENDERERS
def test_the_ends_obey_the_keyboard(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer, warmup_steps=3)
    start, end = timeline.locator("[data-end=start]"), timeline.locator("[data-end=end]")
    for key, expected in [("ArrowRight", 4), ("PageUp", 6), ("ArrowLeft", 5), ("Home", 0)]:
        start.press(key)
        assert values(editor, node) == (expected, 0)
    end.press("PageDown")
    assert values(editor, node) == (0, 18)
    assert start.get_attribute("aria-valuetext") == "starts at step 1"
    assert end.get_attribute("aria-valuetext") == "ends after step 18"


@pytest.mark.parametrize("step", ["key", "direction"])
def test_keys_and_the_direction_can_be_undone(concept: Any, step: str) -> None:
    editor, node, timeline = concept("nodes2", warmup_steps=3, direction="add")
    if step == "key":
        timeline.locator("[data-end=start]").press("ArrowRight")
        assert editor.value(node, "warmup_steps") == 4
    else:
        timeline.get_by_role("button").click()
        assert editor.value(node, "direction") == "remove"
    editor.undo()
    editor.show(node)
    editor.view(node).get_by_text("acts in steps 4 to 20 of 20").wait_for(state="attached")
    editor.view(node).get_by_text("+ add").wait_for(state="attached")


@RENDERERS
def test_add_and_remove_are_told_apart_and_switched(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer)
    button = timeline.get_by_role("button")
    colours = []
    for text, direction in [("+ add", "remove"), ("− remove", "add")]:
        assert button.inner_text() == text
        colours.append(button.evaluate("(button) => getComputedStyle(button).backgroundColor"))
        button.click()
        assert editor.value(node, "direction") == direction
    assert colours[0] != colours[1]


@RENDERERS
def test_what_the_fields_say_is_shown(concept: Any, renderer: str) -> None:
    editor, node, timeline = concept(renderer, warmup_steps=3)
    editor.set_values(node, warmup_steps=6, cooldown_steps=9)
    timeline.get_by_text("acts in steps 7 to 9 of 20").wait_for()
    editor.set_values(editor.node("SEGASampler"), steps=8)
    timeline.get_by_text("acts in steps 7 to 8 of 8").wait_for()


@pytest.mark.parametrize(
    ("inputs", "warning"),
    [
        ({"warmup_steps": 20}, "No effect: warmup_steps is 20, the sampler makes 20 steps."),
        ({"warmup_steps": 5, "cooldown_steps": 4}, "cooldown_steps (4) must be after warmup_steps (5)."),
        ({"weight": 0.0}, "No effect: weight is 0."),
        ({"guidance_scale": 0.0}, "No effect: guidance_scale is 0."),
        ({"threshold": 0.999}, "Hardly any effect: only 0.1% of the latent is edited."),
        ({"text": " "}, "No effect: text is empty."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_without_effect_are_warned_of(concept: Any, inputs: dict[str, Any], warning: str) -> None:
    editor, node, timeline = concept("nodes2", warmup_steps=3)
    assert timeline.get_by_role("listitem").count() == 0
    editor.set_values(node, **inputs)
    timeline.get_by_text(warning).wait_for()
    listed = editor.view(editor.node("SEGASampler")).get_by_role("listitem")
    assert listed.get_attribute("title") == warning
    editor.set_values(node, text="hat", warmup_steps=3, cooldown_steps=0, weight=1, guidance_scale=5, threshold=0.9)
    timeline.get_by_text(warning).wait_for(state="detached")


def test_a_value_from_another_node_is_shown_and_cannot_be_dragged(concept: Any) -> None:
    editor, node, timeline = concept("canvas", warmup_steps=3)
    editor.evaluate(
        """(id) => {
          const given = LiteGraph.createNode("PrimitiveInt")
          app.graph.add(given)
          given.widgets[0].value = 7
          const concept = app.graph.getNodeById(id)
          given.connect(0, concept, concept.inputs.findIndex(({ name }) => name === "warmup_steps"))
        }""",
        node,
    )
    timeline.get_by_text("acts in steps 8 to 20 of 20").wait_for()
    drag(editor, timeline, "start", 0.1)
    assert editor.value(node, "warmup_steps") == 3
    assert timeline.locator("[data-end=start]").get_attribute("aria-disabled") == "true"


def test_a_concept_that_leads_nowhere_says_so(concept: Any) -> None:
    editor, _, timeline = concept("canvas")
    editor.evaluate("(id) => app.graph.getNodeById(id).disconnectInput('concepts')", editor.node("SEGASampler"))
    timeline.get_by_text("not connected to a sampler").wait_for()


def test_the_steps_of_the_sampler_that_uses_a_patched_model_are_known(opened: Any, demo_workflow: Any) -> None:
    editor = opened("canvas")
    editor.load(demo_workflow("model_patch", steps=17))
    editor.view(editor.node("SEGAConcept")).get_by_text("to 17 of 17").wait_for(state="attached")


@pytest.mark.parametrize(("start", "end", "steps"), [(5, 12, 7), (0, 10000, 17)])
def test_the_steps_of_a_part_of_a_sampling_are_counted(
    opened: Any, demo_workflow: Any, start: int, end: int, steps: int
) -> None:
    workflow = demo_workflow("model_patch", steps=17)
    patch = next(key for key, node in workflow.items() if node["class_type"] == "SEGAModelPatch")
    workflow["part"] = {
        "class_type": "KSamplerAdvanced",
        "inputs": {"model": [patch, 0], "steps": 17, "start_at_step": start, "end_at_step": end},
    }
    for key in [key for key, node in workflow.items() if node["class_type"] in ("CFGGuider", "SamplerCustomAdvanced")]:
        del workflow[key]
    editor = opened()
    editor.load(workflow)
    editor.view(editor.node("SEGAConcept")).get_by_text(f"to {steps} of {steps}").wait_for(state="attached")
