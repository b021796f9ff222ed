"""Make the templates' thumbnails: `python -m dev.make.thumbnails [NAME ...]`, as `nox -s pictures` runs it.

Each shows what its template does, on the demo model, and becomes `example_workflows/<name>.jpg`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from ..demo import faces, workflows
from ..demo.run import above_caption
from ..host.client import Client, Workflow
from ..host.server import DEMO_PACK, PACK, Server

FOLDER = workflows.FOLDER.parent
SIDE, LABEL, LINE = 512, 64, 4
MOST_BYTES = 60_000
# Where the demo's faces have their eyes: top and bottom.
EYES = (48, 76)


def template(name: str, seed: int, look: str = "") -> Workflow:
    """Return a template for the demo model, with a seed and words for how the face looks."""
    workflow = workflows.load(name)
    for node in workflow.values():
        node["inputs"] |= {key: seed for key in ("seed", "noise_seed") if key in node["inputs"]}
        if node["class_type"] == "SaveVideo":
            (video,) = workflows.nodes_of(workflow, "CreateVideo")
            node |= {"class_type": "SaveImage", "inputs": {"images": video["images"], "filename_prefix": name}}
    if look:
        prompt = workflows.prompt_of(workflow)
        workflows.set_prompt(workflow, prompt.replace(faces.CAPTION_START, f"{faces.CAPTION_START}, {look}"))
    return workflow


def pair(client: Client, name: str, seed: int, look: str) -> tuple[Image.Image, Image.Image]:
    """Return a template's picture without the concepts and with them."""
    workflow = template(name, seed, look)
    plain = {
        node_id: node
        for node_id, node in workflows.without_concepts(workflow).items()
        if node["class_type"] != "SEGAPreview"
    }
    before, after = (client.pictures(each)["SaveImage"][0] for each in (plain, workflow))
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


def compare_strengths(client: Client) -> Image.Image:
    workflow = template("compare_strengths", 7, "brown hair, light skin, blue background")
    saved, grid_node = (workflows.nodes_of(workflow, name)[0] for name in ("SaveImage", "ImageGrid"))
    saved["images"] = grid_node["images"]
    values = [inputs["value"] for inputs in workflows.nodes_of(workflow, "PrimitiveFloat")]
    return rows(client.pictures(workflow)["SaveImage"], [f"{value:g}" for value in values])


def strength_slider(client: Client) -> Image.Image:
    workflow = template("strength_slider", 11, "ginger hair, tan skin, green background")
    workflows.nodes_of(workflow, "SaveImage")[0]["images"] = workflows.nodes_of(workflow, "RebatchImages")[0]["images"]
    return columns(client.pictures(workflow)["SaveImage"])


def preview(client: Client) -> Image.Image:
    made = client.pictures(template("preview", 7, "blond hair, tan skin, purple background"))
    # The plot is the last picture.
    return grid([*made["SaveImage"], *map(above_caption, made["SEGAPreview"][:-1])])


def mask(client: Client) -> Image.Image:
    workflow = template("mask", 9, "black hair, light skin, yellow background")
    return outlined(scaled(client.pictures(workflow)["SaveImage"][0]), workflow)


def save_guidance(client: Client) -> Image.Image:
    workflow = template("save_guidance", 7, "brown hair, light skin, green background")
    made = client.pictures(workflows.with_preview(workflow))
    return halves(made["SaveImage"][0], above_caption(made["SEGAPreview"][0]))


def load_guidance(client: Client) -> Image.Image:
    outputs = client.run(template("save_guidance", 8, "brown hair, light skin, green background"))
    ((file,),) = (output["guidance"] for output in outputs.values() if "guidance" in output)
    load = template("load_guidance", 8)
    workflows.nodes_of(load, "SEGALoadGuidance")[0]["file"] = f"{file['subfolder']}/{file['filename']} [output]"
    plain = copy.deepcopy(load)
    del workflows.nodes_of(plain, "SEGASampler")[0]["guidance"]
    return halves(*(client.pictures(workflow)["SaveImage"][0] for workflow in (plain, load)))


def real_image(client: Client, name: str) -> Image.Image:
    """Show a drawing, which stands for a user's picture, and its edit."""
    ((caption, drawing),) = faces.described_drawings(3, 1, glasses=0, hat=0, beard=0, mouth=0)
    workflows.upload_drawing(client, drawing)
    workflow = template(name, 7)
    workflows.set_drawing(workflow, caption)
    return halves(drawing, client.pictures(workflow)["SaveImage"][0])


# What is written below each picture, and what draws it.
THUMBNAILS: dict[str, tuple[str, Callable[[Client], Image.Image]]] = {
    "mask": ("only in the mask", mask),
    "preview": ("where each concept acts", preview),
    "compare_strengths": ("strength by strength", compare_strengths),
    "strength_slider": ("a slider in one run", strength_slider),
    "save_guidance": ("save the edit", save_guidance),
    "load_guidance": ("reuse the edit", load_guidance),
    "real_image_img2img": ("your picture, image to image", lambda client: real_image(client, "real_image_img2img")),
    "edit_photo": ("your picture: + glasses", lambda client: real_image(client, "edit_photo")),
}
# What is written below pictures of one or two faces, without the concepts and with them; the seeds, and their look.
FACES: dict[str, tuple[str, Sequence[int], str]] = {
    "first_edit": ("+ glasses", [7], "blond hair, light skin, blue background"),
    "first_edit_sdxl": ("for SDXL", [11], "ginger hair, tan skin, green background"),
    "first_edit_flux": ("for Flux, cfg 1", [12], "black hair, tan skin, purple background"),
    "first_edit_qwen_image": ("for Qwen-Image", [33], "brown hair, light skin, yellow background"),
    "first_edit_z_image_turbo": ("for Z-Image Turbo, cfg 1", [24], "blond hair, tan skin, green background"),
    "first_edit_flux2_klein": ("for FLUX.2 Klein", [17], "black hair, light skin, blue background"),
    "first_edit_wan_video": ("for Wan 2.2 video", [22], "ginger hair, light skin, purple background"),
    "remove_concept": ("- hat", [8], "light skin, yellow background"),
    "three_concepts": ("+ glasses + hat + smile", [9], "brown hair, light skin, green background"),
    "four_concept_face": ("four concepts at once", [7, 21], "ginger hair, light skin, blue background"),
    "model_patch": ("any sampler: + glasses", [13, 14], "dark skin, black hair, yellow background"),
}


def thumbnail(client: Client, name: str) -> Image.Image:
    if name in THUMBNAILS:
        label, drawn = THUMBNAILS[name]
        return labelled(drawn(client), label)
    label, seeds, look = FACES[name]
    pairs = [pair(client, name, seed, look) for seed in seeds]
    return labelled(halves(*pairs[0]) if len(pairs) == 1 else grid([*pairs[0], *pairs[1]]), label)


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
    names = parser.parse_args(arguments).names or [*FACES, *THUMBNAILS]
    with Server({**PACK, **DEMO_PACK}) as server:
        for name in names:
            (FOLDER / f"{name}.jpg").write_bytes(as_jpeg(thumbnail(server.client(), name)))


if __name__ == "__main__":
    main()
