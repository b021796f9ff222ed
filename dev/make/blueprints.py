"""Make the subgraph blueprints out of templates: `python -m dev.make.blueprints`, as `nox -s pictures` runs it.

In the real editor, what is between a template's loader and its last pictures becomes one node, with what a user changes
on its outside. What the editor then saves becomes `subgraphs/<name>.json`. Needs COMFYUI_PATH and Chromium.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from .templates import TEMPLATES, cleaned, editor, written

FOLDER = TEMPLATES.parent / "subgraphs"
MAKE = Path(__file__).with_name("blueprints.js").read_text(encoding="utf-8")

# An output of a template's node, a field of one, and a field with another value: nodes are known by their ids.
Socket = tuple[int, int]
Field = tuple[int, str] | tuple[int, str, Any]

LOADER: Mapping[str, Socket] = {"model": (1, 0), "clip": (1, 1), "vae": (1, 2)}


@dataclass(frozen=True)
class Blueprint:
    """What becomes one node.

    Args:
        template: the workflow that it is made of.
        outside: ids of the nodes that are left out.
        sockets: what is connected to the new node.
        fields: what a user changes on it.
        height: of the node, in pixels.
        category: in the node library, below the blueprints.
        description: what it does, in a sentence.
        search_aliases: words by which it is found too.
    """

    template: str
    outside: Sequence[int]
    sockets: Mapping[str, Socket]
    fields: Mapping[str, Field]
    height: int
    category: str
    description: str
    search_aliases: Sequence[str]


BLUEPRINTS = {
    "Edit with a Concept (SEGA)": Blueprint(
        "first_edit",
        [1, 8, 10],
        LOADER,
        {
            "prompt": (9, "value"),
            "text": (5, "text"),
            "direction": (5, "direction"),
            "strength": (5, "strength"),
            "width": (4, "width"),
            "height": (4, "height"),
            "seed": (6, "seed"),
            "steps": (6, "steps"),
            "cfg": (6, "cfg"),
        },
        460,
        "Image generation and editing/Text to image",
        "Makes a picture from a prompt and adds one concept to it, or removes it. The rest stays.",
        ["semantic guidance", "text to image", "add", "remove"],
    ),
    "Several Concepts (SEGA)": Blueprint(
        "three_concepts",
        [1, 11, 13],
        LOADER,
        {
            "prompt": (12, "value"),
            "text_1": (5, "text"),
            "strength_1": (5, "strength"),
            "text_2": (6, "text"),
            "strength_2": (6, "strength"),
            "text_3": (7, "text"),
            "strength_3": (7, "strength"),
            "width": (4, "width"),
            "height": (4, "height"),
            "seed": (9, "seed"),
            "steps": (9, "steps"),
            "cfg": (9, "cfg"),
        },
        640,
        "Image generation and editing/Text to image",
        "Makes a picture from a prompt and adds three concepts to it, each with its own strength.",
        ["semantic guidance", "text to image", "multiple concepts"],
    ),
    "Edit Picture (SEGA)": Blueprint(
        "edit_photo",
        [1, 2, 14, 15],
        {"image": (2, 0), **LOADER},
        {
            "description": (5, "value", ""),
            "text": (8, "text"),
            "direction": (8, "direction"),
            "strength": (8, "strength"),
        },
        420,
        "Image generation and editing/Edit image",
        "Adds a concept to your own picture, or removes it, and keeps the rest to the pixel.",
        ["semantic guidance", "edit photo", "real image", "inversion"],
    ),
}
WIDTH = 400


def make(page: Page, name: str) -> dict[str, Any]:
    """Return the blueprint as the editor saves one."""
    blueprint = BLUEPRINTS[name]
    template = json.loads((TEMPLATES / f"{blueprint.template}.json").read_text(encoding="utf-8"))
    wanted = {
        "template": template,
        "name": name,
        "outside": blueprint.outside,
        "sockets": blueprint.sockets,
        "fields": {label: [*field, None][:3] for label, field in blueprint.fields.items()},
        "size": [WIDTH, blueprint.height],
    }
    graph = cleaned(json.loads(page.evaluate(MAKE, wanted)))
    (subgraph,) = graph["definitions"]["subgraphs"]
    subgraph |= {"category": blueprint.category, "description": blueprint.description}
    graph["extra"] = {"workflowRendererVersion": "LG", "BlueprintSearchAliases": list(blueprint.search_aliases)}
    return _with_lasting_ids(graph, name)


def _with_lasting_ids(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the graph with the same unique ids each time that it is made."""
    text = json.dumps(graph)
    found = dict.fromkeys(re.findall(r'"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"', text))
    for place, old in enumerate(found):
        text = text.replace(old, str(uuid.uuid5(uuid.NAMESPACE_URL, f"semantic-guidance/blueprint/{name}/{place}")))
    return json.loads(text)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with editor() as new_page:
        for name in BLUEPRINTS:
            page = new_page()
            (FOLDER / f"{name}.json").write_text(written(make(page, name)), encoding="utf-8")
            page.close()


if __name__ == "__main__":
    main()
