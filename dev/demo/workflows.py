"""The shipped API-format workflows, for the demo model and with other values put in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image

from ..host.client import Client, Workflow
from ..host.packages import REPO
from .drawing import SIZE
from .faces import CAPTION_START, NAMED, PHRASES

FOLDER = REPO / "example_workflows" / "api"

# What suits the demo model.
STEPS, CFG = 20, 3.5
# Prompts say how a face looks, so that an attribute that an edit changes by mistake was no accident before.
LOOKS = (
    "black hair, short hair, light skin, blue background",
    "ginger hair, long hair, light skin, forest",
    "blond hair, long hair, tan skin, beach",
    "brown hair, short hair, dark skin, yellow background",
)
# What drawings show that stand for a user's pictures, so that there is something to add and something to remove.
DRAWN = {"glasses": "no", "hat": "yes", "beard": "no", "mouth": "neutral", "style": "plain"}
# What the server knows an uploaded drawing by.
DRAWING = "drawing.png"
# Left, top, right, bottom.
Box = tuple[int, int, int, int]
RIGHT_HALF: Box = (SIZE // 2, 0, SIZE, SIZE)

# Nodes that give a model, its text encoder or its VAE, and which output of the demo model takes the place of their
# first one. Those that shift another model's noise levels are among them.
PARTS = {
    **dict.fromkeys(("CheckpointLoaderSimple", "UNETLoader", "ModelSamplingAuraFlow", "ModelSamplingSD3"), 0),
    "CLIPLoader": 1,
    "VAELoader": 2,
}
# Nodes that say how large the pictures are, and inputs that count pixels.
MAKERS_OF_SIZE = {"EmptyLatentImage", "EmptySD3LatentImage", "ImageScale"}
LENGTHS = {"width", "height", "x", "y", "cell_width", "cell_height"}
# Nodes that hold a text, and the input that it is in.
TEXTS = {"PrimitiveStringMultiline": "value", "CLIPTextEncode": "text", "SEGAConcept": "text"}


def shipped(name: str) -> Workflow:
    """Return the workflow `example_workflows/api/<name>.json`, which wants its own model."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def load(name: str) -> Workflow:
    """Return that workflow for the demo model: with its loader, sizes, steps and cfg, and with texts in its words."""
    workflow = shipped(name)
    _put_demo_model_in(workflow)
    widths = [node["inputs"]["width"] for node in workflow.values() if node["class_type"] in MAKERS_OF_SIZE]
    scale = SIZE / widths[0] if widths else 1.0
    for node in workflow.values():
        inputs = node["inputs"]
        field = TEXTS.get(node["class_type"])
        if field and isinstance(inputs[field], str):
            # A text that has none of its words stays.
            inputs[field] = _in_its_words(inputs[field]) or inputs[field]
        inputs |= {length: round(inputs[length] * scale) for length in LENGTHS & inputs.keys()}
        if "megapixels" in inputs:
            inputs["megapixels"] = (SIZE / 1024) ** 2
        if "steps" in inputs:
            inputs["steps"] = STEPS
        # At 1 there is no CFG, and some workflows are about that.
        if inputs.get("cfg", 1) != 1:
            inputs["cfg"] = CFG
    return workflow


def _put_demo_model_in(workflow: Workflow) -> None:
    """Put the demo model in for all parts of another model, with latents and noise levels that fit it."""
    parts = {node_id: PARTS[node["class_type"]] for node_id, node in workflow.items() if node["class_type"] in PARTS}
    model, *others = parts
    for node_id in others:
        del workflow[node_id]
    workflow[model] |= {"class_type": "SEGADemoModel", "inputs": {}}
    for node in workflow.values():
        inputs = node["inputs"]
        for name, value in inputs.items():
            if isinstance(value, list) and value[0] in parts:
                inputs[name] = [model, parts[value[0]] + value[1]]
        if node["class_type"] in ("EmptyFlux2LatentImage", "Wan22ImageToVideoLatent"):
            # The demo model makes single pictures: a batch of them takes the place of a video's frames.
            node |= {
                "class_type": "EmptyLatentImage",
                "inputs": {"width": SIZE, "height": SIZE, "batch_size": inputs["batch_size"]},
            }
        elif node["class_type"] == "Flux2Scheduler":
            node |= {
                "class_type": "BasicScheduler",
                "inputs": {"model": [model, 0], "scheduler": "normal", "steps": inputs["steps"], "denoise": 1.0},
            }


def _in_its_words(text: str) -> str:
    """Say what the text says in the words that the demo model was trained on."""
    said = [phrase for phrase in NAMED if re.search(rf"\b{phrase}\b", text)]
    return ", ".join([CAPTION_START, *said] if "face" in text else said)


def words_for(attribute: str, look: str) -> str:
    """Return what a look says of an attribute; nothing where it says nothing."""
    return next((phrase for phrase in look.split(", ") if phrase in PHRASES[attribute].values()), "")


def nodes_of(workflow: Workflow, class_type: str) -> list[dict[str, Any]]:
    """Return the inputs of every node of a class, in the order of the file."""
    return [node["inputs"] for node in workflow.values() if node["class_type"] == class_type]


def set_prompt(workflow: Workflow, prompt: str) -> None:
    """Put another prompt in: into the node titled Prompt, to which concepts may be connected as well."""
    inputs, name = _prompt_input(workflow)
    inputs[name] = prompt


def prompt_of(workflow: Workflow) -> str:
    """Return the prompt."""
    inputs, name = _prompt_input(workflow)
    return inputs[name]


def _prompt_input(workflow: Workflow) -> tuple[dict[str, Any], str]:
    (node,) = (node for node in workflow.values() if node.get("_meta", {}).get("title") == "Prompt")
    return node["inputs"], TEXTS[node["class_type"]]


def upload_drawing(client: Client, drawing: Image.Image) -> None:
    """Put a drawing, which stands for a user's picture, where `set_drawing` looks for it."""
    file = BytesIO()
    drawing.save(file, "PNG")
    client.upload(DRAWING, file.getvalue())


def set_drawing(workflow: Workflow, caption: str) -> None:
    """Load the uploaded drawing, and say in the prompt what it shows."""
    nodes_of(workflow, "LoadImage")[0]["image"] = DRAWING
    set_prompt(workflow, caption)


def face_workflow(prompt: str, concepts: Sequence[Mapping[str, Any]], box: Box | None = None) -> Workflow:
    """Return the shipped workflow for none, one or three concepts, a node's values each; one may act in a box alone."""
    workflow = load("mask" if box else "three_concepts" if len(concepts) > 1 else "first_edit")
    set_prompt(workflow, prompt)
    if not concepts:
        return without_concepts(workflow)
    for inputs, values in zip(nodes_of(workflow, "SEGAConcept"), concepts, strict=True):
        inputs |= values
    if box:
        left, top, right, bottom = box
        nodes_of(workflow, "SolidMask")[1] |= {"width": right - left, "height": bottom - top}
        nodes_of(workflow, "MaskComposite")[0] |= {"x": left, "y": top}
    return workflow


def slider_workflow(prompt: str, text: str, seed: int, last: float, count: int) -> Workflow:
    """Return the shipped strength slider: one face so many times, from strength 0 to the last."""
    workflow = without_grid(load("strength_slider"))
    set_prompt(workflow, prompt)
    nodes_of(workflow, "SEGAConcept")[0]["text"] = text
    nodes_of(workflow, "SEGAStrengths")[0] |= {"last": last, "count": count}
    nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = count
    nodes_of(workflow, "SEGASampler")[0]["seed"] = seed
    return workflow


def drawing_workflow(caption: str, edit: Mapping[str, Any] | None) -> Workflow:
    """Return the shipped edit of a picture for the uploaded drawing; without an edit all that comes back of it."""
    workflow = load("edit_photo")
    set_drawing(workflow, caption)
    if edit is None:
        return without_composite(without_concepts(workflow))
    nodes_of(workflow, "SEGAConcept")[0].update(edit)
    return workflow


def without_concepts(workflow: Workflow) -> Workflow:
    """Return the workflow with nothing connected to `concepts` of what samples: the plain picture."""
    plain = json.loads(json.dumps(workflow))
    for class_type in ("SEGASampler", "SEGASamplerCustom", "SEGAModelPatch"):
        for inputs in nodes_of(plain, class_type):
            inputs.pop("concepts", None)
    return plain


def without_composite(workflow: Workflow) -> Workflow:
    """Return the workflow saving all that the model made, instead of putting a part of it into the picture given."""
    whole = json.loads(json.dumps(workflow))
    (composite,) = nodes_of(whole, "ImageCompositeMasked")
    nodes_of(whole, "SaveImage")[0]["images"] = composite["source"]
    return whole


def without_grid(workflow: Workflow) -> Workflow:
    """Return the workflow saving its pictures one by one, instead of side by side in one."""
    apart = json.loads(json.dumps(workflow))
    (grid,) = nodes_of(apart, "ImageGrid")
    nodes_of(apart, "SaveImage")[0]["images"] = grid["images"]
    return apart


def with_preview(workflow: Workflow) -> Workflow:
    """Return the workflow with a SEGA Preview of its sampler and its decoded images."""
    ids = {node["class_type"]: node_id for node_id, node in workflow.items()}
    inputs = {"guidance": [ids["SEGASampler"], 1], "image": [ids["VAEDecode"], 0]}
    return {**workflow, "preview": {"class_type": "SEGAPreview", "inputs": inputs}}
