"""The shipped API-format workflows, with other values put in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .comfy_server import Workflow

FOLDER = Path(__file__).parent.parent / "example_workflows" / "api"


def load(name: str) -> Workflow:
    """Return the workflow `example_workflows/api/<name>.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def nodes_of(workflow: Workflow, class_type: str) -> list[dict[str, Any]]:
    """Return the inputs of every node of a class, in the order of the file."""
    return [node["inputs"] for node in workflow.values() if node["class_type"] == class_type]


def node_titled(workflow: Workflow, title: str) -> dict[str, Any]:
    """Return the inputs of the node with that title."""
    return next(node["inputs"] for node in workflow.values() if node["_meta"]["title"] == title)


def without_concepts(workflow: Workflow) -> Workflow:
    """Return the workflow with nothing connected to `concepts` of what samples: the plain picture."""
    plain = json.loads(json.dumps(workflow))
    for inputs in [*nodes_of(plain, "SEGASampler"), *nodes_of(plain, "SEGAModelPatch")]:
        inputs.pop("concepts", None)
    return plain


def with_preview(workflow: Workflow) -> Workflow:
    """Return the workflow with a SEGA Preview of its sampler and its decoded images."""
    ids = {node["class_type"]: node_id for node_id, node in workflow.items()}
    inputs = {"guidance": [ids["SEGASampler"], 1], "image": [ids["VAEDecode"], 0]}
    return {**workflow, "preview": {"class_type": "SEGAPreview", "inputs": inputs, "_meta": {"title": "Preview"}}}
