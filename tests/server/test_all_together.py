"""Masks, a preset, guidance of another run and a preview in one workflow, over the API, saved with its picture."""

from __future__ import annotations

import copy
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.compat("Features", "masks, presets, supplied guidance and previews in one workflow")


def half(left: int) -> dict[str, dict[str, Any]]:
    """Return nodes that make a MASK of 128 by 128 whose half from column `left` on is white; `half <left>` has it."""
    return {
        f"black {left}": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 128, "height": 128}},
        f"white {left}": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 128}},
        f"half {left}": {
            "class_type": "MaskComposite",
            "inputs": {
                "destination": [f"black {left}", 0],
                "source": [f"white {left}", 0],
                "x": left,
                "y": 0,
                "operation": "add",
            },
        },
    }


@pytest.fixture
def workflow(workflows: Any) -> dict[str, Any]:
    """The beard of one run is given to another, with glasses on the left, a preset's smile on the right, a preview."""
    out = workflows.load("first_edit")
    sampler, decode = workflows.only(out, "SEGASampler"), workflows.only(out, "VAEDecode")
    concept = workflows.only(out, "SEGAConcept")
    out["picture"] = out.pop(workflows.only(out, "SaveImage"))
    out |= half(0) | half(64)
    out["first"] = copy.deepcopy(out[sampler])
    out["beard"] = copy.deepcopy(out[concept])
    out["beard"]["inputs"]["text"] = "beard"
    out["first"]["inputs"]["concepts"] = ["beard", 0]
    out[concept]["inputs"] |= {"mask": ["half 0", 0], "attention_threshold": 0.3, "threshold_over": "space"}
    # Everything but the text and the start comes from the preset.
    out["smile"] = {
        "class_type": "SEGAConcept",
        "inputs": {
            "clip": out[concept]["inputs"]["clip"],
            "preset": "smile",
            "text": "smiling",
            "start_percent": 0.1,
            "mask": ["half 64", 0],
        },
    }
    out["stack"] = {
        "class_type": "SEGAConceptStack",
        "inputs": {"concepts.concept_0": [concept, 0], "concepts.concept_1": ["smile", 0]},
    }
    out[sampler]["inputs"] |= {"concepts": ["stack", 0], "guidance": ["first", 1]}
    out["preview"] = {"class_type": "SEGAPreview", "inputs": {"guidance": [sampler, 1], "image": [decode, 0]}}
    out["maps"] = {"class_type": "SaveImage", "inputs": {"images": ["preview", 0], "filename_prefix": "sega/maps"}}
    return out


def files(client: Any, outputs: dict[str, Any], node: str) -> list[Image.Image]:
    return [Image.open(BytesIO(client.image(image))) for image in outputs[node]["images"]]


def pixels(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_everything_acts_in_one_workflow(client: Any, workflow: dict[str, Any], mode: str) -> None:
    for node in workflow.values():
        if node["class_type"] == "SEGASampler":
            node["inputs"]["mode"] = mode
    outputs = client.run(workflow)
    edited = pixels(files(client, outputs, "picture"))
    assert edited.shape == (2, 128, 128, 3)
    for key, name in (("smile", "mask"), ("stack", "concepts.concept_1")):
        without = copy.deepcopy(workflow)
        del without[key]["inputs"][name]
        assert not np.array_equal(pixels(files(client, client.run(without), "picture")), edited)
    # Two concepts on two pictures, and the plot.
    assert len(outputs["maps"]["images"]) == 4
    assert len(outputs["preview"]["images"]) == 5


def test_the_saved_picture_brings_the_workflow_back(client: Any, workflow: dict[str, Any]) -> None:
    first = files(client, client.run(workflow), "picture")
    reloaded = json.loads(first[0].text["prompt"])
    assert reloaded.keys() == workflow.keys()
    client.free()
    again = files(client, client.run(reloaded), "picture")
    assert np.array_equal(pixels(again), pixels(first))
