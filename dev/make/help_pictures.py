"""The pictures of the help pages in `web/docs/`: strips of the demo model's faces, through a real server.

Run it as a module, in the environment and with the variables that noxfile.py gives the demo.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..demo import workflows
from ..demo.faces import description, draw, random_face
from ..demo.run import LOOKS, above_caption, drawing_workflow, face_workflow, progress_bar, run
from ..demo.sheet import INK, PAPER
from ..host.client import Client, Workflow
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server

FOLDER = REPO / "web" / "docs" / "images"
CELL, GAP, MARGIN, HEADER, LETTERS = 256, 10, 14, 66, 44

# Faces that show the effects well: the look of the prompt and the seed.
FACES = ((0, 4), (3, 3))
LIGHT = ((0, 4), (1, 4))
BLACK = ((0, 4), (0, 3))
RISING = ((1, 4), (2, 4))
# The look of one prompt, that of another, and the seed of both.
PROMPTS = ((0, 1, 4), (1, 2, 3))
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
        steps: int = workflows.STEPS,
    ) -> list[Image.Image]:
        """Return a picture of each face with these concepts."""
        made = [face_workflow(f"{prompt}, {LOOKS[look]}", concepts, box) for look, _ in faces]
        for workflow in made:
            workflows.nodes_of(workflow, "SEGASampler")[0]["steps"] = steps
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


def add(text: str, **settings: Any) -> dict[str, Any]:
    """Return a concept; what the settings do not name has its default."""
    return {"text": text, **settings}


def remove(text: str, **settings: Any) -> dict[str, Any]:
    return {"text": text, "direction": "remove", **settings}


def first_edit(studio: Studio) -> list[Column]:
    return [
        ("no concept", studio.faces()),
        *((text, studio.faces([add(text)])) for text in ("glasses", "hat", "smiling")),
    ]


def several(studio: Studio) -> list[Column]:
    three = [add(text) for text in ("glasses", "hat", "smiling")]
    return [
        ("no concept", studio.faces()),
        ("glasses", studio.faces(three[:1])),
        ("all three", studio.faces(three)),
    ]


def strength(studio: Studio) -> list[Column]:
    return [(f"{value:g}", studio.faces([add("glasses", strength=value)], RISING)) for value in (0, 0.5, 1, 2, 4)]


def steps(studio: Studio) -> list[Column]:
    """Return a face without and with the edit, for each number of steps."""
    face = FACES[:1]
    return [
        (f"{count} steps", studio.faces(faces=face, steps=count) + studio.faces([add("glasses")], face, steps=count))
        for count in (4, 8, 20, 50)
    ]


def threshold(studio: Studio) -> list[Column]:
    purple = partial(in_place_of_background, studio, "purple background")
    return [
        ("no concept", studio.faces(faces=LIGHT)),
        *((f"{value:g}", [purple(face, threshold=value) for face in LIGHT]) for value in (0, 0.2, 0.8)),
    ]


def in_place_of_background(studio: Studio, text: str, face: tuple[int, int], **settings: Any) -> Image.Image:
    """Return a face with another background."""
    *_, background = LOOKS[face[0]].split(", ")
    (picture,) = studio.faces([add(text, instead_of=background, **settings)], [face])
    return picture


def start(studio: Studio) -> list[Column]:
    return [(f"{value:g}", studio.faces([add("hat", start_percent=value)])) for value in (0, 0.2, 0.4, 0.6)]


def add_and_remove(studio: Studio) -> list[Column]:
    beard = "a face, beard"
    return [
        ("a face", studio.faces(faces=LIGHT)),
        ("+ beard", studio.faces([add("beard")], LIGHT)),
        ("a face, beard", studio.faces(faces=LIGHT, prompt=beard)),
        ("- beard", studio.faces([remove("beard")], LIGHT, beard)),
    ]


def replaced(studio: Studio) -> list[Column]:
    hair, background = "ginger hair", "purple background"
    return [
        ("no concept", studio.faces(faces=BLACK)),
        (hair, studio.faces([add(hair, instead_of="black hair")], BLACK)),
        (background, [in_place_of_background(studio, background, face) for face in BLACK]),
    ]


def mask(studio: Studio) -> list[Column]:
    glasses = add("glasses")
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
    for share in (0.0, 0.5, 0.75, 1.0):
        of_faces = [averaged_workflow(f"a face, {LOOKS[look]}", "smiling", "frowning", share) for look, _ in LIGHT]
        columns.append((f"{share:g}", studio.pictures(of_faces, [seed for _, seed in LIGHT])))
    return columns


def averaged_workflow(prompt: str, to: str, from_: str, share: float) -> Workflow:
    """Return the first edit with a mixture of two texts as its concept, in comparison with the prompt."""
    workflow = face_workflow(prompt, [])
    sampler = workflows.nodes_of(workflow, "SEGASampler")[0]
    (concept,) = (node for node in workflow.values() if node["class_type"] == "SEGAConcept")
    clip = concept["inputs"]["clip"]
    for name, text in (("to", to), ("from", from_)):
        workflow[name] = {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": clip, "text": f"{prompt}, {text}"},
            "_meta": {"title": name},
        }
    both = {"conditioning_to": ["to", 0], "conditioning_from": ["from", 0], "conditioning_to_strength": share}
    workflow["both"] = {"class_type": "ConditioningAverage", "inputs": both, "_meta": {"title": "Both"}}
    workflow["concept"] = {
        "class_type": "SEGAConceptFromConditioning",
        "inputs": {"conditioning": ["both", 0], "instead_of": sampler["positive"]},
        "_meta": {"title": "Concept"},
    }
    sampler["concepts"] = ["concept", 0]
    return workflow


def same_guidance(studio: Studio) -> list[Column]:
    columns: list[Column] = [(name, []) for name in ("prompt 1", "glasses", "prompt 2", "same guidance")]
    for number, (look, other, seed) in enumerate(PROMPTS):
        saved, loaded = workflows.load("save_guidance"), workflows.load("load_guidance")
        for workflow, prompt in ((saved, LOOKS[look]), (loaded, LOOKS[other])):
            workflows.set_prompt(workflow, f"a face, {prompt}")
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
    edits = {
        "no concept": None,
        "glasses": {"text": "glasses"},
        "smiling": {"text": "smiling", "instead_of": "neutral"},
        "- hat": {"text": "hat", "direction": "remove"},
    }
    columns: list[Column] = [(name, []) for name in ("your picture", *edits)]
    for drawing, caption in drawings(studio):
        pictures = [drawing]
        for edit in edits.values():
            pictures += studio.run(drawing_workflow(caption, edit), "drawing")["SaveImage"]
        for (_, images), picture in zip(columns, pictures, strict=True):
            images.append(picture)
    return columns


def kept(studio: Studio) -> list[Column]:
    columns: list[Column] = [(name, []) for name in ("your picture", "- hat", "where it acted", "the rest kept")]
    for drawing, caption in drawings(studio):
        workflow = drawing_workflow(caption, {"text": "hat", "direction": "remove"})
        (whole,) = studio.run(workflows.without_composite(workflow), "drawing")["SaveImage"]
        made = studio.run(workflow, "drawing")
        pictures = [drawing, whole, above_caption(made["SEGAPreview"][0]), made["SaveImage"][0]]
        for (_, images), picture in zip(columns, pictures, strict=True):
            images.append(picture)
    return columns


def drawings(studio: Studio) -> Iterator[tuple[Image.Image, str]]:
    """Upload drawings, which stand for a user's pictures; yield each with its description."""
    rng = random.Random(DRAWING_SEED)
    for _ in FACES:
        face = replace(random_face(rng), glasses=0, hat=1, beard=0, mouth=0)
        drawing = draw(face, rng)
        workflows.upload_drawing(studio.client, drawing)
        yield drawing, description(face)


def preview(studio: Studio) -> Image.Image:
    """Return what SEGA Preview shows of three concepts in one face, beside the face."""
    look, seed = FACES[0]
    three = [add(text) for text in ("glasses", "hat", "smiling")]
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


STRIPS: dict[str, Callable[[Studio], list[Column]]] = {
    "first_edit": first_edit,
    "several": several,
    "strength": strength,
    "steps": steps,
    "threshold": threshold,
    "start": start,
    "add_and_remove": add_and_remove,
    "replace": replaced,
    "mask": mask,
    "averaged": averaged,
    "same_guidance": same_guidance,
    "real_image": real_image,
    "kept": kept,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*STRIPS, 'preview'])}; default: all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with Server({**PACK, **DEMO_PACK}) as server:
        studio = Studio(server.client())
        for name in options.names or [*STRIPS, "preview"]:
            picture = preview(studio) if name == "preview" else joined(STRIPS[name](studio))
            picture.save(options.folder / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
