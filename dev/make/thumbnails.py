"""Make the templates' thumbnails: `python -m dev.make.thumbnails [NAME ...]`, as `nox -s pictures` runs it.

Each shows what its template does, on the demo model, and becomes `example_workflows/<name>.jpg`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from ..demo import workflows
from ..demo.drawing import SIZE, described_drawings
from ..demo.faces import CAPTION_START
from ..demo.sheet import above_caption
from ..host.client import Client, Workflow
from ..host.server import DEMO_PACK, PACK, Server

FOLDER = workflows.FOLDER.parent
SIDE, LABEL, LINE = 512, 64, 4
MOST_BYTES = 60_000
# How far down the demo's faces have their eyes, as a rule.
EYES = 64

# For each template the seeds of its faces, and words for how they look.
FACES: dict[str, tuple[Sequence[int], str]] = {
    "first_edit": ([7], "blond hair, long hair, light skin, blue background"),
    "first_edit_sdxl": ([11], "ginger hair, short hair, tan skin, city at night"),
    "first_edit_flux": ([12], "black hair, short hair, tan skin, green background"),
    "first_edit_qwen_image": ([33], "brown hair, long hair, light skin, yellow background"),
    "first_edit_z_image_turbo": ([24], "blond hair, short hair, tan skin, purple background"),
    "first_edit_flux2_klein": ([1], "ginger hair, long hair, light skin, forest"),
    "first_edit_wan_video": ([22], "ginger hair, long hair, light skin, green background"),
    "remove_concept": ([8], "brown hair, short hair, light skin, yellow background"),
    "three_concepts": ([9], "brown hair, short hair, light skin, green background"),
    "four_concept_face": ([2, 3], "ginger hair, short hair, light skin, blue background"),
    "model_patch": ([13, 14], "black hair, short hair, dark skin, yellow background"),
    "mask": ([9], "black hair, long hair, light skin, yellow background"),
    "preview": ([7], "blond hair, short hair, tan skin, purple background"),
    "compare_strengths": ([7], "brown hair, short hair, light skin, blue background"),
    "strength_slider": ([11], "ginger hair, short hair, tan skin, green background"),
    "save_guidance": ([8], "brown hair, short hair, light skin, green background"),
    # The seed must be that of the guidance, and the prompt has a hair colour already.
    "load_guidance": ([8], "long hair, tan skin, beach"),
    "real_image_img2img": ([7], ""),
    "edit_photo": ([7], ""),
}
# The drawing that stands for a user's picture.
DRAWING_SEED = 3
DRAWN = {**workflows.DRAWN, "hat": "no"}


def template(name: str, number: int = 0) -> Workflow:
    """Return a template for the demo model, with the seed of one of its faces and words for how it looks."""
    seeds, look = FACES[name]
    seed, workflow = seeds[number], workflows.load(name)
    for node in workflow.values():
        node["inputs"] |= {key: seed for key in ("seed", "noise_seed") if key in node["inputs"]}
        if node["class_type"] == "SaveVideo":
            (video,) = workflows.nodes_of(workflow, "CreateVideo")
            node |= {"class_type": "SaveImage", "inputs": {"images": video["images"], "filename_prefix": name}}
    if look:
        prompt = workflows.prompt_of(workflow)
        workflows.set_prompt(workflow, prompt.replace(CAPTION_START, f"{CAPTION_START}, {look}"))
    return workflow


def pair(client: Client, name: str, number: int) -> tuple[Image.Image, Image.Image]:
    """Return one of a template's faces without the concepts and with them."""
    workflow = template(name, number)
    before, after = (client.pictures(each)["SaveImage"][0] for each in (workflows.without_concepts(workflow), workflow))
    return before, after


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
    half = (room - LINE) / 2 * images[0].width / SIDE
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        box = (0, EYES - half, image.width, EYES + half)
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
    scale = SIDE / SIZE
    left, top = place["x"] * scale, place["y"] * scale
    box = (left, top, left + size["width"] * scale, top + size["height"] * scale)
    pen = ImageDraw.Draw(picture)
    pen.rectangle(box, outline=(20, 20, 20), width=LINE + 4)
    pen.rectangle(
        tuple(edge + step for edge, step in zip(box, (2, 2, -2, -2), strict=True)), outline="white", width=LINE
    )
    return picture


def compare_strengths(client: Client) -> Image.Image:
    workflow = workflows.without_grid(template("compare_strengths"))
    values = [inputs["value"] for inputs in workflows.nodes_of(workflow, "PrimitiveFloat")]
    return rows(client.pictures(workflow)["SaveImage"], [f"{value:g}" for value in values])


def strength_slider(client: Client) -> Image.Image:
    return columns(client.pictures(workflows.without_grid(template("strength_slider")))["SaveImage"])


def preview(client: Client) -> Image.Image:
    made = client.pictures(template("preview"))
    # The plot is the last picture.
    return grid([*made["SaveImage"], *map(above_caption, made["SEGAPreview"][:-1])])


def mask(client: Client) -> Image.Image:
    workflow = template("mask")
    return outlined(scaled(client.pictures(workflow)["SaveImage"][0]), workflow)


def save_guidance(client: Client) -> Image.Image:
    made = client.pictures(workflows.with_preview(template("save_guidance")))
    return halves(made["SaveImage"][0], above_caption(made["SEGAPreview"][0]))


def load_guidance(client: Client) -> Image.Image:
    outputs = client.run(template("save_guidance"))
    ((file,),) = (output["guidance"] for output in outputs.values() if "guidance" in output)
    load = template("load_guidance")
    workflows.nodes_of(load, "SEGALoadGuidance")[0]["file"] = f"{file['subfolder']}/{file['filename']} [output]"
    plain = copy.deepcopy(load)
    del workflows.nodes_of(plain, "SEGASampler")[0]["guidance"]
    return halves(*(client.pictures(workflow)["SaveImage"][0] for workflow in (plain, load)))


def real_image(client: Client, name: str) -> Image.Image:
    """Show a drawing, which stands for a user's picture, and its edit."""
    ((caption, drawing),) = described_drawings(DRAWING_SEED, 1, **DRAWN)
    workflows.upload_drawing(client, drawing)
    workflow = template(name)
    workflows.set_drawing(workflow, caption)
    return halves(drawing, client.pictures(workflow)["SaveImage"][0])


def faces(client: Client, name: str) -> Image.Image:
    """Show one or two faces without the concepts and with them."""
    pairs = [pair(client, name, number) for number in range(len(FACES[name][0]))]
    return halves(*pairs[0]) if len(pairs) == 1 else grid([*pairs[0], *pairs[1]])


# What is written below each picture.
LABELS = {
    "first_edit": "+ glasses",
    "first_edit_sdxl": "for SDXL",
    "first_edit_flux": "for Flux, cfg 1",
    "first_edit_qwen_image": "for Qwen-Image",
    "first_edit_z_image_turbo": "for Z-Image Turbo, cfg 1",
    "first_edit_flux2_klein": "for FLUX.2 Klein",
    "first_edit_wan_video": "for Wan 2.2 video",
    "remove_concept": "- hat",
    "three_concepts": "+ glasses + hat + smile",
    "four_concept_face": "four concepts at once",
    "model_patch": "any sampler: + glasses",
    "mask": "only in the mask",
    "preview": "where each concept acts",
    "compare_strengths": "strength by strength",
    "strength_slider": "a slider in one run",
    "save_guidance": "save the edit",
    "load_guidance": "reuse the edit",
    "real_image_img2img": "your picture, image to image",
    "edit_photo": "your picture: + glasses",
}
# What draws those that are more than a face without the concepts and with them.
MAKERS: dict[str, Callable[[Client], Image.Image]] = {
    **{
        make.__name__: make
        for make in (compare_strengths, strength_slider, preview, mask, save_guidance, load_guidance)
    },
    **{name: partial(real_image, name=name) for name in ("real_image_img2img", "edit_photo")},
}


def thumbnail(client: Client, name: str) -> Image.Image:
    picture = MAKERS[name](client) if name in MAKERS else faces(client, name)
    return labelled(picture, LABELS[name])


def as_jpeg(picture: Image.Image) -> bytes:
    """Return the file, in the best quality that is small enough."""
    for quality in range(92, 40, -4):
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() < MOST_BYTES:
            break
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    names = parser.parse_args().names or LABELS
    with Server({**PACK, **DEMO_PACK}) as server:
        for name in names:
            (FOLDER / f"{name}.jpg").write_bytes(as_jpeg(thumbnail(server.client(), name)))


if __name__ == "__main__":
    main()
