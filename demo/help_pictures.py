"""The pictures of the help pages in `web/docs/`: strips of the demo model's faces, through a real server.

Run it as a module, in the environment and with the variables that noxfile.py gives the demo.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from . import workflows
from .comfy_server import Client, Server, Workflow
from .faces import description, draw, random_face
from .run import EDITS, LOOKS, ROOT, concept, drawing_workflow, face_workflow, progress_bar, run
from .sheet import INK, PAPER

FOLDER = ROOT / "web" / "docs" / "images"
CELL, GAP, MARGIN, HEADER, LETTERS = 256, 10, 14, 66, 44

# Faces that show the effects well: the look of the prompt and the seed.
FACES = ((0, 4), (3, 3))
LIGHT = ((0, 4), (1, 4))
RISING = ((1, 4), (2, 4))
# The look of one prompt, that of another, and the seed of both.
PROMPTS = ((0, 1, 4), (1, 3, 3))
SIDE = (64, 0, 128, 128)
DRAWING_SEED = 7

Column = tuple[str, list[Image.Image]]


class Studio:
    """Makes the columns of a strip on a server."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(self, workflow: Workflow, label: str) -> dict[str, list[Image.Image]]:
        with progress_bar(label) as bar:
            return run(self.client, workflow, bar, 1)

    def faces(
        self,
        concepts: Sequence[dict[str, Any]] = (),
        faces: Sequence[tuple[int, int]] = FACES,
        prompt: str = "a face",
        box: tuple[int, int, int, int] | None = None,
    ) -> list[Image.Image]:
        """Return a picture of each face with these concepts."""
        made = [face_workflow(f"{prompt}, {LOOKS[look]}", concepts, box) for look, _ in faces]
        return self.pictures(made, [seed for _, seed in faces])

    def pictures(self, of_faces: Sequence[Workflow], seeds: Sequence[int]) -> list[Image.Image]:
        """Return the picture that each workflow saves, with its seed."""
        return [
            self.run(one_face(workflow, seed), "face")["SaveImage"][0]
            for workflow, seed in zip(of_faces, seeds, strict=True)
        ]


def one_face(workflow: Workflow, seed: int) -> Workflow:
    workflows.nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = 1
    workflows.nodes_of(workflow, "SEGASampler")[0]["seed"] = seed
    return workflow


def recommended(text: str, direction: str = "add", **changes: Any) -> dict[str, Any]:
    return concept(next(edit for edit in EDITS if (edit.text, edit.direction) == (text, direction)), **changes)


def first_edit(studio: Studio) -> list[Column]:
    return [
        ("no concept", studio.faces()),
        ("glasses", studio.faces([recommended("glasses")])),
        ("hat", studio.faces([recommended("hat")])),
        ("smiling", studio.faces([recommended("smiling")])),
    ]


def several(studio: Studio) -> list[Column]:
    three = [recommended(text) for text in ("glasses", "hat", "smiling")]
    return [
        ("no concept", studio.faces()),
        ("glasses", studio.faces(three[:1])),
        ("all three", studio.faces(three)),
    ]


def strength(studio: Studio) -> list[Column]:
    scales = (0, 1, 12, 60)
    return [
        (f"{scale}", studio.faces([recommended("glasses", guidance_scale=float(scale))], RISING)) for scale in scales
    ]


def threshold(studio: Studio) -> list[Column]:
    background = {"text": "purple background", "direction": "add", "guidance_scale": 8.0, "warmup_steps": 3}
    values = (0.0, 0.8, 0.99)
    return [
        ("no concept", studio.faces(faces=LIGHT)),
        *((f"{value:g}", studio.faces([background | {"threshold": value}], LIGHT)) for value in values),
    ]


def warm_up(studio: Studio) -> list[Column]:
    return [(f"{step}", studio.faces([recommended("hat", warmup_steps=step)])) for step in (0, 3, 6, 12)]


def add_and_remove(studio: Studio) -> list[Column]:
    beard = "a face, beard"
    return [
        ("a face", studio.faces(faces=LIGHT)),
        ("+ beard", studio.faces([recommended("beard")], LIGHT)),
        ("a face, beard", studio.faces(faces=LIGHT, prompt=beard)),
        ("- beard", studio.faces([recommended("beard", "remove")], LIGHT, beard)),
    ]


def mask(studio: Studio) -> list[Column]:
    glasses = recommended("glasses", warmup_steps=5)
    white = Image.new("RGB", (128, 128))
    ImageDraw.Draw(white).rectangle((SIDE[0], SIDE[1], SIDE[2] - 1, SIDE[3] - 1), "white")
    return [
        ("no concept", studio.faces()),
        ("no mask", studio.faces([glasses])),
        ("mask", [white] * len(FACES)),
        ("in the mask", studio.faces([glasses], box=SIDE)),
    ]


def averaged(studio: Studio) -> list[Column]:
    columns = []
    for strength in (0.0, 0.5, 0.75, 1.0):
        of_faces = [averaged_workflow(f"a face, {LOOKS[look]}", "smiling", "frowning", strength) for look, _ in LIGHT]
        columns.append((f"{strength:g}", studio.pictures(of_faces, [seed for _, seed in LIGHT])))
    return columns


def averaged_workflow(prompt: str, to: str, from_: str, strength: float) -> Workflow:
    """Return the first edit with two averaged texts as its concept."""
    settings = recommended("smiling")
    del settings["text"]
    workflow = face_workflow(prompt, [settings])
    (node_id,) = (node_id for node_id, node in workflow.items() if node["class_type"] == "SEGAConcept")
    inputs = workflow[node_id]["inputs"]
    clip = inputs.pop("clip")
    del inputs["text"]
    for name, text in (("to", to), ("from", from_)):
        workflow[name] = {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": clip, "text": text},
            "_meta": {"title": name},
        }
    both = {"conditioning_to": ["to", 0], "conditioning_from": ["from", 0], "conditioning_to_strength": strength}
    workflow["both"] = {"class_type": "ConditioningAverage", "inputs": both, "_meta": {"title": "Both"}}
    workflow[node_id]["class_type"] = "SEGAConceptFromConditioning"
    inputs["conditioning"] = ["both", 0]
    return workflow


def same_guidance(studio: Studio) -> list[Column]:
    columns: list[Column] = [(name, []) for name in ("prompt 1", "glasses", "prompt 2", "same guidance")]
    for number, (look, other, seed) in enumerate(PROMPTS):
        saved, loaded = workflows.load("save_guidance"), workflows.load("load_guidance")
        for workflow, prompt in ((saved, LOOKS[look]), (loaded, LOOKS[other])):
            workflows.node_titled(workflow, "Prompt")["text"] = f"a face, {prompt}"
        workflows.nodes_of(saved, "SEGASaveGuidance")[0]["filename_prefix"] = f"face_{number}"
        file = f"sega/face_{number}_00001_.guidance.safetensors [output]"
        workflows.nodes_of(loaded, "SEGALoadGuidance")[0]["file"] = file
        pictures = [
            *studio.faces(faces=[(look, seed)]),
            *studio.pictures([saved], [seed]),
            *studio.faces(faces=[(other, seed)]),
            *studio.pictures([loaded], [seed]),
        ]
        for (_, images), picture in zip(columns, pictures, strict=True):
            images.append(picture)
    return columns


def real_image(studio: Studio) -> list[Column]:
    rng = random.Random(DRAWING_SEED)
    columns: list[Column] = [(name, []) for name in ("your picture", "no concept", "glasses", "smiling")]
    for _ in FACES:
        face = replace(random_face(rng), glasses=0, hat=0, beard=0, mouth=0)
        drawing = draw(face, rng)
        file = BytesIO()
        drawing.save(file, "PNG")
        studio.client.upload("drawing.png", file.getvalue())
        edits = [drawing_workflow(description(face), text) for text in (None, "glasses", "smiling")]
        pictures = [drawing, *(studio.run(edit, "drawing")["SaveImage"][0] for edit in edits)]
        for (_, images), picture in zip(columns, pictures, strict=True):
            images.append(picture)
    return columns


def preview(studio: Studio) -> Image.Image:
    """Return what SEGA Preview shows of three concepts in one face, beside the face."""
    look, seed = FACES[0]
    three = [recommended(text) for text in ("glasses", "hat", "smiling")]
    workflow = one_face(workflows.with_preview(face_workflow(f"a face, {LOOKS[look]}", three)), seed)
    made = studio.run(workflow, "preview")
    *heat, plot = made["SEGAPreview"]
    shown = [made["SaveImage"][0].resize((CELL, CELL), Image.Resampling.LANCZOS), *heat]
    width = MARGIN * 2 + len(shown) * (CELL + GAP) - GAP
    plot = plot.resize((width - 2 * MARGIN, round(plot.height * (width - 2 * MARGIN) / plot.width)))
    top = MARGIN + max(picture.height for picture in shown) + GAP
    sheet = Image.new("RGB", (width, top + plot.height + MARGIN), PAPER)
    for number, picture in enumerate(shown):
        sheet.paste(picture, (MARGIN + number * (CELL + GAP), MARGIN))
    sheet.paste(plot, (MARGIN, top))
    return sheet


def joined(columns: Sequence[Column]) -> Image.Image:
    """Return the columns side by side under their labels."""
    rows = len(columns[0][1])
    size = (MARGIN * 2 + len(columns) * (CELL + GAP) - GAP, HEADER + rows * (CELL + GAP) - GAP + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    widest = max(pen.textlength(label, ImageFont.load_default(LETTERS)) for label, _ in columns)
    font = ImageFont.load_default(LETTERS * min(1, (CELL - GAP) / widest))
    for number, (label, images) in enumerate(columns):
        left = MARGIN + number * (CELL + GAP)
        pen.text((left + CELL / 2, HEADER / 2), label, INK, font, "mm")
        for row, image in enumerate(images):
            picture = image.resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left, HEADER + row * (CELL + GAP)))
    return sheet


def save(picture: Image.Image, name: str) -> None:
    picture.save(FOLDER / f"{name}.webp", quality=82, method=6)


STRIPS: dict[str, Callable[[Studio], list[Column]]] = {
    "first_edit": first_edit,
    "several": several,
    "strength": strength,
    "threshold": threshold,
    "warm_up": warm_up,
    "add_and_remove": add_and_remove,
    "mask": mask,
    "averaged": averaged,
    "same_guidance": same_guidance,
    "real_image": real_image,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with Server(Path(os.environ["COMFYUI_PATH"]), demo_pack=True) as server:
        studio = Studio(server.client())
        for name, make in STRIPS.items():
            save(joined(make(studio)), name)
        save(preview(studio), "preview")


if __name__ == "__main__":
    main()
