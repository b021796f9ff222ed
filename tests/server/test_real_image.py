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
def drawing(server: Any) -> Image.Image:
    """A face without glasses, in the server's input folder."""
    from dev.demo import faces

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
    workflows.demo.set_prompt(workflow, "a face, neutral, brown hair, light skin, blue background")
    return workflow


def test_image_to_image_edits_where_the_concept_is(workflows: Any, pixels: Any, drawing: Image.Image) -> None:
    workflow = of_drawing(workflows, "real_image_img2img")
    edited, unedited = pixels(workflow)[0].astype(float), pixels(workflows.demo.without_concepts(workflow))[0]
    change = np.abs(edited - unedited).mean(-1)
    # The glasses are in the middle of the face.
    assert change[44:84, 24:104].mean() > 3 * change[100:].mean()


def test_a_picture_gets_a_smile_and_keeps_the_rest_to_the_pixel(
    workflows: Any, pixels: Any, drawing: Image.Image
) -> None:
    workflow = of_drawing(workflows, "edit_photo")
    workflow = workflows.changed(workflow, "SEGAConcept", text="smiling", instead_of="neutral")
    edited, picture = pixels(workflow)[0], np.asarray(drawing)
    assert edited.shape == picture.shape
    same = (edited == picture).all(-1)
    # The mouth; the hair and the shirt.
    assert same[80:100, 50:78].mean() < 0.5
    assert same[:40].mean() > 0.95 < same[120:].mean()


def test_without_a_concept_all_of_the_picture_comes_back(workflows: Any, pixels: Any, drawing: Image.Image) -> None:
    plain = workflows.demo.without_concepts(of_drawing(workflows, "edit_photo"))
    # Nothing acted, so nothing is put into the picture.
    assert np.array_equal(pixels(plain)[0], np.asarray(drawing))
    back = workflows.demo.without_composite(plain)
    # What the codec alone makes of it.
    coded = copy.deepcopy(back)
    coded[workflows.only(coded, "VAEDecode")]["inputs"]["samples"] = [workflows.only(coded, "VAEEncode"), 0]
    returned, once = pixels(back)[0].astype(float), pixels(coded)[0].astype(float)
    assert np.abs(returned - once).max() <= 1
    assert np.abs(once - np.asarray(drawing, dtype=float)).mean() < 8
