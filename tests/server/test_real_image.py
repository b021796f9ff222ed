"""The shipped workflows that edit a picture of the user's."""

from __future__ import annotations

import copy
import random
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.compat("Features", "real images: inversion, img2img")


@pytest.fixture(scope="module")
def drawing(server: Any, demo: Any) -> Image.Image:
    """A face without glasses, in the server's input folder."""
    from sega_demo import faces

    rng = random.Random(5)
    face = faces.Face(mouth=0, glasses=0, hat=0, beard=0, hair=1, skin=0, background=0)
    image = faces.draw(face, rng)
    file = BytesIO()
    image.save(file, "PNG")
    server.client().upload("drawing.png", file.getvalue())
    return image


def of_drawing(workflows: Any, name: str) -> dict[str, Any]:
    """Return a shipped workflow, with the drawing and a prompt that says what it shows."""
    workflow = workflows.changed(workflows.demo.load(name), "LoadImage", image="drawing.png")
    workflows.demo.set_prompt(workflow, "a face, brown hair, light skin, blue background")
    return workflow


@pytest.mark.parametrize("name", ["real_image_inversion", "real_image_img2img"])
def test_a_picture_is_edited_where_the_concept_is(workflows: Any, pixels: Any, drawing: Image.Image, name: str) -> None:
    workflow = of_drawing(workflows, name)
    sampler = "SEGAModelPatch" if name == "real_image_inversion" else "SEGASampler"
    plain = copy.deepcopy(workflow)
    del plain[workflows.only(plain, sampler)]["inputs"]["concepts"]
    edited, unedited = pixels(workflow)[0].astype(float), pixels(plain)[0].astype(float)
    assert edited.shape == (128, 128, 3)
    change = np.abs(edited - unedited).mean(-1)
    # The glasses are in the middle of the face.
    assert change[44:84, 24:104].mean() > 3 * change[100:].mean()


def test_without_a_concept_an_inverted_picture_comes_back(workflows: Any, pixels: Any, drawing: Image.Image) -> None:
    workflow = of_drawing(workflows, "real_image_inversion")
    del workflow[workflows.only(workflow, "SEGAModelPatch")]["inputs"]["concepts"]
    # What the codec alone makes of it.
    coded = copy.deepcopy(workflow)
    coded[workflows.only(coded, "VAEDecode")]["inputs"]["samples"] = [workflows.only(coded, "VAEEncode"), 0]
    back, once = pixels(workflow)[0].astype(float), pixels(coded)[0].astype(float)
    assert np.abs(back - once).mean() < 0.2
    assert np.abs(once - np.asarray(drawing, dtype=float)).mean() < 8
