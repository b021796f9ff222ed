"""The demo's prompts, and the sheet that it draws."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dev.demo import workflows
from dev.demo.sheet import Row, contact_sheet


@pytest.mark.parametrize("look", workflows.LOOKS)
def test_a_look_says_what_an_edit_could_change_by_mistake(look: str) -> None:
    said = [workflows.words_for(attribute, look) for attribute in ("hair", "length", "skin", "background")]
    assert ", ".join(said) == look


def test_a_look_says_nothing_of_what_edits_are_about() -> None:
    assert {workflows.words_for("glasses", look) for look in workflows.LOOKS} == {""}


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
