"""The demo's prompts, what it shows of each face, its figures, and the sheet that it draws."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dev.demo import faces, shown, workflows
from dev.demo.measure import Edit, measure
from dev.demo.sheet import Row, contact_sheet


@pytest.mark.parametrize("look", workflows.LOOKS)
def test_a_look_says_what_an_edit_could_change_by_mistake(look: str) -> None:
    said = [workflows.words_for(attribute, look) for attribute in ("hair", "length", "skin", "background")]
    assert ", ".join(said) == look


def test_a_look_says_nothing_of_what_edits_are_about() -> None:
    said = [workflows.words_for(edit.attribute, look) for edit in shown.ADDED for look in workflows.LOOKS]
    assert set(said) == {""}


def test_the_demo_model_is_told_what_it_knows_of_a_shipped_prompt() -> None:
    shipped, known = (
        workflows.prompt_of(load("first_edit_z_image_turbo")) for load in (workflows.shipped, workflows.load)
    )
    assert "young woman at a cafe" in shipped
    assert known == "a face, young"


def test_a_slider_saves_each_of_its_pictures() -> None:
    workflow = workflows.slider_workflow("a face", "hat", seed=3, last=2.0, count=6)
    (saved,) = workflows.nodes_of(workflow, "SaveImage")
    assert workflow[saved["images"][0]]["class_type"] == "RebatchImages"
    assert workflows.nodes_of(workflow, "SEGAStrengths")[0]["count"] == 6


def test_figures_count_the_faces_that_could_show_the_edit() -> None:
    before = {name: [0] * 4 for name in faces.ATTRIBUTES} | {"hat": [0, 0, 0, 1]}
    after = before | {"hat": [1, 1, 0, 0], "hair": [0, 2, 0, 0]}
    added = measure([Edit("hat", "add", "hat", "yes")], before, after)
    assert (added.faces, added.success) == (3, pytest.approx(2 / 3))
    assert (added.kept["hair"], added.kept["beard"]) == (pytest.approx(2 / 3), 1)
    removed = measure([Edit("hat", "remove", "hat", "yes")], before, after)
    assert (removed.faces, removed.success) == (1, 1)
    with pytest.raises(ValueError, match=r"no face has 'yes' \(hat\)"):
        measure([Edit("hat", "remove", "hat", "yes")], before | {"hat": [0] * 4}, after)


class Server:
    """Answers for a ComfyUI. The colour of a picture is its seed, its place in the batch and its concept."""

    def pictures(self, workflow: dict[str, Any], on_event: Any) -> dict[str, list[Image.Image]]:
        concepts = len(workflows.nodes_of(workflow, "SEGAConcept"))
        seed = next((inputs["seed"] for inputs in workflows.nodes_of(workflow, "SEGASampler")), 0)
        batch = next((inputs["batch_size"] for inputs in workflows.nodes_of(workflow, "EmptyLatentImage")), 1)
        made = [Image.new("RGB", (128, 128), (seed, place, 0)) for place in range(batch)]
        # Heat maps have a caption below them, and the plot is the last picture.
        heat = [
            Image.new("RGB", (128, 140), (seed, place, concept))
            for concept in range(1, concepts + 1)
            for place in range(batch)
        ]
        return {"SaveImage": made, "SEGAPreview": [*heat, Image.new("RGB", (256, 64))]}

    def upload(self, name: str, image: bytes) -> None:
        pass


def judged(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return attributes of which every value occurs, so that each edit has faces that could show it."""
    return {name: torch.arange(len(images)) % len(values) for name, values in faces.ATTRIBUTES.items()}


def test_the_demo_shows_the_same_faces_in_each_row_and_where_each_concept_acted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown.classifier, "load", lambda: SimpleNamespace(judge=judged))
    demo = shown.Demo(Server(), shown.SEED, 2)
    edits, control = shown.panels(demo)
    assert [edit for edit, _ in demo.figures] == [*shown.ADDED, *shown.REMOVES, *shown.REPLACED]
    rows = [*edits, *control[: -len(shown.RISING) - shown.DRAWINGS]]
    assert {image.size for row in rows for image in row.images} == {(128, 128)}
    colours = np.array([[image.getpixel((0, 0)) for image in row.images] for row in rows])
    assert (colours[..., :2] == [(shown.SEED + look, place) for look, place in shown.COLUMNS]).all()
    # Several at once: the faces and where each concept acted. In one place: by a mask, by attention, where it acted.
    concepts = np.array([0] * len(edits) + [0, 1, 2, 3, 0, 0, 1])
    assert (colours[..., 2] == concepts[:, None]).all()


def box_of(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return what is in this colour and nothing else: left, top, right, bottom."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(-1))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert len(rows) == (right - left) * (bottom - top)
    return left, top, right, bottom


def test_a_sheet_shows_every_picture_whole_and_in_its_place() -> None:
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    first, second, other = (Image.new("RGB", (128, 128), colour) for colour in (red, green, blue))
    rows = [Row("+ hat", "7 of 8", [first]), Row("- hat", "two\nlines", [second], "A part", ["a caption"])]
    sheet = contact_sheet("A title", "A subtitle", rows, [Row("+ beard", "", [other])], cell=160)
    upper, lower, beside = (box_of(sheet, colour) for colour in (red, green, blue))
    assert {(right - left, bottom - top) for left, top, right, bottom in (upper, lower, beside)} == {(160, 160)}
    assert lower[0] == upper[0]
    # In between are the part's heading and the captions.
    assert lower[1] > upper[3] + 60
    assert beside[0] > upper[2]
    assert beside[1] == upper[1]
