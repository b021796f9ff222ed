"""Make the editor's templates out of the API workflows: `python -m dev.make.templates [NAME ...]`.

`nox -s pictures` runs it. The real editor turns each `example_workflows/api/<name>.json` into a graph, which gets the
layout and the note below, and what the editor then saves becomes `example_workflows/<name>.json`. Needs COMFYUI_PATH
and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomllib
from playwright.sync_api import Page, sync_playwright

from ..demo.workflows import FOLDER
from ..host.packages import COMFYUI, REPO
from ..host.server import PACK, Server

TEMPLATES = FOLDER.parent
ARRANGE = Path(__file__).with_name("arrange.js").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# The loaders' files: {file: (folder in models, repository on Hugging Face, what will do in its place)}.
MODELS = {
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints",
        "Comfy-Org/stable-diffusion-v1-5-archive",
        "or any other SD1.5 checkpoint",
    ),
    "sd_xl_base_1.0.safetensors": (
        "checkpoints",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "or any other SDXL checkpoint",
    ),
    "flux1-dev-fp8.safetensors": ("checkpoints", "Comfy-Org/flux1-dev", "a checkpoint with text encoders and VAE"),
    "qwen_image_2512_fp8_e4m3fn.safetensors": ("diffusion_models", "Comfy-Org/Qwen-Image_ComfyUI", ""),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": ("text_encoders", "Comfy-Org/Qwen-Image_ComfyUI", ""),
    "qwen_image_vae.safetensors": ("vae", "Comfy-Org/Qwen-Image_ComfyUI", ""),
    "z_image_turbo_bf16.safetensors": ("diffusion_models", "Comfy-Org/z_image_turbo", ""),
    "qwen_3_4b.safetensors": ("text_encoders", "Comfy-Org/z_image_turbo", ""),
    "ae.safetensors": ("vae", "Comfy-Org/z_image_turbo", ""),
    "flux-2-klein-base-4b.safetensors": ("diffusion_models", "Comfy-Org/flux2-klein", ""),
    "flux2-vae.safetensors": ("vae", "Comfy-Org/flux2-dev", ""),
    "wan2.2_ti2v_5B_fp16.safetensors": ("diffusion_models", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", ""),
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": ("text_encoders", "Comfy-Org/Wan_2.1_ComfyUI_repackaged", ""),
    "wan2.2_vae.safetensors": ("vae", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", ""),
}

# What the nodes need, in pixels, where that is more than the editor gives them: room for texts, pictures and what the
# extension shows.
WIDTHS = dict.fromkeys(("SEGAConcept", "SEGASampler", "SEGASamplerCustom", "SEGAInvert"), 340)
WIDTHS |= dict.fromkeys(("CLIPTextEncode", "CheckpointLoaderSimple", "PrimitiveStringMultiline"), 360)
WIDTHS |= dict.fromkeys(("SaveImage", "SaveVideo", "SEGAPreview", "SEGALoadGuidance"), 420) | {"LoadImage": 320}
HEIGHTS = dict.fromkeys(("PrimitiveStringMultiline", "CLIPTextEncode"), 130)
HEIGHTS |= dict.fromkeys(("SEGAConceptStack", "CreateList"), 190) | {"LoadImage": 380, "SEGAPreview": 420}
HEIGHTS |= {"SEGAConcept": 520, "SEGASampler": 660, "SEGASamplerCustom": 680, "SEGAInvert": 520}
HEIGHTS |= dict.fromkeys(("SaveImage", "SaveVideo"), 480)
NOTE_HEIGHT = 300
LOOK = {
    "widths": WIDTHS,
    "heights": HEIGHTS,
    "noteWidth": 360,
    "title": 30,
    "gap": 64,
    "columnGap": 70,
    "groupRoom": 12,
    "groupTitle": 36,
    # What the newer renderer puts under the nodes of a pack.
    "badge": 30,
    # What the extension's list of concepts takes.
    "list": 30,
    "listRow": 22,
    "conceptColor": "#4f9e6a",
    "color": "#3f789e",
}

# The view: of a screen of 1920 by 1080, the panels left out.
SCREEN, MARGIN = (1800, 880), (80, 90)


# From left to right, each column of groups from top to bottom: {title: node ids}.
Columns = Sequence[Mapping[str, Sequence[str]]]


def _start(*prompt: str, model: Sequence[str] = ("1",)) -> Columns:
    """Return the first columns: what loads the model, and beside it the prompts and the size."""
    return [{"Model": model}, {"Prompt": [*prompt, "2", "3", "4"]}]


def _sampler_layout(
    note: str,
    prompt: str,
    model: Sequence[str] = ("1",),
    sampler: Sequence[str] = ("6",),
    result: Mapping[str, Sequence[str]] = {"Picture": ("7", "8")},
) -> tuple[str, Columns]:
    return note, [*_start(prompt, model=model), {"Concept": ["5"]}, {"Sampling": sampler}, result]


def _two_columns_of_concepts(
    note: str, *prompt: str, sampler: Sequence[str], last: Mapping[str, Sequence[str]]
) -> tuple[str, Columns]:
    concepts = [{"Concepts": ["5", "6"]}, {"More concepts": ["7", "8"]}]
    return note, [*_start(*prompt), *concepts, {"Sampling": sampler}, last]


# The loaders of a model that comes in parts, and what shifts its noise levels.
PARTS = ["1", "10", "11"]
PARTS_AND_SHIFT = [*PARTS, "12"]

SAME_SEED = "**Compare**: bypass the concept (Ctrl+B) and run again: the same picture without the edit."
WITHOUT_STACK = "**Compare**: bypass the stack (Ctrl+B) and run again: the same picture without the edits."

# What each shows and what to change first, as Markdown, and its columns.
LAYOUTS: dict[str, tuple[str, Columns]] = {
    "first_edit": _sampler_layout(
        "Adds glasses to a face. The rest of the picture stays what the seed and the prompt make it.\n\n"
        "**Change first**: the concept's *text*. Too weak or too strong: *strength*. Too much changes: raise "
        "*threshold*. Another face or pose: raise *start_percent*.\n\n" + SAME_SEED,
        "9",
    ),
    "first_edit_sdxl": _sampler_layout(
        "The first edit on SDXL, at 1024 by 1024.\n\n"
        "**Change first**: the concept's *text*. The settings mean the same for every model.\n\n" + SAME_SEED,
        "9",
    ),
    "first_edit_flux": _sampler_layout(
        "The first edit on Flux, at cfg 1 and without a negative prompt.\n\n"
        "**Change first**: the concept's *text*. Too weak: raise *strength*, a multiple of cfg. Too much changes: "
        "raise *threshold*.\n\n" + SAME_SEED,
        "10",
        sampler=["9", "6"],
    ),
    "first_edit_qwen_image": _sampler_layout(
        "The first edit on Qwen-Image, at 1328 by 1328.\n\n"
        "**Change first**: the concept's *text*. For a quick try lower *steps* to 20.\n\n" + SAME_SEED,
        "9",
        model=PARTS_AND_SHIFT,
    ),
    "first_edit_z_image_turbo": _sampler_layout(
        "The first edit on Z-Image Turbo, in 8 steps, at cfg 1 and without a negative prompt.\n\n"
        "**Change first**: the concept's *text*. Too weak: raise *strength*, a multiple of cfg. Too much changes: "
        "raise *threshold*.\n\n" + SAME_SEED,
        "9",
        model=PARTS_AND_SHIFT,
    ),
    "first_edit_flux2_klein": _sampler_layout(
        "The first edit on FLUX.2 Klein 4B, with the noise levels of Flux2Scheduler.\n\n"
        "**Change first**: the concept's *text*. For another size change *width* and *height* in both nodes.\n\n"
        + SAME_SEED,
        "9",
        model=PARTS,
        sampler=["12", "13", "6"],
    ),
    "first_edit_wan_video": _sampler_layout(
        "The first edit in a video, on Wan 2.2: glasses from the first frame to the last.\n\n"
        "**Change first**: the concept's *text*. For a quick try lower *length*, the number of frames, to 25.\n\n"
        + SAME_SEED.replace("picture", "video"),
        "9",
        model=PARTS_AND_SHIFT,
        result={"Video": ["7", "13", "8"]},
    ),
    "remove_concept": _sampler_layout(
        "Removes the hat that the prompt asks for. The prompt stays the same.\n\n"
        "**Change first**: the concept's *text*. Name what to remove, in the prompt's words and without 'no'. Still "
        "there: raise *strength*.\n\n" + SAME_SEED,
        "9",
    ),
    "three_concepts": _two_columns_of_concepts(
        "Glasses, a hat and a smile at once. No concept changes another's strength.\n\n"
        "**Change first**: the concepts' *text* and *strength*. For one more, add a SEGA Concept and connect it to "
        "the stack's free input.\n\n" + WITHOUT_STACK,
        "12",
        sampler=["9"],
        last={"Picture": ["10", "11"]},
    ),
    "four_concept_face": _two_columns_of_concepts(
        "The SEGA example from diffusers' documentation: smile, glasses, curls and beard, with its values, in "
        "*reference* mode. The prompt is not connected: each concept is its text alone, as in the paper.\n\n"
        "**Change first**: the *seed*, then a concept's *guidance_scale*, which is the paper's number in place of "
        "cfg.\n\n" + WITHOUT_STACK,
        sampler=["9", "10"],
        last={"Picture": ["11", "12"]},
    ),
    "preview": _two_columns_of_concepts(
        "Shows where in the picture each concept acted, and how strongly at each step.\n\n"
        "**Change first**: a concept's *threshold* (how much of the picture it leaves alone) and *start_percent* "
        "(when it starts), and watch the heat map and the plot.",
        "13",
        sampler=["9", "10"],
        last={"What the concepts did": ["12"], "Picture": ["11"]},
    ),
    "mask": (
        "The glasses act inside the mask only. Two SolidMask nodes make a rectangle; any MASK will do, of any "
        "size.\n\n"
        "**Change first**: the rectangle's size (White) and its place, *x* and *y*, in pixels of the picture. Or "
        "connect the mask of a Load Image and paint it there.",
        [*_start("12"), {"Mask": ["9", "10"]}, {"Concept": ["11", "5"]}, {"Sampling": ["6"]}, {"Picture": ["7", "8"]}],
    ),
    "model_patch": (
        "The first edit for any sampler or guider: SEGA Model Patch gives the model its concept, and ComfyUI's own "
        "nodes sample.\n\n"
        "**Change first**: the guider or the sampler. The picture is the one that SEGA Sampler makes.",
        [
            *_start("14"),
            {"Concept": ["5"]},
            {"Guidance": ["6", "7"]},
            {"Sampling": ["8", "9", "10", "11"]},
            {"Picture": ["12", "13"]},
        ],
    ),
    "compare_strengths": (
        "The same seed with five strengths of a concept, side by side. A list at an input makes one picture for "
        "each of its values.\n\n"
        "**Change first**: the five values. The list fits the concept's other numbers too, such as *threshold* or "
        "*start_percent*.",
        [
            *_start("16"),
            {"Strengths": ["9", "10", "11", "12", "13"]},
            {"Concept": ["14", "5"]},
            {"Sampling": ["6"]},
            {"Pictures": ["7", "15", "8"]},
        ],
    ),
    "strength_slider": (
        "One face with more and more of a concept, all in one run: the images of the batch have the same noise, and "
        "SEGA Strengths gives each its own strength.\n\n"
        "**Change first**: *first* and *last*, which are multiplied by the concept's *strength*. For more images "
        "raise *count*, *batch_size* and *columns* together.\n\n"
        "With *seed_behavior* random and a *share* below 1, SEGA Strengths puts the concept into some of many "
        "different pictures.",
        [
            {"Model": ["1"]},
            {"Prompt": ["9", "2", "3"]},
            {"Batch": ["4", "10", "11"]},
            {"Concept": ["5"]},
            {"Sampling": ["6"]},
            {"Pictures": ["7", "12", "13", "8"]},
        ],
    ),
    "save_guidance": _sampler_layout(
        "Saves what the concept added at each step to a file, for *load_guidance*.\n\n"
        "**Change first**: the concept. The file lands in *output/sega*; each run adds one.",
        "10",
        result={"Picture": ["9", "7", "8"]},
    ),
    "load_guidance": (
        "Repeats an edit saved by *save_guidance* with another prompt. It needs no concept.\n\n"
        "**Run *save_guidance* first**, then press R and pick its file.\n\n"
        "**Change first**: the prompt. Seed, size and sampler stay those of the saved run.",
        [*_start(), {"Saved edit": ["9"]}, {"Sampling": ["6"]}, {"Picture": ["7", "8"]}],
    ),
    "edit_photo": (
        "Adds glasses to your own picture and keeps the rest. The inversion finds the noise that makes the model "
        "reproduce the picture exactly; with the concept, only what it asks for changes.\n\n"
        "**Change first**: the picture, and the concept's *text*. *Prompt* says what the picture shows: name at least "
        "what you want to remove or replace. Too weak or too strong: *strength*. Use the same cfg in both nodes.\n\n"
        "**Compare**: bypass the concept (Ctrl+B): the picture comes back as it was. Outside the edit, the saved "
        "picture is yours to the pixel; to save the model's whole output, connect *Decode*.",
        [
            {"Model": ["1"]},
            {"Your picture": ["2", "3", "4"]},
            {"Prompt": ["5", "6", "7"], "Concept": ["8"]},
            {"Sampling": ["9", "10"]},
            {"Where it acted": ["11", "12"]},
            {"Picture": ["13", "14"]},
        ],
    ),
    "real_image_img2img": (
        "Adds glasses to your own picture by image to image: fast, but the whole picture may change a little.\n\n"
        "**Change first**: the picture, and a prompt that describes it. Then *denoise*: 0.5 keeps "
        "more of the picture, 0.8 edits more.\n\n" + SAME_SEED,
        [
            {"Model": ["1"]},
            {"Your picture": ["4", "10", "5"]},
            {"Prompt": ["11", "2", "3"]},
            {"Concept": ["6"]},
            {"Sampling": ["7"]},
            {"Picture": ["8", "9"]},
        ],
    ),
}


def files_of(twin: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the files that a workflow's loaders need, as the editor offers them for download."""
    values = [value for node in twin.values() for value in node["inputs"].values() if isinstance(value, str)]
    return [_file(value) for value in values if value in MODELS]


def _file(name: str) -> dict[str, str]:
    directory, repository, _ = MODELS[name]
    # Where a model comes in parts, each part has a folder of its own.
    folder = "" if directory == "checkpoints" else f"split_files/{directory}/"
    url = f"https://huggingface.co/{repository}/resolve/main/{folder}{name}"
    return {"name": name, "url": url, "directory": directory}


def _line(file: Mapping[str, str]) -> str:
    """Say in the note where a file is and where it goes."""
    line = "- [{name}]({url}) in *models/{directory}*".format(**file)
    _, _, other = MODELS[file["name"]]
    return f"{line}, {other}" if other else line


# Those that open as apps: the fields that a form shows, by node id and name, and the node whose pictures it shows.
APPS: dict[str, tuple[Sequence[tuple[int, str]], int]] = {
    "first_edit": ([(5, "text"), (5, "direction"), (5, "strength"), (9, "value"), (1, "ckpt_name")], 8),
    "edit_photo": (
        [(2, "image"), (8, "text"), (8, "direction"), (8, "strength"), (5, "value"), (1, "ckpt_name")],
        14,
    ),
}
# What the form and the nodes call the fields of ComfyUI's own nodes.
LABELS = {"value": "prompt", "ckpt_name": "checkpoint"}


def make(page: Page, name: str) -> dict[str, Any]:
    """Return the template of an API workflow."""
    twin = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    note, columns = LAYOUTS[name]
    files = files_of(twin)
    text = "\n".join([f"{note}\n\n**Model files**\n", *map(_line, files)])
    graph = json.loads(
        page.evaluate(
            ARRANGE,
            {
                "twin": twin,
                "name": name,
                "columns": [[{"group": title, "ids": ids} for title, ids in groups.items()] for groups in columns],
                "note": {"title": "About this workflow", "text": text, "height": NOTE_HEIGHT},
                "files": files,
                "pack": {"cnr_id": PROJECT["name"], "ver": PROJECT["version"]},
                "look": LOOK,
            },
        )
    )
    graph = cleaned(graph)
    graph["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"semantic-guidance/{name}"))
    graph["extra"] = {"workflowRendererVersion": "LG", "ds": view(graph), **_app(graph, name)}
    return graph


def _app(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what makes the template open as an app, and label the app's fields; nothing where it is none."""
    if name not in APPS:
        return {}
    fields, result = APPS[name]
    slots = {(node["id"], slot["name"]): slot for node in graph["nodes"] for slot in node["inputs"]}
    for field in fields:
        if label := LABELS.get(field[1]):
            slots[field]["label"] = label
    inputs = [[str(node_id), field] for node_id, field in fields]
    return {"linearMode": True, "linearData": {"inputs": inputs, "outputs": [str(result)]}}


def cleaned(graph: dict[str, Any]) -> dict[str, Any]:
    """Return the graph without the editor's language, which is no part of a workflow."""
    return json.loads(json.dumps(graph), object_hook=lambda each: {k: each[k] for k in each if k != "localized_name"})


def view(graph: dict[str, Any]) -> dict[str, Any]:
    """Return the zoom and offset that show the whole graph on the screen."""
    boxes = [group["bounding"] for group in graph["groups"]] + [[*n["pos"], *n["size"]] for n in graph["nodes"]]
    left, top = (min(box[i] for box in boxes) for i in (0, 1))
    right, bottom = (max(box[i] + box[i + 2] for box in boxes) for i in (0, 1))
    scale = round(min(SCREEN[0] / (right - left), SCREEN[1] / (bottom - top), 1), 2)
    return {"scale": scale, "offset": [round(MARGIN[0] / scale - left), round(MARGIN[1] / scale - top)]}


def written(graph: dict[str, Any]) -> str:
    """Return the template as text, with short lists and objects on a line of their own."""
    text = json.dumps(graph, indent=2, ensure_ascii=False)
    return re.sub(r"[\[{][^\[\]{}]{0,400}?[\]}]", _on_one_line, text) + "\n"


def _on_one_line(match: re.Match[str]) -> str:
    line = re.sub(r"\n\s*", " ", match[0])
    line = re.sub(r"^([\[{]) | ([\]}])$", r"\1\2", line)
    return line if len(line) <= 110 else match[0]


@contextmanager
def editor() -> Iterator[Callable[[], Page]]:
    """Yield what opens the editor in a page of its own, on a server with the files that the templates name."""
    program = os.environ.get("SEGA_BROWSER") or shutil.which("chromium")
    with Server(PACK) as server, sync_playwright() as playwright:
        for file, (directory, *_) in MODELS.items():
            folder = server.folder / "models" / directory
            folder.mkdir(exist_ok=True)
            (folder / file).touch()
        shutil.copy(COMFYUI / "input" / "example.png", server.folder / "input")
        browser = playwright.chromium.launch(executable_path=program)

        def new_page() -> Page:
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            page.goto(server.url)
            page.wait_for_function("() => window.app?.graph && LiteGraph.registered_node_types.SEGASampler")
            page.wait_for_function("() => !document.querySelector('.p-progressspinner, #splash-loader')")
            return page

        yield new_page
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    names = parser.parse_args().names or LAYOUTS
    with editor() as new_page:
        for name in names:
            # A page for each: an input that a workflow leaves out would get the value it had in the one before.
            page = new_page()
            (TEMPLATES / f"{name}.json").write_text(written(make(page, name)), encoding="utf-8")
            page.close()


if __name__ == "__main__":
    main()
