"""ComfyUI's own templates from text to image or video, each with a concept that + Concept adds to it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.host.client import Workflow, WorkflowRejected
from dev.host.packages import COMFYUI, TEMPLATES

FOLDER = Path(TEMPLATES or "")
GROUPS = ["Text to Image", "Text to Video"]

MISSING_FILE = re.compile(r": Value not in list: \w+: '.+\.(ckpt|pt|pth|safetensors|sft)' not in ")

# Where + Concept leaves the prompt to the user: typed with braces, or different from encoder to encoder, or the encoder
# is none of the host's plain ones, or a switch may take another.
PROMPT_BY_HAND = {
    "flux_schnell_full_text_to_image",
    "image_hidream_o1",
    "image_hidream_o1_dev",
    "image_ideogram4_t2i",
    "image_ideogram4_t2i_int8",
    "image_mage_flow_t2i_int8",
    "image_mage_flow_turbo_t2i_int8",
    "sdxl_simple_example",
    "video_minimax_h3_t2v",
}

# What a prompt comes out of: encoders and what changes their output, and switches.
PROMPTS = ["CONDITIONING", "COMFY_MATCHTYPE_V3"]

# Puts a SEGAModelPatch with a concept before the model of a node, also in a subgraph: "12:5" is node 5 in node 12.
ADD_CONCEPT = """(id) => {
  const root = app.rootGraph ?? app.graph
  const inside = ({ subgraph }, part) => subgraph._nodes.find((node) => String(node.id) === part)
  const node = id.split(":").reduce(inside, { subgraph: root })
  const { graph } = node
  const patch = LiteGraph.createNode("SEGAModelPatch")
  patch.pos = [node.pos[0] - patch.size[0] - 40, node.pos[1] - patch.size[1] - 80]
  graph.add(patch)
  const [into, before] = [node, patch].map(({ inputs }) => inputs.findIndex(({ name }) => name === "model"))
  const { origin_id, origin_slot } = graph.getLink(node.inputs[into].link)
  graph.getNodeById(origin_id).connect(origin_slot, patch, before)
  patch.connect(0, node, into)
  app.canvas.setGraph(graph)
  app.canvas.selectNode(patch)
  app.extensionManager.command.execute("SEGA.AddConcept")
  const [concept] = app.canvas.selectedItems
  concept.widgets.find(({ name }) => name === "text").value = "glasses"
  app.canvas.setGraph(root)
}"""


def official_templates() -> list[Any]:
    """Return the open models' templates, each as a row of its table; none without the package."""
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8")) if TEMPLATES else []
    found = []
    for template in (template for category in index for template in category["templates"]):
        name, title = template["name"], template["title"]
        group = next((tag for tag in GROUPS if tag in template["tags"]), None)
        if group and not name.startswith("api_") and template.get("openSource", True):
            found.append(pytest.param(name, id=name, marks=pytest.mark.compat(group, f"{title} (`{name}`)")))
    return found


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def nodes_in(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a template's nodes with those in its subgraphs."""
    graphs = [template, *template.get("definitions", {}).get("subgraphs", [])]
    return [node for graph in graphs for node in graph["nodes"]]


@pytest.fixture(scope="module")
def known(server: Any) -> dict[str, Any]:
    """What the server knows of each class."""
    return server.client().object_info()


@pytest.fixture(scope="module", autouse=True)
def media(server: Any) -> None:
    """Files by the names of the pictures, videos and sounds that the templates start from."""
    for template in official_templates():
        for node in nodes_in(read(*template.values)):
            if node["type"] in ("LoadImage", "LoadVideo", "LoadAudio"):
                shutil.copy(COMFYUI / "input" / "example.png", server.folder / "input" / node["widgets_values"][0])


@pytest.fixture(scope="module", autouse=True)
def page_of_its_own(kept: dict[Any, Any]) -> Iterator[None]:
    """Other tests get a page without the tabs and errors of these workflows."""
    yield
    for editor in kept.values():
        editor.page.context.close()
    kept.clear()


def is_link(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], str)


def missing_classes(editor: Any, template: dict[str, Any]) -> list[str]:
    """Return the classes that an opened template uses and that are not there."""
    there = editor.evaluate("() => Object.keys(LiteGraph.registered_node_types)")
    return [name for name in dict.fromkeys(node["type"] for node in nodes_in(template)) if name not in there]


def refusals(server: Any, workflow: Workflow) -> list[str]:
    """Return why the server refuses a workflow, besides the files of models."""
    try:
        server.client().queue(workflow)
    except WorkflowRejected as error:
        return [line for line in str(error).splitlines() if not MISSING_FILE.search(line)]
    return []


def samplers(known: dict[str, Any], workflow: Workflow) -> list[str]:
    """Return the nodes that sample with a model and a prompt, or make a guider of them."""

    def samples(class_type: str) -> bool:
        groups, made = known[class_type]["input"], known[class_type]["output"]
        taken = [spec[0] for group in ("required", "optional") for spec in groups.get(group, {}).values()]
        return "MODEL" in taken and "CONDITIONING" in taken and ("LATENT" in made or "GUIDER" in made)

    return [key for key, node in workflow.items() if samples(node["class_type"])]


def encoder_of(known: dict[str, Any], workflow: Workflow, sampler: str) -> str | None:
    """Return the node that encodes the positive prompt of a sampler, if it is a text."""
    way = [sampler]
    for key in way:
        inputs = workflow[key]["inputs"]
        if is_link(inputs.get("clip")):
            return key
        # The positive prompt is the first of each node's.
        for origin, slot in filter(is_link, inputs.values()):
            if known[workflow[origin]["class_type"]]["output"][slot] in PROMPTS:
                way.append(origin)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", official_templates())
def test_a_concept_is_added_to_an_official_template(
    opened: Callable[..., Any], server: Any, known: dict[str, Any], name: str
) -> None:
    editor, template = opened(), read(name)
    editor.load(template)
    plain = editor.api_workflow()
    if not {node.get("class_type") for node in plain.values()} <= known.keys():
        pytest.skip(f"this ComfyUI has no {', '.join(missing_classes(editor, template))}")
    encoders = {key: encoder for key in samplers(known, plain) if (encoder := encoder_of(known, plain, key))}
    if not encoders:
        pytest.skip("it has no text prompt")

    for key in encoders:
        editor.evaluate(ADD_CONCEPT, key)
    workflow = editor.api_workflow()

    refused = refusals(server, plain)
    assert refusals(server, workflow) == refused
    # A typed prompt has moved into a node of its own; nothing else of the template is another.
    moved = {key: workflow[key]["inputs"].get("value") for key in workflow.keys() - plain.keys()}
    for key, encoder in encoders.items():
        patch = workflow[workflow[key]["inputs"].pop("model")[0]]
        concept = workflow[patch["inputs"]["concepts"][0]]
        assert (patch["class_type"], concept["class_type"]) == ("SEGAModelPatch", "SEGAConcept")
        assert patch["inputs"]["model"] == plain[key]["inputs"].pop("model")
        assert concept["inputs"]["text"] == "glasses"
        assert concept["inputs"]["clip"] == plain[encoder]["inputs"]["clip"]
        assert ("prompt" not in concept["inputs"]) == (name in PROMPT_BY_HAND)
    for key, node in plain.items():
        for field, value in workflow[key]["inputs"].items():
            assert (moved.get(value[0], value) if is_link(value) else value) == node["inputs"][field]
    if refused:
        pytest.skip(f"this ComfyUI refuses it: {re.sub(' [(]node .*?[)]', '', '; '.join(refused))}")
