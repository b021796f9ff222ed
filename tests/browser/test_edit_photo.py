"""An artist's way to edit a picture: open the template, drop the picture, type a word, run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from dev.host.packages import REPO
from support.faces import CAPTION, as_png, drawn_face
from support.renderers import NODES2_FIRST

# What suits the demo model, by the titles of the template's nodes.
OWN_VALUES = {
    "Scale to the size of the model": {"megapixels": (128 / 1024) ** 2},
    "Prompt": {"value": CAPTION},
}


@pytest.fixture
def drawing(server: Any) -> Image.Image:
    """A picture of the user's; every ComfyUI has the other one, which the template shows at first."""
    drawing = drawn_face()
    server.client().upload("example.png", as_png(drawing))
    return drawing


@pytest.mark.compat("Editor", "from the packed archive to the first edited picture and the help")
@NODES2_FIRST
def test_a_dropped_picture_gets_what_was_typed_and_stays_the_rest(
    opened: Callable[..., Any], server: Any, drawing: Image.Image, renderer: str
) -> None:
    editor = opened(renderer)
    editor.load(json.loads((REPO / "example_workflows" / "edit_photo.json").read_text(encoding="utf-8")))
    editor.use_own_model(OWN_VALUES)
    load, concept, sampler, save = (
        editor.node(kind) for kind in ("LoadImage", "SEGAConcept", "SEGASamplerCustom", "SaveImage")
    )
    editor.show()
    editor.drop(load, "mine.png", as_png(drawing))
    editor.page.wait_for_function(
        "(id) => app.graph.getNodeById(id).widgets.some(({ value }) => String(value).startsWith('mine'))", arg=load
    )
    editor.screenshot(f"edit-photo-1-dropped-{renderer}")
    editor.show(concept)
    editor.type_text(concept, "smiling")
    editor.show()
    expect(editor.view(sampler).get_by_text("smiling")).to_be_visible()
    editor.set_values(concept, instead_of="neutral")
    expect(editor.view(concept).get_by_text("a face, smiling, young, brown")).to_be_visible()
    assert editor.run() == "success"
    editor.screenshot(f"edit-photo-2-edited-{renderer}")

    (edited,) = editor.pictures(save)
    changed = (np.asarray(edited) != np.asarray(drawing)).any(-1)
    # The mouth, and the hair and the shirt.
    assert changed[80:100, 50:78].mean() > 0.5
    assert changed[:40].mean() < 0.05 > changed[120:].mean()
