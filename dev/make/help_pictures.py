"""The pictures of the help pages in `web/docs/`: strips of the demo model's faces, through a real server.

`python -m dev.make.help_pictures [NAME ...]`, as `nox -s pictures` runs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from ..demo.drawing import SIZE, described_drawings
from ..demo.sheet import INK, PAPER, above_caption
from ..demo.workflows import (
    DRAWN,
    LOOKS,
    RIGHT_HALF,
    STEPS,
    Box,
    drawing_workflow,
    face_workflow,
    load,
    nodes_of,
    set_prompt,
    upload_drawing,
    with_preview,
    without_composite,
    words_for,
)
from ..host.client import Client, Workflow
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server

FOLDER = REPO / "web" / "docs" / "images"
CELL, GAP, MARGIN, HEADER, LETTERS = 256, 10, 14, 66, 44

# Faces that show the effects well: the look of the prompt and the seed.
FACES = ((0, 6), (3, 6))
LIGHT = ((0, 2), (1, 7))
BLACK = ((0, 1), (0, 2))
RISING = ((1, 7), (2, 7))
# The look of one prompt, that of another, and the seed of both.
PROMPTS = ((0, 1, 4), (1, 2, 3))
DRAWING_SEED = 9

Column = tuple[str, list[Image.Image]]


def draw(
    client: Client,
    concepts: Sequence[Mapping[str, Any]] = (),
    faces: Sequence[tuple[int, int]] = FACES,
    prompt: str = "a face",
    box: Box | None = None,
    steps: int = STEPS,
) -> list[Image.Image]:
    """Return a picture of each face with these concepts."""
    made = []
    for look, seed in faces:
        workflow = face_workflow(f"{prompt}, {LOOKS[look]}", concepts, box)
        nodes_of(workflow, "SEGASampler")[0]["steps"] = steps
        made.append(saved(client, one_face(workflow, seed)))
    return made


def saved(client: Client, workflow: Workflow) -> Image.Image:
    """Return the picture that a workflow saves."""
    return client.pictures(workflow)["SaveImage"][0]


def one_face(workflow: Workflow, seed: int) -> Workflow:
    nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = 1
    nodes_of(workflow, "SEGASampler")[0]["seed"] = seed
    return workflow


def add(text: str, **settings: Any) -> dict[str, Any]:
    """Return a concept; what the settings do not name has its default."""
    return {"text": text, **settings}


def remove(text: str) -> dict[str, Any]:
    return {"text": text, "direction": "remove"}


def first_edit(client: Client) -> list[Column]:
    edited = ((text, draw(client, [add(text)])) for text in ("glasses", "hat", "smiling"))
    return [("no concept", draw(client)), *edited]


def several(client: Client) -> list[Column]:
    three = [add(text) for text in ("glasses", "hat", "smiling")]
    return [
        ("no concept", draw(client)),
        ("glasses", draw(client, three[:1])),
        ("all three", draw(client, three)),
    ]


def strength(client: Client) -> list[Column]:
    return [(f"{value:g}", draw(client, [add("glasses", strength=value)], RISING)) for value in (0, 0.5, 1, 2, 4)]


def steps(client: Client) -> list[Column]:
    """Return a face without and with the edit, for each number of steps."""
    face = FACES[:1]
    return [
        (f"{count} steps", draw(client, faces=face, steps=count) + draw(client, [add("glasses")], face, steps=count))
        for count in (4, 8, 20, 50)
    ]


def threshold(client: Client) -> list[Column]:
    return [
        ("no concept", draw(client, faces=LIGHT)),
        *(
            (f"{value:g}", on_background(client, "purple background", LIGHT, threshold=value))
            for value in (0, 0.2, 0.8)
        ),
    ]


def on_background(client: Client, text: str, faces: Sequence[tuple[int, int]], **settings: Any) -> list[Image.Image]:
    """Return faces with another background."""
    concepts = [add(text, instead_of=words_for("background", LOOKS[look]), **settings) for look, _ in faces]
    return [draw(client, [concept], [face])[0] for concept, face in zip(concepts, faces, strict=True)]


def start(client: Client) -> list[Column]:
    return [(f"{value:g}", draw(client, [add("hat", start_percent=value)])) for value in (0.05, 0.2, 0.4, 0.6)]


def add_and_remove(client: Client) -> list[Column]:
    beard = "a face, beard"
    return [
        ("a face", draw(client)),
        ("+ beard", draw(client, [add("beard")])),
        ("a face, beard", draw(client, prompt=beard)),
        ("- beard", draw(client, [remove("beard")], prompt=beard)),
    ]


def replace(client: Client) -> list[Column]:
    hair, background = "ginger hair", "purple background"
    return [
        ("no concept", draw(client, faces=BLACK)),
        (hair, draw(client, [add(hair, instead_of="black hair")], BLACK)),
        (background, on_background(client, background, BLACK)),
    ]


def mask(client: Client) -> list[Column]:
    glasses = add("glasses")
    white = Image.new("RGB", (SIZE, SIZE))
    white.paste("white", RIGHT_HALF)
    return [
        ("no concept", draw(client)),
        ("no mask", draw(client, [glasses])),
        ("mask", [white] * len(FACES)),
        ("in the mask", draw(client, [glasses], box=RIGHT_HALF)),
    ]


def averaged(client: Client) -> list[Column]:
    return [
        (f"{share:g}", [saved(client, one_face(averaged_workflow(look, share), seed)) for look, seed in LIGHT])
        for share in (0.0, 0.5, 0.75, 1.0)
    ]


def averaged_workflow(look: int, share: float) -> Workflow:
    """Return the first edit with a mixture of two texts as its concept, in comparison with the prompt."""
    prompt = f"a face, {LOOKS[look]}"
    workflow = face_workflow(prompt, [])
    sampler = nodes_of(workflow, "SEGASampler")[0]
    clip = nodes_of(workflow, "SEGAConcept")[0]["clip"]

    def put(name: str, class_type: str, **inputs: Any) -> None:
        workflow[name] = {"class_type": class_type, "inputs": inputs}

    put("to", "CLIPTextEncode", clip=clip, text=f"{prompt}, smiling")
    put("from", "CLIPTextEncode", clip=clip, text=f"{prompt}, frowning")
    both = {"conditioning_to": ["to", 0], "conditioning_from": ["from", 0], "conditioning_to_strength": share}
    put("both", "ConditioningAverage", **both)
    put("concept", "SEGAConceptFromConditioning", conditioning=["both", 0], instead_of=sampler["positive"])
    sampler["concepts"] = ["concept", 0]
    return workflow


def columns(labels: Sequence[str], rows: Sequence[Sequence[Image.Image]]) -> list[Column]:
    """Return the columns of pictures that were made row by row."""
    return [(label, list(images)) for label, *images in zip(labels, *rows, strict=True)]


def same_guidance(client: Client) -> list[Column]:
    rows = []
    for number, (look, other, seed) in enumerate(PROMPTS):
        save, reuse = load("save_guidance"), load("load_guidance")
        for workflow, prompt in ((save, LOOKS[look]), (reuse, LOOKS[other])):
            set_prompt(workflow, f"a face, {prompt}")
        nodes_of(save, "SEGASaveGuidance")[0]["filename_prefix"] = f"face_{number}"
        file = f"sega/face_{number}_00001_.guidance.safetensors [output]"
        nodes_of(reuse, "SEGALoadGuidance")[0]["file"] = file
        made = [saved(client, one_face(workflow, seed)) for workflow in (save, reuse)]
        plain = draw(client, faces=[(look, seed), (other, seed)])
        rows.append([plain[0], made[0], plain[1], made[1]])
    return columns(("prompt 1", "glasses", "prompt 2", "same guidance"), rows)


def real_image(client: Client) -> list[Column]:
    edits = {
        "no concept": None,
        "glasses": add("glasses"),
        "smiling": add("smiling", instead_of="neutral"),
        "- hat": remove("hat"),
    }
    rows = [
        [drawing, *(saved(client, drawing_workflow(caption, edit)) for edit in edits.values())]
        for caption, drawing in drawings(client)
    ]
    return columns(("your picture", *edits), rows)


def kept(client: Client) -> list[Column]:
    rows = []
    for caption, drawing in drawings(client):
        workflow = drawing_workflow(caption, remove("hat"))
        whole = saved(client, without_composite(workflow))
        made = client.pictures(workflow)
        rows.append([drawing, whole, above_caption(made["SEGAPreview"][0]), made["SaveImage"][0]])
    return columns(("your picture", "- hat", "where it acted", "the rest kept"), rows)


def drawings(client: Client) -> Iterator[tuple[str, Image.Image]]:
    """Upload drawings, which stand for a user's pictures; yield each with its description."""
    for caption, drawing in described_drawings(DRAWING_SEED, len(FACES), **DRAWN):
        upload_drawing(client, drawing)
        yield caption, drawing


def preview(client: Client) -> Image.Image:
    """Return what SEGA Preview shows of three concepts in one face, beside the face."""
    look, seed = FACES[0]
    three = [add(text) for text in ("glasses", "hat", "smiling")]
    workflow = with_preview(face_workflow(f"a face, {LOOKS[look]}", three))
    made = client.pictures(one_face(workflow, seed))
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


def joined(strip: Sequence[Column]) -> Image.Image:
    """Return the columns side by side under their labels."""
    rows = len(strip[0][1])
    size = (MARGIN * 2 + len(strip) * (CELL + GAP) - GAP, HEADER + rows * (CELL + GAP) - GAP + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    widest = max(pen.textlength(label, ImageFont.load_default(LETTERS)) for label, _ in strip)
    font = ImageFont.load_default(LETTERS * min(1, (CELL - GAP) / widest))
    for number, (label, images) in enumerate(strip):
        left = MARGIN + number * (CELL + GAP)
        pen.text((left + CELL / 2, HEADER / 2), label, INK, font, "mm")
        for row, image in enumerate(images):
            picture = image.resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left, HEADER + row * (CELL + GAP)))
    return sheet


STRIPS = (first_edit, several, strength, steps, threshold, start, add_and_remove, replace, mask, averaged)
STRIPS += (same_guidance, real_image, kept)
PICTURES: dict[str, Callable[[Client], Image.Image]] = {
    **{make.__name__: lambda client, make=make: joined(make(client)) for make in STRIPS},
    "preview": preview,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; default: all")
    names = parser.parse_args().names or PICTURES
    with Server({**PACK, **DEMO_PACK}) as server:
        for name in tqdm(names):
            PICTURES[name](server.client()).save(FOLDER / f"{name}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
