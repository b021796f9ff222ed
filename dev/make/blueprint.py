"""Make the subgraph blueprint of the template edit_photo: `python -m dev.make.blueprint`, as `nox -s pictures` runs it.

What is between the loader, the picture and the saving becomes one node of the editor, with the fields that a user
changes on its outside.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from itertools import count
from typing import Any

from .templates import TEMPLATES, written

NAME, TEMPLATE = "Edit Picture (SEGA)", "edit_photo"
FILE = TEMPLATES.parent / "subgraphs" / f"{NAME}.json"

# What the new node calls what goes in and comes out: outputs of the nodes that stay outside, fields of nodes, and an
# output. Nodes are known by their titles, or their class where they have none.
SOCKETS = {
    ("Your picture", 0): "image",
    ("Checkpoint", 0): "model",
    ("Checkpoint", 1): "clip",
    ("Checkpoint", 2): "vae",
}
FIELDS = {
    ("Prompt", "value"): "description",
    ("SEGAConcept", "text"): "text",
    ("SEGAConcept", "direction"): "direction",
    ("SEGAConcept", "strength"): "strength",
}
RESULT, RESULT_NAME = "Keep the rest to the pixel", "image"

# The editor's own numbers for the outside of a subgraph.
INSIDE_OF_INPUTS, INSIDE_OF_OUTPUTS = -10, -20
ROW, ROOM, WIDTH = 20, 200, 120
SIZE = [400, 420]
LOOK = {"workflowRendererVersion": "LG"}

Json = dict[str, Any]


def make() -> Json:
    """Return the blueprint as the editor saves one."""
    template = json.loads((TEMPLATES / f"{TEMPLATE}.json").read_text(encoding="utf-8"))
    titled: dict[str, Json] = {node.get("title", node["type"]): node for node in template["nodes"]}
    titled["Prompt"]["widgets_values"][_widget(titled["Prompt"], "value")] = ""
    nodes = _inside(template, titled)
    links = [_link(*link) for link in template["links"] if link[1] in nodes and link[3] in nodes]
    numbers = count(template["last_link_id"] + 1)

    inputs = []
    for (title, slot), name in SOCKETS.items():
        place = len(inputs)
        into = [
            _link(number, INSIDE_OF_INPUTS, place, target, target_slot, kind)
            for number, origin, origin_slot, target, target_slot, kind in template["links"]
            if (origin, origin_slot) == (titled[title]["id"], slot) and target in nodes
        ]
        inputs.append(_slot("input", name, into))
        links += into
    for (title, field), name in FIELDS.items():
        node = titled[title]
        slot = [each["name"] for each in node["inputs"]].index(field)
        link = _link(next(numbers), INSIDE_OF_INPUTS, len(inputs), node["id"], slot, node["inputs"][slot]["type"])
        inputs.append(_slot("input", name, [link]))
        links.append(link)
    result = titled[RESULT]
    out = _link(next(numbers), result["id"], 0, INSIDE_OF_OUTPUTS, 0, result["outputs"][0]["type"])
    links.append(out)
    _connect(nodes.values(), links)

    left, top = (min(node["pos"][axis] for node in nodes.values()) for axis in (0, 1))
    right = max(node["pos"][0] + node["size"][0] for node in nodes.values())
    subgraph = {
        "id": _uuid(NAME),
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": template["last_node_id"],
            "lastLinkId": max(link["id"] for link in links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": NAME,
        "inputNode": {"id": INSIDE_OF_INPUTS, "bounding": [left - ROOM, top, WIDTH, ROW * (len(inputs) + 2)]},
        "outputNode": {"id": INSIDE_OF_OUTPUTS, "bounding": [right + ROOM - WIDTH, top, WIDTH, ROW * 3]},
        "inputs": inputs,
        "outputs": [_slot("output", RESULT_NAME, [out])],
        "widgets": [],
        "nodes": list(nodes.values()),
        "groups": [],
        "links": links,
        "extra": LOOK,
        "category": "Image generation and editing/Edit image",
        "description": "Adds a concept to your own picture, or removes it, and keeps the rest to the pixel.",
    }
    return {
        "id": _uuid(f"{NAME}, outside"),
        "revision": 0,
        "last_node_id": template["last_node_id"] + 1,
        "last_link_id": 0,
        "nodes": [_outside(subgraph, titled, template["last_node_id"] + 1)],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": LOOK,
        "version": 0.4,
    }


def _inside(template: Json, titled: Json) -> dict[int, Json]:
    """Return the nodes between the sources that stay outside and what is made of the result, by their ids."""
    left_out = {titled[title]["id"] for title, _ in SOCKETS}
    left_out |= {link[3] for link in template["links"] if link[1] == titled[RESULT]["id"]}
    left_out |= {node["id"] for node in template["nodes"] if node["type"] == "MarkdownNote"}
    return {node["id"]: node for node in template["nodes"] if node["id"] not in left_out}


def _connect(nodes: Iterable[Json], links: list[Json]) -> None:
    """Let each slot name its links, and no other."""
    for node in nodes:
        for slot, each in enumerate(node["inputs"]):
            found = [link["id"] for link in links if (link["target_id"], link["target_slot"]) == (node["id"], slot)]
            each["link"] = found[0] if found else None
        for slot, each in enumerate(node["outputs"]):
            ends = (node["id"], slot)
            each["links"] = [link["id"] for link in links if (link["origin_id"], link["origin_slot"]) == ends]


def _slot(side: str, name: str, links: list[Json]) -> Json:
    number = _uuid(f"{NAME}, {side} {name}")
    return {"id": number, "name": name, "type": links[0]["type"], "linkIds": [link["id"] for link in links]}


def _outside(subgraph: Json, titled: Json, node_id: int) -> Json:
    """Return the node that stands for the subgraph."""
    inputs = [
        {"name": slot["name"], "type": slot["type"], "link": None}
        | ({"widget": {"name": slot["name"]}} if slot["name"] in FIELDS.values() else {})
        for slot in subgraph["inputs"]
    ]
    return {
        "id": node_id,
        "type": subgraph["id"],
        "pos": [0, 0],
        "size": SIZE,
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": slot["name"], "type": slot["type"], "links": []} for slot in subgraph["outputs"]],
        "title": NAME,
        "properties": {"proxyWidgets": [["-1", field] for field in FIELDS.values()]},
        "widgets_values": [titled[title]["widgets_values"][_widget(titled[title], field)] for title, field in FIELDS],
    }


def _widget(node: Json, field: str) -> int:
    """Return the place of a field among a node's values."""
    return [slot["name"] for slot in node["inputs"] if "widget" in slot].index(field)


def _link(number: int, origin: int, origin_slot: int, target: int, target_slot: int, kind: str) -> Json:
    return {
        "id": number,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": kind,
    }


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"semantic-guidance/blueprint/{name}"))


def main() -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(written(make()), encoding="utf-8")


if __name__ == "__main__":
    main()
