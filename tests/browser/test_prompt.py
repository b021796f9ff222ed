"""The picture's prompt: connected to a concept without wiring, and shown with the concept's text and without it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from support.renderers import CANVAS_FIRST, NODES2_FIRST

CONNECTS = pytest.mark.compat("Editor", "connecting the prompt to a concept by + Concept or a button")
SHOWS = pytest.mark.compat("Editor", "the texts that a concept compares")

PROMPT = "a face, brown hair, light skin, blue background"
OFFER = "Connect the prompt"


def with_typed_prompt(workflow: dict[str, Any], prompt: str) -> dict[str, Any]:
    """Return the workflow with a prompt that is typed into the text encoder and connected to no concept."""
    (key,) = (key for key, node in workflow.items() if node["class_type"] == "PrimitiveStringMultiline")
    del workflow[key]
    for node in workflow.values():
        inputs = node["inputs"]
        if node["class_type"] == "CLIPTextEncode" and inputs["text"] == [key, 0]:
            inputs["text"] = prompt
        elif inputs.get("prompt") == [key, 0]:
            del inputs["prompt"]
    return workflow


@pytest.fixture
def typed(opened: Callable[..., Any], demo_workflow: Any) -> Callable[..., Any]:
    """Open a shipped workflow whose prompt is typed into its encoder."""

    def open_workflow(renderer: str = "canvas", name: str = "first_edit", prompt: str = PROMPT) -> Any:
        editor = opened(renderer)
        editor.load(with_typed_prompt(demo_workflow(name), prompt))
        return editor

    return open_workflow


def inputs_of(editor: Any, node: int) -> dict[str, Any]:
    return editor.api_workflow()[str(node)]["inputs"]


def shown_concept(editor: Any) -> tuple[int, Any]:
    """Return the first concept's id and what it shows."""
    node = editor.node("SEGAConcept")
    editor.show(node)
    return node, editor.view(node)


def add_concept(editor: Any, sampler: str = "SEGASampler") -> int:
    """Press + Concept and return the new concept."""
    node = editor.node(sampler)
    editor.show(node)
    view = editor.view(node)
    before = view.get_by_role("listitem").count()
    view.get_by_role("button", name="+ Concept").click()
    expect(view.get_by_role("listitem")).to_have_count(before + 1)
    return editor.evaluate("() => Object.values(app.canvas.selected_nodes)[0].id")


def is_shared(editor: Any, concept: int, encoder: int, *fields: str) -> bool:
    """Whether a concept's prompt and all the encoder's fields come from the same output."""
    source = inputs_of(editor, concept).get("prompt")
    return isinstance(source, list) and all(inputs_of(editor, encoder)[field] == source for field in fields or ["text"])


def connect(editor: Any, source: int, target: int, name: str) -> None:
    editor.evaluate(
        """([source, target, name]) => {
          const node = app.canvas.graph.getNodeById(target)
          const place = node.inputs.findIndex((input) => input.name === name)
          app.canvas.graph.getNodeById(source).connect(0, node, place)
        }""",
        [source, target, name],
    )


def add_node(editor: Any, kind: str, **values: Any) -> int:
    node = editor.evaluate(
        """(kind) => {
          const node = LiteGraph.createNode(kind)
          node.pos = [0, 2500]
          app.canvas.graph.add(node)
          return node.id
        }""",
        kind,
    )
    if values:
        editor.set_values(node, **values)
    return node


@CONNECTS
@CANVAS_FIRST
def test_a_typed_prompt_moves_into_a_node_that_feeds_both_in_one_step_of_undo(typed: Any, renderer: str) -> None:
    editor = typed(renderer)
    before = editor.api_workflow()
    editor.page.mouse.click(*editor.place(editor.node("SaveImage")))
    add_concept(editor)
    editor.undo()
    assert editor.api_workflow() == before
    editor.redo()
    concept, string = editor.node("SEGAConcept", 1), editor.node("PrimitiveStringMultiline")
    editor.set_values(concept, text="hat")
    assert is_shared(editor, concept, editor.node("CLIPTextEncode"))
    assert inputs_of(editor, concept)["prompt"] == [str(string), 0]
    assert editor.value(string, "value") == PROMPT
    assert editor.evaluate("(id) => app.graph.getNodeById(id).title", string) == "Prompt"
    editor.show()
    editor.screenshot(f"prompt-moved-{renderer}")
    assert editor.overlapping() == []
    assert editor.run() == "success"


@CONNECTS
@CANVAS_FIRST
def test_a_linked_prompt_is_linked_again(shown: Any, renderer: str) -> None:
    editor = shown(renderer)
    nodes = editor.evaluate("() => app.graph._nodes.length")
    concept = add_concept(editor)
    assert is_shared(editor, concept, editor.node("CLIPTextEncode"))
    # The concept and its stack are new.
    assert editor.evaluate("() => app.graph._nodes.length") == nodes + 2


@CONNECTS
@NODES2_FIRST
def test_a_concepts_own_button_connects_the_prompt(typed: Any, renderer: str) -> None:
    editor = typed(renderer)
    before = editor.api_workflow()
    concept, view = shown_concept(editor)
    expect(view.get_by_text("The prompt is not connected.")).to_be_visible()
    editor.screenshot(f"prompt-offered-{renderer}")
    view.get_by_role("button", name=OFFER).click()
    expect(view.get_by_role("button", name=OFFER)).to_be_hidden()
    assert is_shared(editor, concept, editor.node("CLIPTextEncode"))
    view.get_by_text("blue background, glasses").wait_for()
    editor.undo()
    assert editor.api_workflow() == before


@CONNECTS
@pytest.mark.parametrize("prompt", ["a face, {brown|black} hair", "a face // with a hat"])
def test_a_prompt_that_its_own_field_changes_stays_there(typed: Any, prompt: str) -> None:
    editor = typed("nodes2", prompt=prompt)
    concept = add_concept(editor)
    assert "prompt" not in inputs_of(editor, concept)
    assert editor.value(editor.node("CLIPTextEncode"), "text") == prompt
    editor.show(concept)
    expect(editor.view(concept).get_by_text("The prompt cannot be connected: {a|b}")).to_be_visible()
    expect(editor.view(concept).get_by_role("button", name=OFFER)).to_be_hidden()


@CONNECTS
@pytest.mark.parametrize(
    ("kind", "name"),
    [("ControlNetApplyAdvanced", "positive"), ("FluxGuidance", "conditioning"), ("Reroute", "")],
)
def test_the_prompt_is_found_behind_other_nodes(typed: Any, kind: str, name: str) -> None:
    editor = typed()
    encoder, negative = (editor.node("CLIPTextEncode", place) for place in range(2))
    between = add_node(editor, kind)
    connect(editor, encoder, between, name)
    if kind == "ControlNetApplyAdvanced":
        connect(editor, negative, between, "negative")
    connect(editor, between, editor.node("SEGASampler"), "positive")
    concept = add_concept(editor)
    assert is_shared(editor, concept, encoder)
    assert editor.value(editor.node("PrimitiveStringMultiline"), "value") == PROMPT


@CONNECTS
def test_of_two_prompts_none_is_taken(typed: Any) -> None:
    editor = typed()
    both = add_node(editor, "ConditioningCombine")
    for place in range(2):
        connect(editor, editor.node("CLIPTextEncode", place), both, f"conditioning_{place + 1}")
    connect(editor, both, editor.node("SEGASampler"), "positive")
    concept = add_concept(editor)
    assert "prompt" not in inputs_of(editor, concept)
    editor.show(concept)
    editor.view(concept).get_by_text("+ add").wait_for()
    expect(editor.view(concept).get_by_role("button", name=OFFER)).to_be_hidden()


@CONNECTS
@pytest.mark.parametrize(
    ("texts", "is_taken"), [((PROMPT, PROMPT), True), ((PROMPT, "a face"), False)], ids=["same", "different"]
)
def test_an_encoder_of_several_texts_must_have_one(typed: Any, texts: tuple[str, str], is_taken: bool) -> None:
    editor = typed()
    encoder = add_node(editor, "CLIPTextEncodeFlux", clip_l=texts[0], t5xxl=texts[1])
    connect(editor, encoder, editor.node("SEGASampler"), "positive")
    concept = add_concept(editor)
    assert is_shared(editor, concept, encoder, "clip_l", "t5xxl") == is_taken
    if not is_taken:
        assert [inputs_of(editor, encoder)[name] for name in ("clip_l", "t5xxl")] == [*texts]


@CONNECTS
def test_a_patched_models_prompt_is_that_of_what_samples_with_it(typed: Any) -> None:
    editor = typed(name="model_patch")
    concept = add_concept(editor, "SEGAModelPatch")
    assert is_shared(editor, concept, editor.node("CLIPTextEncode"))


# Into a subgraph, whose node shows no field of what is in it where the editor lets it be without: everything but the
# nodes of some kinds.
WRAP = """(outside) => {
  const inside = app.graph._nodes.filter(({ comfyClass }) => !outside.includes(comfyClass))
  const { subgraph, node } = app.graph.convertToSubgraph(new Set(inside))
  if (node.properties.proxyWidgets) node.properties.proxyWidgets = []
  app.canvas.setGraph(subgraph)
}"""


@CONNECTS
@pytest.mark.parametrize("where", ["typed inside", "linked from outside"])
def test_the_prompt_is_connected_within_a_subgraph(typed: Any, shown: Any, where: str) -> None:
    editor = typed() if where == "typed inside" else shown()
    editor.evaluate(WRAP, ["SEGADemoModel", "SaveImage", "PrimitiveStringMultiline"])
    concept = add_concept(editor)
    editor.evaluate("() => app.canvas.setGraph(app.rootGraph ?? app.graph)")
    workflow = editor.api_workflow()
    (added,) = (node["inputs"] for key, node in workflow.items() if key.endswith(f":{concept}"))
    proxies = "() => app.graph._nodes.some(({ properties }) => properties.proxyWidgets?.length)"
    if where == "typed inside" and editor.evaluate(proxies):
        # Some editors put the field on the subgraph's node all the same, where it must stay.
        assert "prompt" not in added
        return
    encoded = [node["inputs"]["text"] for node in workflow.values() if node["class_type"] == "CLIPTextEncode"]
    assert added["prompt"] in encoded
    if isinstance(added["prompt"], str):
        # Newer editors leave such fields at the subgraph's node.
        assert (where, added["prompt"]) == ("typed inside", PROMPT)


def compared(view: Any) -> list[str]:
    return view.locator(".sega-texts dd").all_inner_texts()


@SHOWS
@NODES2_FIRST
def test_both_texts_are_shown_shortened_around_what_differs(shown: Any, renderer: str) -> None:
    editor = shown(renderer, text="black hair", instead_of="brown hair")
    _, view = shown_concept(editor)
    long = f"a drawing of the face of somebody who looks at us, {PROMPT}, {'soft light, ' * 10}masterpiece"
    editor.set_values(editor.node("PrimitiveStringMultiline"), value=long)
    view.get_by_text("black hair, light").wait_for()
    assert all(len(text) < 70 and text.startswith("…") and text.endswith("…") for text in compared(view))
    assert view.locator(".sega-texts b").all_inner_texts() == ["black", "brown"]
    titles = [text.get_attribute("title") for text in view.locator(".sega-texts dd").all()]
    assert titles == [long.replace("brown", "black"), long]
    editor.screenshot(f"texts-{renderer}")


@SHOWS
def test_a_text_alone_is_compared_with_nothing_that_is_shown(typed: Any) -> None:
    editor = typed()
    node, view = shown_concept(editor)
    view.get_by_text("The prompt is not connected.").wait_for()
    editor.set_values(node, instead_of="a hat")
    view.get_by_text("a hat").wait_for()
    assert compared(view) == ["glasses", "a hat"]
    editor.set_values(node, instead_of="")
    view.get_by_text("a hat").wait_for(state="detached")
    assert compared(view) == []


@SHOWS
@pytest.mark.parametrize("unknown", ["prompt", "text"])
def test_texts_that_only_a_run_can_tell_are_not_shown(shown: Any, unknown: str) -> None:
    editor = shown()
    node, view = shown_concept(editor)
    view.get_by_text("without").wait_for(state="attached")
    if unknown == "prompt":
        connect(editor, add_node(editor, "StringConcatenate"), node, "prompt")
    else:
        editor.set_values(node, text="{glasses|hat}")
    view.get_by_text("without").wait_for(state="detached")


@SHOWS
def test_the_server_refuses_what_is_no_question(server: Any) -> None:
    too_long = json.dumps({"text": "hat", "prompt": "a" * 10_001, "instead_of": ""})
    number = '{"text": 1, "prompt": null, "instead_of": ""}'
    for question in ("{", "[]", '{"text": "hat"}', number, too_long):
        request = urllib.request.Request(f"{server.url}/sega/texts", question.encode())
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 400, question
        assert json.load(refused.value)["error"]
