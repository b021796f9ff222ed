"""The templates in the real editor: each is its API workflow, and nothing lies on top of something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from dev.host.packages import REPO
from support.renderers import CANVAS_FIRST

pytestmark = pytest.mark.compat("Editor", "the templates, each as its API workflow")

FOLDER = REPO / "example_workflows"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))

ALL_DRAWN = '() => app.graph._nodes.every(({ id }) => document.querySelector(`[data-node-id="${id}"]`))'


@pytest.fixture(scope="module")
def defaults(server: Any) -> dict[str, dict[str, Any]]:
    """What the editor fills in where a workflow leaves an input out, by class."""
    return {
        name: {
            key: spec[1]["default"]
            for group in node["input"].values()
            if isinstance(group, dict)
            for key, spec in group.items()
            if len(spec) > 1 and "default" in spec[1] and not spec[1].get("forceInput")
        }
        for name, node in server.client().object_info().items()
    }


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@CANVAS_FIRST
def test_the_editor_turns_each_template_into_its_api_workflow(
    opened: Callable[..., Any], defaults: dict[str, dict[str, Any]], renderer: str
) -> None:
    editor = opened(renderer)
    overlaps = {}
    for name in NAMES:
        editor.load(read(name))
        expected = read(f"api/{name}")
        for node in expected.values():
            node["inputs"] = {**defaults.get(node["class_type"], {}), **node["inputs"]}
        made = editor.api_workflow()
        for node in made.values():
            # Newer editors say there too which pack a node is from.
            node["_meta"] = {"title": node["_meta"]["title"]}
        assert made == expected, name
        if renderer == "nodes2":
            editor.page.wait_for_function(ALL_DRAWN)
        overlaps[name] = editor.overlapping()
    assert overlaps == {name: [] for name in NAMES}


BYPASSED = [
    ("first_edit", "SEGAConcept", "SEGASampler"),
    ("three_concepts", "SEGAConceptStack", "SEGASampler"),
    ("edit_photo", "SEGAConcept", "SEGASamplerCustom"),
]


def test_a_bypassed_concept_or_stack_leaves_the_picture_without_the_edit(opened: Callable[..., Any]) -> None:
    editor = opened()
    for name, class_type, sampler in BYPASSED:
        editor.load(read(name))
        editor.evaluate("(id) => app.canvas.selectNode(app.graph.getNodeById(id))", editor.node(class_type))
        editor.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.ToggleSelectedNodes.Bypass')")
        workflow = editor.api_workflow()
        assert "concepts" not in workflow[str(editor.node(sampler))]["inputs"], name


def test_the_editor_offers_each_missing_file_for_download(opened: Callable[..., Any]) -> None:
    editor = opened(own=True, **{"Comfy.Workflow.ShowMissingModelsWarning": True})
    editor.load(read("first_edit_wan_video"))
    details = editor.page.get_by_role("button", name=re.compile("View details|Show missing models"))
    offer = re.compile(r"^\s*Download( \(\?\))?\s*$")
    offers = editor.page.locator("button").filter(has_text=offer).or_(editor.page.get_by_role("button", name=offer))
    # Older editors list the files at once.
    expect(details.or_(offers.first)).to_be_visible()
    if details.is_visible():
        details.click()
    expect(offers).to_have_count(3)
