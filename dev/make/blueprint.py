"""Make the subgraph blueprint of a template: `python -m dev.make.blueprint` in the repository's root.

What is between the loader, the picture and the saving becomes one node of the editor, with the fields that a user
changes on its outside.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from .templates import TEMPLATES, written

BLUEPRINTS = TEMPLATES.parent / "subgraphs"
# The editor's own numbers for the outside of a subgraph.
INSIDE_OF_INPUTS, INSIDE_OF_OUTPUTS = -10, -20
ROW, ROOM, WIDTH = 20, 200, 120
SIZE = (400, 420)
LOOK = {"workflowRendererVersion": "LG"}

Node = dict[str, Any]
Link = dict[str, Any]


@dataclass(frozen=True)
class Blueprint:
    """What becomes of a template; its nodes are known by their titles, or their class where they have none.

    Args:
        template: its name.
        category: where the editor lists it.
        description: what it does.
        sockets: for each output of the nodes that stay outside, what the node calls its input.
        fields: for each field that is written into outside, what the node calls it.
        outputs: likewise for what comes out.
        emptied: fields that start empty, by their outside names.
    """

    template: str
    category: str
    description: str
    sockets: Mapping[tuple[str, int], str]
    fields: Mapping[tuple[str, str], str]
    outputs: Mapping[tuple[str, int], str]
    emptied: Sequence[str] = ()


PLANS = {
    "Edit Picture (SEGA)": Blueprint(
        "edit_photo",
        "Image generation and editing/Edit image",
        "Adds a concept to a picture of yours, or removes it, and keeps the rest to the pixel.",
        {
            ("Your picture", 0): "image",
            ("Checkpoint", 0): "model",
            ("Checkpoint", 1): "clip",
            ("Checkpoint", 2): "vae",
        },
        {
            ("Prompt", "value"): "description",
            ("SEGAConcept", "text"): "text",
            ("SEGAConcept", "direction"): "direction",
            ("SEGAConcept", "strength"): "strength",
        },
        {("Keep the rest to the pixel", 0): "image"},
        emptied=["description"],
    ),
}


def make(name: str) -> dict[str, Any]:
    """Return a blueprint as the editor saves one."""
    plan = PLANS[name]
    template = json.loads((TEMPLATES / f"{plan.template}.json").read_text(encoding="utf-8"))
    titled: dict[str, Node] = {node.get("title", node["type"]): node for node in template["nodes"]}
    for (title, field), outside in plan.fields.items():
        if outside in plan.emptied:
            titled[title]["widgets_values"][_place_of(titled[title], field)] = ""
    inside = _inside(template, plan, titled)
    numbers = count(template["last_link_id"] + 1)
    given = [*_sockets(template, plan, titled, inside), *_fields(plan, titled, numbers)]
    taken = list(_results(plan, titled, numbers))
    links = [_link(*link) for link in template["links"] if link[1] in inside and link[3] in inside]
    links += [link for _, of_slot in [*given, *taken] for link in of_slot]
    _connect(inside, links)
    nodes = list(inside.values())
    left, top = (min(node["pos"][axis] for node in nodes) for axis in (0, 1))
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    inputs, outputs = [_slots(name, slots) for slots in (given, taken)]
    subgraph = {
        "id": _uuid(name),
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": template["last_node_id"],
            "lastLinkId": max(link["id"] for link in links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": INSIDE_OF_INPUTS, "bounding": [left - ROOM, top, WIDTH, ROW * (len(inputs) + 2)]},
        "outputNode": {"id": INSIDE_OF_OUTPUTS, "bounding": [right + ROOM - WIDTH, top, WIDTH, ROW * 3]},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": LOOK,
        "category": plan.category,
        "description": plan.description,
    }
    return {
        "id": _uuid(f"{name}, outside"),
        "revision": 0,
        "last_node_id": template["last_node_id"] + 1,
        "last_link_id": 0,
        "nodes": [_outside(subgraph, plan, titled, template["last_node_id"] + 1)],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": LOOK,
        "version": 0.4,
    }


def _inside(template: dict[str, Any], plan: Blueprint, titled: Mapping[str, Node]) -> dict[int, Node]:
    """Return the nodes between the sources that stay outside and what is made of the outputs, by their ids."""
    sources = {titled[title]["id"] for title, _ in plan.sockets}
    results = {titled[title]["id"] for title, _ in plan.outputs}
    behind = {link[3] for link in template["links"] if link[1] in results}
    left_out = sources | behind | {node["id"] for node in titled.values() if node["type"] == "MarkdownNote"}
    return {node["id"]: node for node in template["nodes"] if node["id"] not in left_out}


def _sockets(
    template: dict[str, Any], plan: Blueprint, titled: Mapping[str, Node], inside: Mapping[int, Node]
) -> Iterator[tuple[str, list[Link]]]:
    for place, ((title, slot), outside) in enumerate(plan.sockets.items()):
        yield (
            outside,
            [
                _link(number, INSIDE_OF_INPUTS, place, target, target_slot, kind)
                for number, origin, origin_slot, target, target_slot, kind in template["links"]
                if (origin, origin_slot) == (titled[title]["id"], slot) and target in inside
            ],
        )


def _fields(plan: Blueprint, titled: Mapping[str, Node], numbers: Iterator[int]) -> Iterator[tuple[str, list[Link]]]:
    for place, ((title, field), outside) in enumerate(plan.fields.items(), len(plan.sockets)):
        node = titled[title]
        slot = next(i for i, each in enumerate(node["inputs"]) if each["name"] == field)
        yield (
            outside,
            [_link(next(numbers), INSIDE_OF_INPUTS, place, node["id"], slot, node["inputs"][slot]["type"])],
        )


def _results(plan: Blueprint, titled: Mapping[str, Node], numbers: Iterator[int]) -> Iterator[tuple[str, list[Link]]]:
    for place, ((title, slot), outside) in enumerate(plan.outputs.items()):
        node = titled[title]
        yield (
            outside,
            [_link(next(numbers), node["id"], slot, INSIDE_OF_OUTPUTS, place, node["outputs"][slot]["type"])],
        )


def _connect(nodes: Mapping[int, Node], links: list[Link]) -> None:
    """Let each slot name its links, and no other."""
    for node in nodes.values():
        for slot, each in enumerate(node["inputs"]):
            found = [link["id"] for link in links if (link["target_id"], link["target_slot"]) == (node["id"], slot)]
            each["link"] = found[0] if found else None
        for slot, each in enumerate(node["outputs"]):
            of_slot = [link["id"] for link in links if (link["origin_id"], link["origin_slot"]) == (node["id"], slot)]
            each["links"] = of_slot


def _slots(name: str, slots: list[tuple[str, list[Link]]]) -> list[dict[str, Any]]:
    return [
        {
            "id": _uuid(f"{name}, {'output' if links[0]['target_id'] == INSIDE_OF_OUTPUTS else 'input'} {outside}"),
            "name": outside,
            "type": links[0]["type"],
            "linkIds": [link["id"] for link in links],
        }
        for outside, links in slots
    ]


def _outside(subgraph: dict[str, Any], plan: Blueprint, titled: Mapping[str, Node], node_id: int) -> Node:
    """Return the node that stands for the subgraph."""
    fields = list(plan.fields.values())
    values = [titled[title]["widgets_values"][_place_of(titled[title], field)] for title, field in plan.fields]
    inputs = [
        {"name": slot["name"], "type": slot["type"], "link": None}
        | ({"widget": {"name": slot["name"]}} if slot["name"] in fields else {})
        for slot in subgraph["inputs"]
    ]
    return {
        "id": node_id,
        "type": subgraph["id"],
        "pos": [0, 0],
        "size": list(SIZE),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": slot["name"], "type": slot["type"], "links": []} for slot in subgraph["outputs"]],
        "title": subgraph["name"],
        "properties": {"proxyWidgets": [["-1", field] for field in fields]},
        "widgets_values": values,
    }


def _place_of(node: Node, field: str) -> int:
    """Return the place of a field among a node's values."""
    widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
    return widgets.index(field)


def _link(number: int, origin: int, origin_slot: int, target: int, target_slot: int, kind: str) -> Link:
    return {
        "id": number,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": kind,
    }


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"comfyui-sega/blueprint/{name}"))


def main() -> None:
    BLUEPRINTS.mkdir(exist_ok=True)
    for name in PLANS:
        (BLUEPRINTS / f"{name}.json").write_text(written(make(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
