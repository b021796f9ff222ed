"""SEGA Sampler and SEGA Model Patch: their concepts, which act while it runs, and adding one without wiring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from support.renderers import NODES2_FIRST

SHOWS = pytest.mark.compat("Editor", "concepts of a sampler, and which of them act while it runs")
ADDS = pytest.mark.compat("Editor", "adding a concept by button, menu or key")

# What a running sampler showed, whenever that changed: {"status": ..., "on": [...]}.
WATCH = """(view) => {
  window.seen = []
  const look = () => window.seen.push({
    status: view.querySelector(".sega-span").textContent,
    on: [...view.querySelectorAll('[aria-current=step] .sega-name')].map(({ textContent }) => textContent),
  })
  new MutationObserver(look).observe(view, { childList: true, subtree: true, characterData: true })
}"""


@pytest.fixture
def sampler(shown: Callable[..., Any]) -> Callable[..., tuple[Any, int, Any]]:
    """Open a shipped workflow; return the editor, the id of what samples and what that shows."""

    def open_workflow(renderer: str, name: str, kind: str = "SEGASampler", **inputs: Any) -> tuple[Any, int, Any]:
        editor = shown(renderer, name, **inputs)
        node = editor.node(kind)
        editor.show(node)
        view = editor.view(node)
        view.get_by_role("listitem").first.wait_for()
        return editor, node, view

    return open_workflow


def seen(editor: Any) -> list[dict[str, Any]]:
    return editor.evaluate("() => window.seen")


@SHOWS
@NODES2_FIRST
def test_the_concepts_are_listed_in_their_order(sampler: Any, renderer: str) -> None:
    editor, _, view = sampler(renderer, "three_concepts")
    view.get_by_role("listitem").nth(2).wait_for()
    texts = [node["inputs"]["text"] for node in editor.api_workflow().values() if node["class_type"] == "SEGAConcept"]
    assert view.locator(".sega-name").all_inner_texts() == texts
    view.get_by_role("button", name=texts[1]).click()
    assert editor.evaluate("() => Object.values(app.canvas.selected_nodes)[0].widgets[0].value") == texts[1]


@SHOWS
@NODES2_FIRST
def test_while_it_runs_the_active_concepts_are_marked(sampler: Any, renderer: str) -> None:
    editor, _, view = sampler(renderer, "three_concepts", steps=8, batch_size=4)
    concepts = [editor.node("SEGAConcept", place) for place in range(3)]
    for concept, text, first, last in zip(concepts, "abc", (0, 0.375, 0.9), (0.25, 1, 1), strict=True):
        editor.set_values(concept, text=text, start_percent=first, end_percent=last)
    view.get_by_text("c", exact=True).wait_for()
    view.evaluate(WATCH)
    editor.run()
    marked = {entry["status"].split(":")[0]: entry["on"] for entry in seen(editor) if entry["status"]}
    assert marked["step 2 of 8"] == ["a"]
    assert marked["step 3 of 8"] == []
    assert marked["step 4 of 8"] == marked["step 8 of 8"] == ["b"]
    assert seen(editor)[-1] == {"status": "", "on": []}


@SHOWS
def test_another_tab_shows_nothing_of_the_run(sampler: Any) -> None:
    editor, _, view = sampler("canvas", "first_edit", steps=300)
    editor.evaluate("() => { app.queuePrompt(0) }")
    view.get_by_text("of 300: ").wait_for()
    editor, _, other = sampler("canvas", "first_edit", steps=300)
    shown = other.evaluate(
        """(view) => new Promise((resolve) => {
          const seen = []
          const look = () => {
            seen.push(view.querySelector(".sega-span").textContent)
            if (seen.length < 5) return
            app.api.removeEventListener("progress", look)
            resolve(seen)
          }
          app.api.addEventListener("progress", look)
        })"""
    )
    editor.interrupt()
    assert set(shown) == {""}


@SHOWS
def test_a_patched_model_shows_the_steps_of_what_samples_with_it(sampler: Any) -> None:
    editor, _, view = sampler("canvas", "model_patch", "SEGAModelPatch", steps=6, batch_size=4)
    view.evaluate(WATCH)
    editor.run()
    assert any(entry["status"] == "step 4 of 6: 1 of 1 act" for entry in seen(editor))


@ADDS
@NODES2_FIRST
def test_the_button_adds_concepts_that_are_connected(sampler: Any, renderer: str) -> None:
    editor, node, view = sampler(renderer, "first_edit")
    first = editor.node("SEGAConcept")
    clip = editor.api_workflow()[str(first)]["inputs"]["clip"]
    for count in (2, 3):
        view.get_by_role("button", name="+ Concept").click()
        view.get_by_role("listitem").nth(count - 1).wait_for()
    added = [editor.node("SEGAConcept", place) for place in (1, 2)]
    for concept, text in zip(added, ("hat", "smiling"), strict=True):
        editor.set_values(concept, text=text)
    workflow = editor.api_workflow()
    stack, slot = workflow[str(node)]["inputs"]["concepts"]
    assert (workflow[stack]["class_type"], slot) == ("SEGAConceptStack", 0)
    assert list(workflow[stack]["inputs"].values()) == [[str(concept), 0] for concept in (first, *added)]
    assert all(workflow[str(concept)]["inputs"]["clip"] == clip for concept in added)
    editor.show()
    editor.screenshot(f"added-{renderer}")
    assert editor.overlapping() == []
    assert editor.run() == "success"


@ADDS
@pytest.mark.parametrize(("name", "kind"), [("first_edit", "SEGASampler"), ("model_patch", "SEGAModelPatch")])
def test_an_added_concept_has_the_prompts_text_encoder(shown: Callable[..., Any], name: str, kind: str) -> None:
    editor = shown(name=name)
    node = editor.node(kind)
    prompt = editor.evaluate(
        """(sampler) => {
          const graph = app.graph
          const find = (type, title) =>
            graph._nodes.find((node) => node.comfyClass === type && (!title || node.title === title))
          const [clip, model] = ["CLIPSetLastLayer", "LoraLoader"].map((type) => LiteGraph.createNode(type))
          for (const node of [clip, model]) graph.add(node)
          const loader = find("SEGADemoModel")
          // The model comes with the text encoder of a LoRA; the prompt's is another one.
          loader.connect(0, model, 0)
          loader.connect(1, model, 1)
          loader.connect(1, clip, 0)
          model.connect(0, graph.getNodeById(sampler), 0)
          clip.connect(0, find("CLIPTextEncode", "Positive prompt"), 0)
          graph.remove(find("SEGAConcept"))
          return clip.id
        }""",
        node,
    )
    editor.show(node)
    view = editor.view(node)
    view.get_by_role("button", name="+ Concept").click()
    view.get_by_role("listitem").first.wait_for()
    inputs = editor.api_workflow()[str(editor.node("SEGAConcept"))]["inputs"]
    assert inputs["clip"] == [str(prompt), 0]


@ADDS
def test_the_first_concept_needs_no_stack(sampler: Any) -> None:
    editor, node, view = sampler("canvas", "first_edit")
    editor.evaluate("(id) => app.graph.remove(app.graph.getNodeById(id))", editor.node("SEGAConcept"))
    view.get_by_text("no concept: the plain picture").wait_for()
    view.get_by_role("button", name="+ Concept").click()
    workflow = editor.api_workflow()
    assert workflow[str(node)]["inputs"]["concepts"] == [str(editor.node("SEGAConcept")), 0]
    assert not any(entry["class_type"] == "SEGAConceptStack" for entry in workflow.values())


@ADDS
@pytest.mark.parametrize(
    ("name", "kind", "mode"), [("first_edit", "SEGAConcept", 2), ("three_concepts", "SEGAConceptStack", 4)]
)
def test_what_is_muted_or_bypassed_stays_connected(sampler: Any, name: str, kind: str, mode: int) -> None:
    editor, _, view = sampler("canvas", name)
    node, listed = editor.node(kind), view.get_by_role("listitem")
    before = 3 if kind.endswith("Stack") else 1
    expect(listed).to_have_count(before)
    editor.set_mode(node, mode)
    listed.first.wait_for(state="detached")
    view.get_by_role("button", name="+ Concept").click()
    editor.set_mode(node, 0)
    expect(listed).to_have_count(before + 1)


@ADDS
@NODES2_FIRST
def test_a_concept_of_the_button_is_one_step_of_undo(sampler: Any, renderer: str) -> None:
    editor, node, view = sampler(renderer, "first_edit")
    editor.page.mouse.click(*editor.place(editor.node("SaveImage")))
    view.get_by_role("button", name="+ Concept").click()
    view.get_by_role("listitem").nth(1).wait_for()
    assert editor.evaluate("() => Object.values(app.canvas.selected_nodes)[0].comfyClass") == "SEGAConcept"
    # With every key the editor looks for changes: what has grown since would be a step of its own.
    editor.page.keyboard.press("Shift")
    editor.undo()
    editor.show(node)
    expect(editor.view(node).get_by_role("listitem")).to_have_count(1)
    editor.redo()
    editor.page.wait_for_function(
        "() => app.graph._nodes.filter(({ comfyClass }) => comfyClass === 'SEGAConcept').length === 2"
    )
    editor.show(node)
    expect(editor.view(node).get_by_role("listitem")).to_have_count(2)


@SHOWS
def test_stacks_that_go_round_in_circles_do_no_harm(sampler: Any) -> None:
    editor, _, view = sampler("canvas", "three_concepts")
    editor.evaluate(
        """(id) => {
          const first = app.graph.getNodeById(id)
          const second = LiteGraph.createNode("SEGAConceptStack")
          app.graph.add(second)
          const stackOf = ({ inputs }) => inputs.find(({ name }) => name === "stack")
          first.connectSlots(first.outputs[0], second, stackOf(second))
          second.connectSlots(second.outputs[0], first, stackOf(first))
        }""",
        editor.node("SEGAConceptStack"),
    )
    editor.set_values(editor.node("SEGAConcept"), text="still shown")
    view.get_by_text("still shown").wait_for()


@ADDS
@NODES2_FIRST
def test_the_nodes_menu_and_a_key_add_a_concept(sampler: Any, renderer: str) -> None:
    editor, node, view = sampler(renderer, "three_concepts")
    editor.open_menu(node)
    editor.page.get_by_text("Add SEGA concept").first.click()
    expect(view.get_by_role("listitem")).to_have_count(4)
    editor.evaluate("(id) => app.canvas.selectNode(app.graph.getNodeById(id))", node)
    editor.page.locator("#graph-canvas").focus()
    editor.page.keyboard.press("Alt+Shift+C")
    expect(view.get_by_role("listitem")).to_have_count(5)
    (stack,) = [entry for entry in editor.api_workflow().values() if entry["class_type"] == "SEGAConceptStack"]
    assert len(stack["inputs"]) == 5
