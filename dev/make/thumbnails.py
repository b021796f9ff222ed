"""Make the templates' thumbnails: `python -m dev.make.thumbnails` in the repository's root.

Each shows what its template does, on the demo model, and becomes `example_workflows/<name>.jpg`. Needs COMFYUI_PATH.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from ..demo import faces, workflows
from ..demo.faces import CAPTION_START
from ..host.client import Client, Workflow
from ..host.server import DEMO_PACK, PACK, Server

FOLDER = workflows.FOLDER.parent
SIDE, LABEL, LINE = 512, 64, 4
MOST_BYTES = 60_000
# Where the demo's faces have their eyes: top and bottom.
EYES = (48, 76)


class Studio:
    """Runs the templates on the demo model."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(self, workflow: Workflow, class_type: str = "SaveImage") -> list[Image.Image]:
        """Return the pictures that the nodes of a class show."""
        outputs = self.client.run(workflow)
        files = [
            self.client.image(image)
            for node_id, output in outputs.items()
            if workflow[node_id]["class_type"] == class_type
            for image in output["images"]
        ]
        return [Image.open(BytesIO(file)).convert("RGB") for file in files]

    def pair(self, name: str, seed: int, look: str = "") -> tuple[Image.Image, Image.Image]:
        """Return a template's picture without the concepts and with them."""
        workflow = template(name, seed, look)
        plain = workflows.without_concepts(workflow)
        for node_id in [key for key, node in plain.items() if node["class_type"] == "SEGAPreview"]:
            del plain[node_id]
        return self.run(plain)[0], self.run(workflow)[0]


def template(name: str, seed: int, look: str = "") -> Workflow:
    """Return a template for the demo model, with a seed and words for how the face looks."""
    workflow = workflows.load(name)
    for node in workflow.values():
        for key in ("seed", "noise_seed"):
            if key in node["inputs"]:
                node["inputs"][key] = seed
    if look:
        prompt = workflows.prompt_of(workflow)
        workflows.set_prompt(workflow, prompt.replace(CAPTION_START, f"{CAPTION_START}, {look}"))
    return workflow


def scaled(image: Image.Image, width: int = SIDE, height: int = SIDE) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS)


def halves(before: Image.Image, after: Image.Image) -> Image.Image:
    """Show the left half of one picture and the right half of the other."""
    out = scaled(before)
    out.paste(scaled(after).crop((SIDE // 2, 0, SIDE, SIDE)), (SIDE // 2, 0))
    ImageDraw.Draw(out).rectangle((SIDE // 2 - LINE // 2, 0, SIDE // 2 + LINE // 2 - 1, SIDE), "white")
    return out


def grid(images: Sequence[Image.Image]) -> Image.Image:
    """Show four pictures above the label, two by two, a little of their tops and bottoms left out."""
    out, width, height = Image.new("RGB", (SIDE, SIDE), "white"), (SIDE - LINE) // 2, (SIDE - LABEL - LINE) // 2
    for place, image in enumerate(images):
        cut = image.height * (1 - height / width) / 2
        cell = image.resize((width, height), Image.Resampling.LANCZOS, box=(0, cut, image.width, image.height - cut))
        out.paste(cell, (place % 2 * (width + LINE), place // 2 * (height + LINE)))
    return out


def rows(images: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Show the eyes of faces, one below the other."""
    out, room = Image.new("RGB", (SIDE, SIDE), "white"), (SIDE - LABEL) // len(images)
    middle, half = sum(EYES) / 2, (room - LINE) / 2 * images[0].width / SIDE
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        box = (0, middle - half, image.width, middle + half)
        strip = image.resize((SIDE, room - LINE), Image.Resampling.LANCZOS, box=box)
        write(ImageDraw.Draw(strip), (12, (room - LINE) // 2), label, 30, "lm")
        out.paste(strip, (0, place * room))
    return out


def columns(images: Sequence[Image.Image]) -> Image.Image:
    """Show the middle of pictures above the label, side by side."""
    out, room = Image.new("RGB", (SIDE, SIDE), "white"), SIDE // len(images)
    for place, image in enumerate(images):
        picture = scaled(image, SIDE - LABEL, SIDE - LABEL)
        left = (picture.width - room + LINE) // 2
        out.paste(picture.crop((left, 0, left + room - LINE, picture.height)), (place * room + LINE // 2, 0))
    return out


def write(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, anchor: str) -> None:
    pen.text(place, text, "white", ImageFont.load_default(size), anchor, stroke_width=2, stroke_fill=(20, 20, 20))


def labelled(picture: Image.Image, text: str) -> Image.Image:
    """Write what the template does below the picture."""
    strip = Image.new("RGBA", (SIDE, LABEL), (20, 20, 20, 190))
    out = picture.convert("RGBA")
    out.alpha_composite(strip, (0, SIDE - LABEL))
    write(ImageDraw.Draw(out), (SIDE / 2, SIDE - LABEL / 2), text, 32, "mm")
    return out.convert("RGB")


def outlined(picture: Image.Image, workflow: Workflow) -> Image.Image:
    """Draw the edge of a template's mask."""
    place = workflows.nodes_of(workflow, "MaskComposite")[0]
    size = workflows.nodes_of(workflow, "SolidMask")[1]
    scale = SIDE / faces.SIZE
    left, top = place["x"] * scale, place["y"] * scale
    box = (left, top, left + size["width"] * scale, top + size["height"] * scale)
    pen = ImageDraw.Draw(picture)
    pen.rectangle(box, outline=(20, 20, 20), width=LINE + 4)
    pen.rectangle(
        tuple(edge + step for edge, step in zip(box, (2, 2, -2, -2), strict=True)), outline="white", width=LINE
    )
    return picture


def heat_maps(studio: Studio, workflow: Workflow) -> list[Image.Image]:
    """Return the preview's heat maps, without the captions below them; the plot is the last picture."""
    pictures = studio.run(workflow, "SEGAPreview")[:-1]
    return [picture.crop((0, 0, picture.width, picture.width)) for picture in pictures]


def compare_strengths(studio: Studio) -> Image.Image:
    workflow = template("compare_strengths", 7, "brown hair, light skin, blue background")
    grid_node = workflows.nodes_of(workflow, "ImageGrid")[0]
    workflows.nodes_of(workflow, "SaveImage")[0]["images"] = grid_node["images"]
    values = [inputs["value"] for inputs in workflows.nodes_of(workflow, "PrimitiveFloat")]
    return rows(studio.run(workflow), [f"{value:g}" for value in values])


def strength_slider(studio: Studio) -> Image.Image:
    workflow = template("strength_slider", 11, "ginger hair, tan skin, green background")
    workflows.nodes_of(workflow, "SaveImage")[0]["images"] = workflows.nodes_of(workflow, "RebatchImages")[0]["images"]
    return columns(studio.run(workflow))


def preview(studio: Studio) -> Image.Image:
    workflow = template("preview", 7, "blond hair, tan skin, purple background")
    return grid([*studio.run(workflow), *heat_maps(studio, workflow)])


def mask(studio: Studio) -> Image.Image:
    workflow = template("mask", 9, "black hair, light skin, yellow background")
    return outlined(scaled(studio.run(workflow)[0]), workflow)


def save_guidance(studio: Studio) -> Image.Image:
    workflow = template("save_guidance", 7, "brown hair, light skin, green background")
    (heat,) = heat_maps(studio, workflows.with_preview(workflow))
    return halves(studio.run(workflow)[0], heat)


def load_guidance(studio: Studio) -> Image.Image:
    outputs = studio.client.run(template("save_guidance", 8, "brown hair, light skin, green background"))
    ((file,),) = (output["guidance"] for output in outputs.values() if "guidance" in output)
    load = template("load_guidance", 8)
    workflows.nodes_of(load, "SEGALoadGuidance")[0]["file"] = f"{file['subfolder']}/{file['filename']} [output]"
    plain = copy.deepcopy(load)
    del workflows.nodes_of(plain, "SEGASampler")[0]["guidance"]
    return halves(studio.run(plain)[0], studio.run(load)[0])


def real_image(studio: Studio, name: str) -> Image.Image:
    """Show a drawing, which stands for a user's picture, and its edit."""
    rng = random.Random(3)
    face = replace(faces.random_face(rng), glasses=0, hat=0, beard=0, mouth=0)
    drawing = faces.draw(face, rng)
    workflows.upload_drawing(studio.client, drawing)
    workflow = template(name, 7)
    workflows.set_drawing(workflow, faces.description(face))
    return halves(drawing, studio.run(workflow)[0])


def two_faces(studio: Studio, name: str, seeds: tuple[int, int], look: str) -> Image.Image:
    """Show two faces, one below the other, without the concepts and with them."""
    return grid([picture for seed in seeds for picture in studio.pair(name, seed, look)])


def one_face(studio: Studio, name: str, seed: int, look: str) -> Image.Image:
    return halves(*studio.pair(name, seed, look))


# What is written below each picture, and what draws it.
THUMBNAILS: dict[str, tuple[str, Callable[[Studio], Image.Image]]] = {
    "first_edit": ("+ glasses", lambda s: one_face(s, "first_edit", 7, "blond hair, light skin, blue background")),
    "sdxl_edit": ("for SDXL", lambda s: one_face(s, "sdxl_edit", 11, "ginger hair, tan skin, green background")),
    "flux_edit": ("for Flux, cfg 1", lambda s: one_face(s, "flux_edit", 12, "black hair, tan skin, purple background")),
    "remove_concept": ("- hat", lambda s: one_face(s, "remove_concept", 8, "light skin, yellow background")),
    "three_concepts": (
        "+ glasses + hat + smile",
        lambda s: one_face(s, "three_concepts", 9, "brown hair, light skin, green background"),
    ),
    "four_concept_face": (
        "four concepts at once",
        lambda s: two_faces(s, "four_concept_face", (7, 21), "ginger hair, light skin, blue background"),
    ),
    "model_patch": (
        "any sampler: + glasses",
        lambda s: two_faces(s, "model_patch", (13, 14), "dark skin, black hair, yellow background"),
    ),
    "mask": ("only in the mask", mask),
    "preview": ("where each concept acts", preview),
    "compare_strengths": ("strength by strength", compare_strengths),
    "strength_slider": ("a slider in one run", strength_slider),
    "save_guidance": ("save the edit", save_guidance),
    "load_guidance": ("reuse the edit", load_guidance),
    "real_image_img2img": ("your picture, image to image", lambda s: real_image(s, "real_image_img2img")),
    "edit_photo": ("your picture: + glasses", lambda s: real_image(s, "edit_photo")),
}


def as_jpeg(picture: Image.Image) -> bytes:
    """Return the file, in the best quality that is small enough."""
    for quality in range(92, 40, -4):
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() < MOST_BYTES:
            break
    return file.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    names = parser.parse_args(arguments).names or THUMBNAILS
    with Server({**PACK, **DEMO_PACK}) as server:
        studio = Studio(server.client())
        for name in names:
            label, drawn = THUMBNAILS[name]
            (FOLDER / f"{name}.jpg").write_bytes(as_jpeg(labelled(drawn(studio), label)))


if __name__ == "__main__":
    main()
