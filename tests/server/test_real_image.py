"""The shipped workflows that edit a picture of the user's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from support.faces import CAPTION, drawn_face

pytestmark = pytest.mark.compat("Features", "real images: inversion, img2img")


@pytest.fixture(scope="module")
def drawing(server: Any, workflows: Any) -> np.ndarray:
    """A face without glasses, in the server's input folder."""
    drawing = drawn_face()
    workflows.demo.upload_drawing(server.client(), drawing)
    return np.asarray(drawing)


def of_drawing(workflows: Any, name: str) -> dict[str, Any]:
    workflow = workflows.demo.load(name)
    workflows.demo.set_drawing(workflow, CAPTION)
    return workflow


def test_image_to_image_edits_where_the_concept_is(workflows: Any, pixels: Any, drawing: np.ndarray) -> None:
    workflow = of_drawing(workflows, "real_image_img2img")
    edited, unedited = pixels(workflow)[0].astype(float), pixels(workflows.demo.without_concepts(workflow))[0]
    change = np.abs(edited - unedited).mean(-1)
    # The glasses are in the middle of the face.
    assert change[44:84, 24:104].mean() > 3 * change[100:].mean()


def test_a_picture_gets_a_smile_and_keeps_the_rest_to_the_pixel(
    workflows: Any, pixels: Any, drawing: np.ndarray
) -> None:
    workflow = of_drawing(workflows, "edit_photo")
    edited = pixels(workflows.changed(workflow, "SEGAConcept", text="smiling", instead_of="neutral"))[0]
    assert edited.shape == drawing.shape
    same = (edited == drawing).all(-1)
    # The mouth; the hair and the shirt.
    assert same[80:100, 50:78].mean() < 0.5
    assert same[:40].mean() > 0.95 < same[120:].mean()


def test_without_a_concept_all_of_the_picture_comes_back(workflows: Any, pixels: Any, drawing: np.ndarray) -> None:
    plain = workflows.demo.without_concepts(of_drawing(workflows, "edit_photo"))
    # Nothing acted, so nothing is put into the picture.
    assert np.array_equal(pixels(plain)[0], drawing)
    back = workflows.demo.without_composite(plain)
    # What the codec alone makes of it.
    coded = copy.deepcopy(back)
    coded[workflows.only(coded, "VAEDecode")]["inputs"]["samples"] = [workflows.only(coded, "VAEEncode"), 0]
    returned, once = pixels(back)[0].astype(float), pixels(coded)[0].astype(float)
    assert np.abs(returned - once).max() <= 1
    assert np.abs(once - drawing).mean() < 8
