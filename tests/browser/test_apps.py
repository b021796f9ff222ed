"""The templates that open as apps, on a screen as small as a phone's: a form, a button, the picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from dev.host.packages import REPO
from support.faces import CAPTION, as_png, drawn_face, judged

pytestmark = pytest.mark.compat("Editor", "first_edit and edit_photo as apps")

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def workflow() -> dict[str, Any]:
    """The template edit_photo with the demo model in the place of its checkpoint."""
    graph = json.loads((REPO / "example_workflows" / "edit_photo.json").read_text(encoding="utf-8"))
    nodes = {node["type"]: node for node in graph["nodes"]}
    nodes["CheckpointLoaderSimple"].update(type="SEGADemoModel", inputs=[], widgets_values=[], properties={})
    scale = nodes["ImageScaleToTotalPixels"]
    widgets = [slot["name"] for slot in scale["inputs"] if "widget" in slot]
    scale["widgets_values"][widgets.index("megapixels")] = (128 / 1024) ** 2
    return graph


def test_an_artist_edits_a_picture_on_a_phone(
    opened: Callable[..., Any], server: Any, workflow: dict[str, Any]
) -> None:
    drawing = drawn_face()
    server.client().upload("example.png", as_png(drawing))
    editor = opened("nodes2", own=True)
    page, form = editor.page, editor.app_fields
    page.set_viewport_size(PHONE)
    editor.load_as_saved(workflow)
    expect(form).to_be_attached()
    if not page.get_by_text("Edit & Run").is_visible():
        pytest.skip("ComfyUI's editor has no apps that fit a phone")
    page.get_by_text("Edit & Run").click()
    mine = {"name": "mine.png", "mimeType": "image/png", "buffer": as_png(drawing)}
    form.locator("input[type=file]").set_input_files(mine)
    expect(form.get_by_text("mine.png")).to_be_visible()
    for place, words in enumerate(["hat", CAPTION]):
        form.get_by_role("textbox").nth(place).fill(words)
    editor.screenshot("app-phone-1-form")
    page.get_by_role("button", name="Run", exact=True).click()
    save = editor.node("SaveImage")
    page.wait_for_function("(id) => app.nodeOutputs[id]?.images", arg=save)
    (image,) = editor.outputs(save)["images"]
    page.get_by_text("Outputs", exact=True).click()
    picture = page.locator(f"img[src*='{image['filename']}']:visible").first
    picture.evaluate("async (image) => { await image.decode() }")
    editor.screenshot("app-phone-2-picture")

    (edited,) = editor.pictures(save)
    before, after = judged([drawing]), judged([edited])
    assert after == {**before, "hat": ["yes"]} != before
    change = np.abs(np.asarray(edited, float) - np.asarray(drawing, float)).mean((1, 2))
    assert change[:50].mean() > 3 * change[70:].mean()
