"""Concepts that pass through other packs' nodes: switches, lists and broadcasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from dev.host.server import DEMO_PACK, PACK, Server
from support.renderers import NODES2_FIRST

pytestmark = pytest.mark.compat("Editor", "concepts behind other packs' switches and broadcasts")

UNDECIDED = "decided when it runs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Server(
        {**PACK, **DEMO_PACK, "other_packs": Path(__file__).parent / "other_packs"},
        folder=tmp_path_factory.mktemp("other_packs"),
        env={"OMP_NUM_THREADS": "1"},
    ) as running:
        yield running


@pytest.fixture
def graph(shown: Callable[..., Any]) -> Callable[..., Graph]:
    """Open the workflow with three concepts."""

    def show(renderer: str = "canvas", **inputs: Any) -> Graph:
        return Graph(shown(renderer, "three_concepts", **inputs))

    return show


class Graph:
    """The workflow with three concepts, its sampler and what that lists."""

    def __init__(self, editor: Any) -> None:
        self.editor = editor
        self.sampler = editor.node("SEGASampler")
        self.stack = editor.node("SEGAConceptStack")
        self.concepts = [editor.node("SEGAConcept", place) for place in range(3)]
        self.texts = [editor.value(concept, "text") for concept in self.concepts]
        self.view: Locator = editor.view(self.sampler)
        editor.show(self.sampler)

    def add(self, kind: str, **origins: int) -> int:
        """Add a node to which others are connected."""
        node = self.editor.evaluate(
            """(kind) => {
              const node = LiteGraph.createNode(kind)
              node.pos = [-300, 200 * app.graph._nodes.length - 1000]
              app.graph.add(node)
              return node.id
            }""",
            kind,
        )
        for name, origin in origins.items():
            self.connect(origin, node, name)
        return node

    def connect(self, origin: int, node: int, name: str) -> None:
        self.editor.evaluate(
            """([origin, node, name]) => {
              const [from, to] = [origin, node].map((id) => app.graph.getNodeById(id))
              from.connectSlots(from.outputs[0], to, to.inputs.find((input) => input.name.endsWith(name)))
            }""",
            [origin, node, name],
        )

    def disconnect(self, node: int, name: str) -> None:
        self.editor.evaluate(
            """([id, name]) => {
              const node = app.graph.getNodeById(id)
              node.disconnectInput(node.inputs.findIndex((input) => input.name.endsWith(name)))
            }""",
            [node, name],
        )

    def lists(self, *places: int, signs: str | None = None, status: str = "") -> None:
        """Wait until the sampler lists these concepts."""
        expect(self.view.locator(".sega-name")).to_have_text([self.texts[place] for place in places])
        expect(self.view.locator(".sega-sign")).to_have_text(list("+" * len(places) if signs is None else signs))
        expect(self.view.locator(".sega-span")).to_have_text(status)


@NODES2_FIRST
def test_a_switch_without_fields_passes_on_the_first_that_runs(graph: Any, renderer: str) -> None:
    shown = graph(renderer)
    last, first, _ = shown.concepts
    switch = shown.add("TestFirstOf", any_02=first, any_03=last)
    shown.connect(switch, shown.sampler, "concepts")
    shown.lists(1)
    shown.editor.set_mode(first, 2)
    shown.lists(0)
    shown.editor.set_mode(first, 0)
    shown.connect(shown.stack, switch, "any_01")
    shown.lists(0, 1, 2)
    shown.editor.show(shown.sampler)
    shown.editor.screenshot(f"switch-{renderer}")
    assert shown.editor.run() == "success"


def test_a_boolean_decides(graph: Any) -> None:
    shown = graph()
    no, yes, _ = shown.concepts
    switch = shown.add("ComfySwitchNode", on_false=no, on_true=yes)
    shown.connect(switch, shown.sampler, "concepts")
    shown.editor.set_values(switch, switch=False)
    shown.lists(0)
    shown.editor.set_values(switch, switch=True)
    shown.lists(1)
    boolean = shown.add("PrimitiveBoolean")
    shown.editor.set_values(boolean, value=False)
    shown.connect(boolean, switch, "switch")
    shown.lists(0)


def test_a_number_decides(graph: Any) -> None:
    shown = graph()
    one, two, twelve = shown.concepts
    switch = shown.add("TestNumbered", input1=one, input2=two, input12=twelve)
    shown.connect(switch, shown.sampler, "concepts")
    for place, number in enumerate((1, 2, 12)):
        shown.editor.set_values(switch, select=number)
        shown.lists(place)


@NODES2_FIRST
def test_what_only_a_run_decides_is_said(graph: Any, renderer: str) -> None:
    shown = graph(renderer, steps=4)
    no, yes, other = shown.concepts
    switch = shown.add("ComfySwitchNode", on_false=no, on_true=yes, switch=shown.add("TestIsLong"))
    shown.connect(switch, shown.sampler, "concepts")
    shown.lists(0, 1, signs="??", status=UNDECIDED)
    stack = shown.add("SEGAConceptStack", concept_0=other)
    shown.connect(switch, stack, "concept_1")
    shown.connect(stack, shown.sampler, "concepts")
    shown.lists(2, 0, 1, signs="+??", status=UNDECIDED)
    shown.editor.show(shown.sampler)
    shown.editor.screenshot(f"switch-undecided-{renderer}")
    assert shown.editor.run() == "success"


def test_a_list_is_every_concept_in_turn(graph: Any) -> None:
    shown = graph()
    first, second, _ = shown.concepts
    concepts = shown.add("TestListOf", input1=first, input2=second)
    shown.connect(concepts, shown.sampler, "concepts")
    shown.lists(0, 1, signs="??", status=UNDECIDED)


def test_the_button_adds_to_what_the_switch_passes_on(graph: Any) -> None:
    shown = graph()
    no, yes, _ = shown.concepts
    switch = shown.add("ComfySwitchNode", on_false=no, on_true=yes)
    shown.connect(switch, shown.sampler, "concepts")
    shown.view.get_by_role("button", name="+ Concept").click()
    added = shown.editor.node("SEGAConcept", 3)
    workflow = shown.editor.api_workflow()
    stack, _ = workflow[str(shown.sampler)]["inputs"]["concepts"]
    assert list(workflow[stack]["inputs"].values()) == [[str(switch), 0], [str(added), 0]]


def test_a_broadcast_reaches_concepts_and_is_shown(graph: Any) -> None:
    shown = graph()
    prompt = shown.add("PrimitiveStringMultiline")
    shown.editor.set_values(prompt, value="a face, freckles")
    shown.add("TestBroadcast", anything=prompt)
    for concept in shown.concepts:
        shown.disconnect(concept, "prompt")
        shown.editor.show(concept)
        expect(shown.editor.view(concept).locator("dd").first).to_have_text("a face, freckles, " + shown.texts.pop(0))
        assert shown.editor.api_workflow()[str(concept)]["inputs"]["prompt"] == [str(prompt), 0]


def test_no_broadcast_reaches_a_sampler_which_says_so(graph: Any) -> None:
    shown = graph()
    shown.disconnect(shown.sampler, "concepts")
    shown.add("TestBroadcast", anything=shown.stack)
    shown.lists(status="no concept: the plain picture")
    assert "concepts" not in shown.editor.api_workflow()[str(shown.sampler)]["inputs"]
