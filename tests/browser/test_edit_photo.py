"""An artist's way to edit a picture: open the template, drop the picture, type a word, run."""

from __future__ import annotations

import json
import random
import urllib.parse
import urllib.request
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from support.packages import REPO

# What suits the demo model, by the titles of the template's nodes.
OWN_VALUES = {
    "Scale to the size of the model": {"width": 128, "height": 128},
    "Prompt": {"value": "a face, neutral, brown hair, light skin, blue background"},
}


@pytest.mark.compat("Editor", "from the packed archive to the first edited picture and the help")
@pytest.mark.parametrize("renderer", ["canvas", "nodes2"])
def test_a_dropped_picture_gets_what_was_typed_and_stays_the_rest(
    opened: Callable[..., Any], server: Any, demo: Any, renderer: str
) -> None:
    from sega_demo import faces

    face = faces.Face(mouth=0, glasses=0, hat=0, beard=0, hair=1, skin=0, background=0)
    drawing, file = faces.draw(face, random.Random(5)), BytesIO()
    drawing.save(file, "PNG")

    # What the template shows at first; every ComfyUI has it.
    server.client().upload("example.png", file.getvalue())
    editor = opened(renderer)
    editor.load(json.loads((REPO / "example_workflows" / "edit_photo.json").read_text(encoding="utf-8")))
    editor.use_own_model(OWN_VALUES)
    load, concept, sampler, save = (
        editor.node(kind) for kind in ("LoadImage", "SEGAConcept", "SEGASamplerCustom", "SaveImage")
    )
    editor.show()
    editor.drop(load, "mine.png", file.getvalue())
    editor.page.wait_for_function(
        "(id) => app.graph.getNodeById(id).widgets.some(({ value }) => String(value).startsWith('mine'))", arg=load
    )
    editor.screenshot(f"edit-photo-1-dropped-{renderer}")
    if renderer == "nodes2":
        editor.drawn(concept).get_by_role("textbox").first.fill("smiling")
    else:
        editor.set_values(concept, text="smiling")
    expect(editor.view(sampler).get_by_text("smiling")).to_be_visible()
    editor.set_values(concept, instead_of="neutral")
    assert editor.run() == "success"
    editor.screenshot(f"edit-photo-2-edited-{renderer}")

    (image,) = editor.outputs(save)["images"]
    with urllib.request.urlopen(f"{server.url}/view?{urllib.parse.urlencode(image)}", timeout=30) as answer:
        edited = np.asarray(Image.open(BytesIO(answer.read())).convert("RGB"))
    changed = (edited != np.asarray(drawing)).any(-1)
    # The mouth, and the hair and the shirt.
    assert changed[80:100, 50:78].mean() > 0.5
    assert changed[:40].mean() < 0.05 > changed[120:].mean()
