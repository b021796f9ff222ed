"""The demo: real workflows through a real ComfyUI server, a contact sheet and measured figures.

Run it with `nox -s demo`; `nox -s demo -- --checkpoint FILE` takes an SD1.5 or SDXL checkpoint instead of the model
that ships with the project.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..host.client import Client, Event, Workflow
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server
from ..report import table
from . import classifier, measure, workflows
from .faces import described_drawings
from .measure import ADDS, REMOVES, Edit
from .sheet import Row, contact_sheet
from .workflows import LOOKS

COLUMNS_PER_LOOK = 2
STRENGTHS = (0.5, 1.0, 2.0, 4.0)

# Where an edit should act, in pixels: left, top, right, bottom, with room around it.
BOXES = {"glasses": (20, 42, 108, 82), "hat": (10, 8, 118, 58)}
# LEDITS++'s way, with thresholds of their own.
ATTENTION = {"attention_threshold": 0.8, "threshold": 0.6, "threshold_over": "space"}

# Drawings stand for a user's pictures; the model was not trained on these.
DRAWINGS, DRAWING_SEED = 8, 20261121
DRAWING_EDITS: tuple[dict[str, str], ...] = (
    {"text": "glasses"},
    {"text": "smiling", "instead_of": "neutral"},
    {"text": "hat", "direction": "remove"},
)
ROWS = 1 + len(ADDS) + 2 * len(REMOVES) + 1 + 2 * len(BOXES) + 1 + len(STRENGTHS)

Images = list[Image.Image]


class Demo:
    """Runs workflows on the server, with a progress bar for each row of the sheet.

    `faces` is their number per look, `seed` the first look's; the others count on from it.
    """

    def __init__(self, client: Client, seed: int, faces: int) -> None:
        self.client, self.seed, self.faces = client, seed, faces
        self.rows = 0
        self.judge = classifier.load()

    def row(self, label: str, runs: int) -> AbstractContextManager[Callable[[Workflow], dict[str, Images]]]:
        self.rows += 1
        return progress(self.client, f"[{self.rows:2}/{ROWS}] {label}", runs)

    def draw(
        self, label: str, prompt: str, concepts: Sequence[Mapping[str, Any]] = (), faces: int | None = None
    ) -> Images:
        """Return the faces of all looks, one look after the other."""
        drawn = self._run(label, [workflows.face_workflow(f"{prompt}, {look}", concepts) for look in LOOKS], faces)
        return [image for look in drawn for image in look["SaveImage"]]

    def draw_with_heat(
        self,
        label: str,
        prompt: str,
        concepts: Sequence[Mapping[str, Any]],
        box: tuple[int, int, int, int] | None = None,
    ) -> tuple[Images, list[Images]]:
        """Return the faces of all looks, and for each concept its heat maps of them; a box is the first one's mask."""
        faces = [workflows.face_workflow(f"{prompt}, {look}", concepts, box) for look in LOOKS]
        drawn = self._run(label, [workflows.with_preview(workflow) for workflow in faces])
        # A look's heat maps come concept by concept, and the plot is the last.
        starts = [c * self.faces for c in range(len(concepts))]
        heat = [
            [above_caption(picture) for look in drawn for picture in look["SEGAPreview"][start : start + self.faces]]
            for start in starts
        ]
        return [image for look in drawn for image in look["SaveImage"]], heat

    def _run(self, label: str, of_looks: Sequence[Workflow], faces: int | None = None) -> list[dict[str, Images]]:
        """Run a workflow for each look; return the pictures that its nodes made, by class."""
        for number, workflow in enumerate(of_looks):
            workflows.nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = faces or self.faces
            workflows.nodes_of(workflow, "SEGASampler")[0]["seed"] = self.seed + number
        with self.row(label, len(LOOKS)) as run:
            return [run(workflow) for workflow in of_looks]

    def measured(self, edit: Edit, before: Images, after: Images) -> measure.Outcome:
        return measure.measure(edit, self._judged(before), self._judged(after))

    def _judged(self, images: Images) -> dict[str, torch.Tensor]:
        stack = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        return self.judge.judge(stack.movedim(-1, 1).float() / 255)


@contextmanager
def progress(client: Client, label: str, runs: int) -> Iterator[Callable[[Workflow], dict[str, Images]]]:
    """Show a progress bar for some runs; yield what runs a workflow and returns its pictures by the nodes' class."""
    with tqdm(desc=f"{label:24}", unit="step", bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}") as bar:

        def run(workflow: Workflow) -> dict[str, Images]:
            before = bar.n

            def follow(event: Event) -> None:
                if event.type == "progress":
                    bar.total = event.data["max"] * runs
                    # A workflow may sample twice.
                    bar.update(max(0, before + event.data["value"] - bar.n))

            return client.pictures(workflow, follow)

        yield run


def above_caption(heat: Image.Image) -> Image.Image:
    return heat.crop((0, 0, heat.width, heat.width))


def show_faces(client: Client, output: Path, seed: int, faces: int) -> None:
    """Edit faces of the demo model; write the contact sheet and the figures."""
    demo = Demo(client, seed, faces // len(LOOKS))
    plain = demo.draw("no edit", "a face")
    edited = {edit: demo.draw(edit.name, "a face", [edit.concept()]) for edit in ADDS}
    figures = [(edit, demo.measured(edit, plain, images)) for edit, images in edited.items()]
    rows = [Row("no edit", "a face", plain, "adding a concept")]
    rows += [Row(edit.name, "", images) for edit, images in edited.items()]

    for edit in REMOVES:
        prompt = f"a face, {edit.text}"
        named = demo.draw("no edit", prompt)
        images = demo.draw(edit.name, prompt, [edit.concept()])
        rows.append(Row("no edit", prompt, named, "removing a concept" if edit is REMOVES[0] else ""))
        rows.append(Row(edit.name, "", images))
        figures.append((edit, demo.measured(edit, named, images)))

    three = [edit.concept() for edit in ADDS if edit.text != "beard"]
    images, heat = demo.draw_with_heat("three at once", "a face", three)
    rows.append(Row("three at once", "+ glasses + hat + smiling", images, "several concepts, and where they act"))
    rows += [Row(f"heat: {values['text']}", "", maps) for values, maps in zip(three, heat, strict=True)]
    in_place, places = show_places(demo, plain, edited)
    drawings = edit_drawings(demo)

    rising = [_columns(Row("strength 0", "no edit", plain, "rising strength"), demo.faces)]
    smiling = next(edit for edit in ADDS if edit.text == "smiling")
    for strength in STRENGTHS:
        label = f"strength {strength:g}"
        images = demo.draw(f"+ smiling, {label}", "a face", [smiling.concept(strength=strength)], COLUMNS_PER_LOOK)
        rising.append(Row(label, "+ smiling", images))

    contact_sheet(
        "Semantic guidance on the demo model",
        "Within a part, every column starts from the same noise, or from the same picture; only the concepts change. "
        "Where nothing is said, all settings are the defaults.",
        [*(_columns(row, demo.faces) for row in [*rows, *in_place]), *drawings, *rising],
    ).save(output / "contact_sheet.png")
    text = f"{measure.figures_table(figures)}\n{places}"
    (output / "figures.md").write_text(text, encoding="utf-8")
    record = [asdict(edit) | {"faces": row.faces, "success": row.success, "kept": row.kept} for edit, row in figures]
    (output / "figures.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\n{demo.faces * len(LOOKS)} faces per edit, judged by the classifier:\n\n{text}")


def show_places(demo: Demo, plain: Images, edited: Mapping[Edit, Images]) -> tuple[list[Row], str]:
    """Keep edits in their places by a mask and by attention; return rows of the sheet, and the figures as a table."""
    rows: list[Row] = []
    cells = []
    for edit in (edit for edit in edited if edit.text in BOXES):
        box, ways = BOXES[edit.text], {"everywhere": edited[edit]}
        for way, values, mask in (("in a mask", {}, box), ("by attention", ATTENTION, None)):
            ways[way], (heat,) = demo.draw_with_heat(f"{edit.name} {way}", "a face", [edit.concept(**values)], mask)
            if edit.text == "glasses":
                section = "" if rows else "an edit in its place"
                rows += [Row(edit.name, way, ways[way], section), Row(f"heat: {edit.text}", way, heat)]
        for way, images in ways.items():
            outcome, outside = demo.measured(edit, plain, images), measure.change_outside(plain, images, box)
            shares = (f"{outcome.success:.1%}", f"{outcome.kept_on_average:.1%}")
            cells.append((f"add {edit.text}", way, *shares, f"{outside:.2f}"))
    return rows, table(("edit", "where", "success", "others kept", "change outside"), cells)


def edit_drawings(demo: Demo) -> list[Row]:
    """Edit drawings without a concept and with each of the edits."""
    drawn = list(described_drawings(DRAWING_SEED, DRAWINGS, glasses=0, hat=1, beard=0, mouth=0))
    edits = [None, *DRAWING_EDITS]
    edited: list[Images] = [[] for _ in edits]
    with demo.row("drawings", DRAWINGS * len(edits)) as run:
        for caption, drawing in drawn:
            workflows.upload_drawing(demo.client, drawing)
            # The server keeps a drawing's inversion from one run to the next.
            for row, edit in zip(edited, edits, strict=True):
                row += run(workflows.drawing_workflow(caption, edit))["SaveImage"]
    rows = [Row("drawing", "", [drawing for _, drawing in drawn], "editing a picture that is there")]
    rows.append(Row("back again", "no edit", edited[0]))
    for edit, images in zip(DRAWING_EDITS, edited[1:], strict=True):
        rows.append(Row(("- " if "direction" in edit else "+ ") + edit["text"], "default values", images))
    return rows


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
    plain: Images = []
    edited: Images = []
    for sampler["seed"] in range(first_seed, first_seed + options.columns):
        with progress(client, f"seed {sampler['seed']}, no edit", 1) as run:
            plain += run(workflows.without_concepts(workflow))["SaveImage"]
        with progress(client, f"seed {sampler['seed']}, four concepts", 1) as run:
            edited += run(workflow)["SaveImage"]
    names = [
        ("+ " if inputs["direction"] == "add" else "- ") + inputs["text"].split(",")[0]
        for inputs in workflows.nodes_of(workflow, "SEGAConcept")
    ]
    contact_sheet(
        f"Semantic guidance on {checkpoint}",
        f"{workflows.prompt_of(workflow)}  |  {', '.join(names)}",
        [Row("no edit", "", plain), Row("four concepts", "", edited)],
        cell=256,
    ).save(output / "contact_sheet.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="an SD1.5 or SDXL checkpoint file instead of the demo model")
    parser.add_argument("--output", type=Path, default=REPO / "demo-output", help="folder for the results")
    parser.add_argument("--seed", type=int, help="seed of the noise")
    parser.add_argument("--faces", type=int, default=64, help="faces per edit, 8 or more (demo model)")
    parser.add_argument("--columns", type=int, default=2, help="seeds to show (own checkpoint)")
    parser.add_argument("--steps", type=int, help="sampling steps (own checkpoint)")
    parser.add_argument("--size", type=int, help="width and height in pixels (own checkpoint)")
    options = parser.parse_args(arguments)
    checkpoint: Path | None = options.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        parser.error(f"--checkpoint: there is no file {checkpoint}")
    if options.faces < len(LOOKS) * COLUMNS_PER_LOOK:
        parser.error(f"--faces: must be {len(LOOKS) * COLUMNS_PER_LOOK} or more, got {options.faces}")
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    # So that the server is stopped however the demo is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Server(
        {**PACK, **DEMO_PACK} if checkpoint is None else PACK,
        checkpoints=checkpoint and checkpoint.resolve().parent,
        cpu=not torch.cuda.is_available(),
    ) as server:
        client = server.client()
        if checkpoint is not None:
            show_checkpoint(client, output, checkpoint.name, options)
        else:
            show_faces(client, output, 7 if options.seed is None else options.seed, options.faces)
    print(f"{output / 'contact_sheet.png'} written, {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
