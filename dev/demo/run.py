"""The demo: real workflows through a real ComfyUI server, a contact sheet and measured figures.

Run it with `nox -s demo`; `nox -s demo -- --checkpoint FILE` takes an SD1.5 or SDXL checkpoint instead of the model
that ships with the project.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..host.client import Client, Event, Workflow
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server
from . import classifier, measure, workflows
from .faces import description, draw, random_face
from .sheet import Row, contact_sheet

# Prompts say how a face looks, so that an attribute that an edit changes by mistake was no accident before.
LOOKS = (
    "black hair, light skin, blue background",
    "ginger hair, light skin, green background",
    "blond hair, tan skin, purple background",
    "brown hair, dark skin, yellow background",
)
COLUMNS_PER_LOOK = 2

EDITS = [
    measure.Edit("glasses", "add", "glasses", "yes"),
    measure.Edit("hat", "add", "hat", "yes"),
    measure.Edit("beard", "add", "beard", "yes"),
    measure.Edit("smiling", "add", "mouth", "smiling"),
    measure.Edit("glasses", "remove", "glasses", "yes"),
    measure.Edit("hat", "remove", "hat", "yes"),
    measure.Edit("beard", "remove", "beard", "yes"),
    measure.Edit("smiling", "remove", "mouth", "smiling"),
]

STRENGTHS = (0.5, 1.0, 2.0, 4.0)

# Where an edit should act, in pixels: left, top, right, bottom, with room around it.
BOXES = {"glasses": (20, 42, 108, 82), "hat": (10, 8, 118, 58)}
# LEDITS++'s way, with thresholds of their own.
ATTENTION = {"attention_threshold": 0.8, "threshold": 0.6, "threshold_over": "space"}

# Drawings stand for a user's pictures; the model was not trained on these.
DRAWINGS, DRAWING_SEED = 8, 20261121
DRAWING_EDITS = (
    {"text": "glasses"},
    {"text": "smiling", "instead_of": "neutral"},
    {"text": "hat", "direction": "remove"},
)


class Studio:
    """Draws the faces of every look on the server, with a progress bar for each row of the sheet.

    Args:
        client: the server's.
        rows: how many rows there will be.
        seed: of the first look; the others count on.
        faces: number of faces per look.
    """

    def __init__(self, client: Client, rows: int, seed: int, faces: int) -> None:
        self.client, self.rows, self.seed, self.faces = client, rows, seed, faces
        self.done = 0

    def draw(
        self, label: str, prompt: str, concepts: Sequence[dict[str, Any]] = (), faces: int | None = None
    ) -> list[Image.Image]:
        """Return the faces of all looks, one look after the other."""
        drawn = self._run(label, [face_workflow(f"{prompt}, {look}", concepts) for look in LOOKS], faces)
        return [image for look in drawn for image in look["SaveImage"]]

    def draw_with_heat(
        self,
        label: str,
        prompt: str,
        concepts: Sequence[dict[str, Any]],
        box: tuple[int, int, int, int] | None = None,
    ) -> tuple[list[Image.Image], list[list[Image.Image]]]:
        """Return the faces of all looks, and for each concept its heat maps of them; a box is the first one's mask."""
        of_looks = [workflows.with_preview(face_workflow(f"{prompt}, {look}", concepts, box)) for look in LOOKS]
        drawn = self._run(label, of_looks)
        # A look's heat maps come concept by concept, and the plot is the last.
        starts = [c * self.faces for c in range(len(concepts))]
        heat = [
            [above_caption(picture) for look in drawn for picture in look["SEGAPreview"][start : start + self.faces]]
            for start in starts
        ]
        return [image for look in drawn for image in look["SaveImage"]], heat

    def _run(
        self, label: str, of_looks: Sequence[Workflow], faces: int | None = None
    ) -> list[dict[str, list[Image.Image]]]:
        """Run a workflow for each look; return the pictures that its nodes made, by class."""
        self.done += 1
        with progress_bar(f"[{self.done:2}/{self.rows}] {label}") as bar:
            drawn = []
            for number, workflow in enumerate(of_looks):
                workflows.nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = faces or self.faces
                workflows.nodes_of(workflow, "SEGASampler")[0]["seed"] = self.seed + number
                drawn.append(run(self.client, workflow, bar, len(LOOKS)))
        return drawn


def above_caption(heat: Image.Image) -> Image.Image:
    return heat.crop((0, 0, heat.width, heat.width))


def edit_drawings(client: Client, label: str) -> list[Row]:
    """Edit drawings without a concept and with each of the edits."""
    rng = random.Random(DRAWING_SEED)
    drawn: list[tuple[str, Image.Image]] = []
    while len(drawn) < DRAWINGS:
        face = replace(random_face(rng), glasses=0, hat=1, beard=0, mouth=0)
        drawn.append((description(face), draw(face, rng)))
    edited: list[list[Image.Image]] = [[] for _ in range(1 + len(DRAWING_EDITS))]
    edits = [None, *DRAWING_EDITS]
    with progress_bar(label) as bar:
        for caption, image in drawn:
            workflows.upload_drawing(client, image)
            # The server keeps a drawing's inversion from one run to the next.
            for row, edit in zip(edited, edits, strict=True):
                row += run(client, drawing_workflow(caption, edit), bar, DRAWINGS * len(edits))["SaveImage"]
    section = "editing a picture that is there"
    return [
        Row("drawing", "", [image for _, image in drawn], section),
        Row("back again", "no edit", edited[0]),
        *(
            Row(("- " if "direction" in edit else "+ ") + edit["text"], "default values", images)
            for edit, images in zip(DRAWING_EDITS, edited[1:], strict=True)
        ),
    ]


def drawing_workflow(caption: str, edit: Mapping[str, Any] | None) -> Workflow:
    """Return the shipped edit of a picture for a drawing; without an edit all that comes back of it."""
    workflow = workflows.load("edit_photo")
    workflows.set_drawing(workflow, caption)
    if edit is None:
        return workflows.without_composite(workflows.without_concepts(workflow))
    workflows.nodes_of(workflow, "SEGAConcept")[0].update(edit)
    return workflow


def progress_bar(label: str) -> tqdm:
    return tqdm(desc=f"{label:24}", unit="step", bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}")


def run(client: Client, workflow: Workflow, bar: tqdm, runs: int) -> dict[str, list[Image.Image]]:
    """Run a workflow, one of `runs` that the bar covers, and fetch the images that its nodes made, by class."""
    before = bar.n

    def follow(event: Event) -> None:
        if event.type == "progress":
            bar.total = event.data["max"] * runs
            # A workflow may sample twice.
            bar.update(max(0, before + event.data["value"] - bar.n))

    return client.pictures(workflow, follow)


def face_workflow(
    prompt: str, concepts: Sequence[dict[str, Any]], box: tuple[int, int, int, int] | None = None
) -> Workflow:
    """Return the shipped workflow for these concepts, each {"text", "direction", ...}."""
    name = "mask" if box else "three_concepts" if len(concepts) > 1 else "first_edit"
    workflow = workflows.load(name)
    workflows.set_prompt(workflow, prompt)
    if not concepts:
        return workflows.without_concepts(workflow)
    for inputs, values in zip(workflows.nodes_of(workflow, "SEGAConcept"), concepts, strict=True):
        inputs |= values
    if box:
        left, top, right, bottom = box
        workflows.nodes_of(workflow, "SolidMask")[1] |= {"width": right - left, "height": bottom - top}
        workflows.nodes_of(workflow, "MaskComposite")[0] |= {"x": left, "y": top}
    return workflow


def concept(edit: measure.Edit, **changes: Any) -> dict[str, Any]:
    """Return a concept node's values; what the changes do not name has its default."""
    return {"text": edit.text, "direction": edit.direction} | changes


def judged(judge: classifier.Classifier, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    stack = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return judge.judge(stack.movedim(-1, 1).float() / 255)


def show_faces(client: Client, output: Path, seed: int, faces: int) -> None:
    """Edit faces of the demo model; write the contact sheet and the figures."""
    judge = classifier.load()
    adds = [edit for edit in EDITS if edit.direction == "add"]
    removes = [edit for edit in EDITS if edit.direction == "remove"]
    studio = Studio(
        client, 2 + len(adds) + 2 * len(removes) + 2 * len(BOXES) + 1 + len(STRENGTHS), seed, faces // len(LOOKS)
    )
    figures = []

    plain = studio.draw("no edit", "a face")
    rows = [Row("no edit", "a face", plain, "adding a concept")]
    before = judged(judge, plain)
    edited: dict[str, list[Image.Image]] = {}
    for edit in adds:
        images = studio.draw(f"+ {edit.text}", "a face", [concept(edit)])
        edited[edit.text] = images
        rows.append(Row(f"+ {edit.text}", "", images))
        figures.append((edit, measure.measure(edit, before, judged(judge, images))))

    for number, edit in enumerate(removes):
        prompt = f"a face, {edit.text}"
        named = studio.draw("no edit", prompt)
        images = studio.draw(f"- {edit.text}", prompt, [concept(edit)])
        rows.append(Row("no edit", prompt, named, "" if number else "removing a concept"))
        rows.append(Row(f"- {edit.text}", "", images))
        figures.append((edit, measure.measure(edit, judged(judge, named), judged(judge, images))))

    three = [concept(edit) for edit in adds if edit.text != "beard"]
    images, heat = studio.draw_with_heat("three at once", "a face", three)
    rows.append(Row("three at once", "+ glasses + hat + smiling", images, "several concepts, and where they act"))
    rows += [Row(f"heat: {values['text']}", "", maps) for values, maps in zip(three, heat, strict=True)]

    in_place, places = show_places(studio, judge, plain, before, edited)
    rows += in_place

    studio.done += 1
    drawings = edit_drawings(client, f"[{studio.done:2}/{studio.rows}] drawings")

    rising = [_columns(Row("strength 0", "no edit", plain, "rising strength"), studio.faces)]
    smiling = next(edit for edit in adds if edit.text == "smiling")
    for strength in STRENGTHS:
        label = f"strength {strength:g}"
        images = studio.draw(f"+ smiling, {label}", "a face", [concept(smiling, strength=strength)], COLUMNS_PER_LOOK)
        rising.append(Row(label, "+ smiling", images))

    contact_sheet(
        "Semantic guidance on the demo model",
        "Within a part, every column starts from the same noise, or from the same picture; only the concepts change. "
        "Where nothing is said, all settings are the defaults.",
        [*(_columns(row, studio.faces) for row in rows), *drawings, *rising],
    ).save(output / "contact_sheet.png")
    text = f"{measure.table(figures)}\n{places}"
    (output / "figures.md").write_text(text, encoding="utf-8")
    record = [asdict(edit) | asdict(row) for edit, row in figures]
    (output / "figures.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\n{studio.faces * len(LOOKS)} faces per edit, judged by the classifier:\n\n{text}")


def show_places(
    studio: Studio,
    judge: classifier.Classifier,
    plain: list[Image.Image],
    before: dict[str, torch.Tensor],
    edited: dict[str, list[Image.Image]],
) -> tuple[list[Row], str]:
    """Keep edits in their places by a mask and by attention; return rows of the sheet, and the figures as a table."""
    rows, lines = [], ["edit | where | success | others kept | change outside"]
    lines.append(" | ".join(["---"] * 5))
    for text, box in BOXES.items():
        edit = next(edit for edit in EDITS if edit.text == text and edit.direction == "add")
        ways = {"everywhere": edited[text]}
        for way, values, mask in (("in a mask", {}, box), ("by attention", ATTENTION, None)):
            images, (heat,) = studio.draw_with_heat(f"+ {text} {way}", "a face", [concept(edit, **values)], mask)
            ways[way] = images
            if text == "glasses":
                section = "" if rows else "an edit in its place"
                rows += [Row(f"+ {text}", way, images, section), Row(f"heat: {text}", way, heat)]
        for way, images in ways.items():
            figures = measure.measure(edit, before, judged(judge, images))
            outside = measure.change_outside(plain, images, box)
            lines.append(f"add {text} | {way} | {figures.success:.1%} | {figures.kept_on_average:.1%} | {outside:.2f}")
    return rows, "\n".join(f"| {line} |" for line in lines) + "\n"


def _columns(row: Row, faces: int) -> Row:
    """Return the row with the first faces of each look."""
    first = [look * faces + i for look in range(len(LOOKS)) for i in range(COLUMNS_PER_LOOK)]
    return Row(row.label, row.detail, [row.images[i] for i in first], row.section)


def show_checkpoint(client: Client, output: Path, checkpoint: str, options: argparse.Namespace) -> None:
    """Run the documented four-concept face example on a user's checkpoint; write the contact sheet."""
    workflow = workflows.shipped("four_concept_face")
    workflows.nodes_of(workflow, "CheckpointLoaderSimple")[0]["ckpt_name"] = checkpoint
    size = workflows.nodes_of(workflow, "EmptyLatentImage")[0]
    size |= {"width": options.size or size["width"], "height": options.size or size["height"], "batch_size": 1}
    sampler = workflows.nodes_of(workflow, "SEGASampler")[0]
    sampler["steps"] = options.steps or sampler["steps"]
    first_seed = sampler["seed"] if options.seed is None else options.seed
    seeds = range(first_seed, first_seed + options.columns)
    plain, edited = [], []
    for sampler["seed"] in seeds:
        with progress_bar(f"seed {sampler['seed']}, no edit") as bar:
            plain += run(client, workflows.without_concepts(workflow), bar, 1)["SaveImage"]
        with progress_bar(f"seed {sampler['seed']}, four concepts") as bar:
            edited += run(client, workflow, bar, 1)["SaveImage"]
    prompt = workflows.prompt_of(workflow)
    names = [
        ("+ " if inputs["direction"] == "add" else "- ") + inputs["text"].split(",")[0]
        for inputs in workflows.nodes_of(workflow, "SEGAConcept")
    ]
    contact_sheet(
        f"Semantic guidance on {checkpoint}",
        f"{prompt}  |  {', '.join(names)}",
        [Row("no edit", "", plain), Row("four concepts", "", edited)],
        cell=256,
    ).save(output / "contact_sheet.png")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="an SD1.5 or SDXL checkpoint file instead of the demo model")
    parser.add_argument("--output", type=Path, default=REPO / "demo-output", help="folder for the results")
    parser.add_argument("--port", type=int, help="the server's port; default: a free one")
    parser.add_argument("--seed", type=int, help="seed of the noise")
    parser.add_argument("--faces", type=int, default=64, help="faces per edit, 8 or more (demo model)")
    parser.add_argument("--columns", type=int, default=2, help="seeds to show (own checkpoint)")
    parser.add_argument("--steps", type=int, help="sampling steps (own checkpoint)")
    parser.add_argument("--size", type=int, help="width and height in pixels (own checkpoint)")
    options = parser.parse_args(arguments)
    checkpoint: Path | None = options.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        print(f"--checkpoint: there is no file {checkpoint}", file=sys.stderr)
        return 2
    if options.faces < len(LOOKS) * COLUMNS_PER_LOOK:
        print(f"--faces: must be {len(LOOKS) * COLUMNS_PER_LOOK} or more, got {options.faces}", file=sys.stderr)
        return 2
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    # So that the server is stopped however the demo is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = None if checkpoint is None else checkpoint.resolve().parent
    with Server(
        {**PACK, **DEMO_PACK} if checkpoint is None else PACK,
        checkpoints=folder,
        port=options.port,
        cpu=not torch.cuda.is_available(),
    ) as server:
        client = server.client()
        if checkpoint is not None:
            show_checkpoint(client, output, checkpoint.name, options)
        else:
            show_faces(client, output, 7 if options.seed is None else options.seed, options.faces)
    print(f"{output / 'contact_sheet.png'} written, {time.monotonic() - start:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
