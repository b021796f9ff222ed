"""The demo: real workflows through a real ComfyUI server, a contact sheet and measured figures.

Run it with `nox -s demo`; `nox -s demo -- --checkpoint FILE` takes an SD1.5 or SDXL checkpoint instead of the model
that ships with the project.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from . import classifier, measure, workflows
from .comfy_server import Client, Server
from .sheet import Row, contact_sheet

ROOT = Path(__file__).parent.parent
COLUMNS = 8

PLAIN_PROMPT = "a face"
FULL_PROMPT = "a face, glasses, hat, beard, smiling"

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

# The settings that the README recommends for the demo model: (guidance_scale, threshold, warmup_steps).
RECOMMENDED: dict[tuple[str, str], tuple[float, float, int]] = {}
DEFAULT_SETTINGS = (8.0, 0.9, 3)

STRENGTHS = (2.0, 4.0, 8.0, 12.0)


class Pictures:
    """Runs workflows on the server and fetches their pictures, with a progress bar each."""

    def __init__(self, client: Client, total: int) -> None:
        self.client = client
        self.total = total
        self.done = 0

    def of(self, workflow: workflows.Workflow, label: str) -> list[Image.Image]:
        self.done += 1
        with tqdm(desc=f"[{self.done}/{self.total}] {label}", unit="step", leave=True) as bar:

            def follow(event: Any) -> None:
                if event.type == "progress":
                    bar.total = event.data["max"]
                    bar.update(event.data["value"] - bar.n)

            outputs = self.client.run(workflow, follow)
        return [Image.open(BytesIO(self.client.image(image))).convert("RGB") for image in _images(outputs)]


def _images(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    return [image for node in outputs.values() for image in node.get("images", [])]


def face_workflow(prompt: str, concepts: Sequence[dict[str, Any]], seed: int, batch: int) -> workflows.Workflow:
    """Return the shipped workflow for these concepts, each {"text", "direction", "guidance_scale", ...}."""
    workflow = workflows.load("three_concepts" if len(concepts) > 1 else "first_edit")
    workflows.node_titled(workflow, "Prompt")["text"] = prompt
    workflows.nodes_of(workflow, "EmptyLatentImage")[0]["batch_size"] = batch
    workflows.nodes_of(workflow, "SEGASampler")[0]["seed"] = seed
    if not concepts:
        return workflows.without_concepts(workflow)
    for inputs, values in zip(workflows.nodes_of(workflow, "SEGAConcept"), concepts, strict=True):
        inputs |= values
    return workflow


def concept(edit: measure.Edit, **changes: Any) -> dict[str, Any]:
    """Return a concept node's values at the recommended settings."""
    scale, threshold, warmup = RECOMMENDED.get((edit.text, edit.direction), DEFAULT_SETTINGS)
    return {
        "text": edit.text,
        "direction": edit.direction,
        "guidance_scale": scale,
        "threshold": threshold,
        "warmup_steps": warmup,
    } | changes


def show_faces(client: Client, output: Path, seed: int, faces: int) -> None:
    """Edit faces of the demo model; write the contact sheet and the figures."""
    judge = classifier.load()
    pictures = Pictures(client, total=3 + len(EDITS) + len(STRENGTHS))

    def judged(images: list[Image.Image]) -> dict[str, torch.Tensor]:
        stack = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        return judge.judge(stack.movedim(-1, 1).float() / 255)

    plain = pictures.of(face_workflow(PLAIN_PROMPT, [], seed, faces), PLAIN_PROMPT)
    full = pictures.of(face_workflow(FULL_PROMPT, [], seed, faces), FULL_PROMPT)
    before = {"add": judged(plain), "remove": judged(full)}
    rows = {
        "add": [Row("no edit", PLAIN_PROMPT, plain, "adding a concept")],
        "remove": [Row("no edit", "everything at once", full, "removing a concept")],
    }
    figures = []
    for edit in EDITS:
        prompt = PLAIN_PROMPT if edit.direction == "add" else FULL_PROMPT
        values = concept(edit)
        sign = "+" if edit.direction == "add" else "-"
        images = pictures.of(face_workflow(prompt, [values], seed, faces), f"{sign} {edit.text}")
        detail = f"scale {values['guidance_scale']:g}, threshold {values['threshold']:g}"
        rows[edit.direction].append(Row(f"{sign} {edit.text}", detail, images))
        figures.append((edit, measure.measure(edit, before[edit.direction], judged(images))))

    three = [concept(edit) for edit in EDITS if edit.direction == "add" and edit.text != "beard"]
    images = pictures.of(face_workflow(PLAIN_PROMPT, three, seed, faces), "three at once")
    together = [Row("three at once", "+ glasses + hat + smiling", images, "several concepts")]
    smiling = next(edit for edit in EDITS if edit.text == "smiling")
    rising = [Row("scale 0", "no edit", plain, "rising strength of smiling")]
    for scale in STRENGTHS:
        values = concept(smiling, guidance_scale=scale)
        images = pictures.of(face_workflow(PLAIN_PROMPT, [values], seed, faces), f"+ smiling, scale {scale:g}")
        rising.append(Row(f"scale {scale:g}", "+ smiling", images))

    sheet = contact_sheet(
        "Semantic guidance on the demo model",
        f"Every column starts from the same noise (seed {seed}); only the concepts change.",
        [
            Row(row.label, row.detail, row.images[:COLUMNS], row.section)
            for row in [*rows["add"], *rows["remove"], *together, *rising]
        ],
    )
    sheet.save(output / "contact_sheet.png")
    text = measure.table(figures)
    (output / "figures.md").write_text(text, encoding="utf-8")
    record = [asdict(edit) | asdict(row) for edit, row in figures]
    (output / "figures.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nOver {faces} faces, judged by the classifier:\n\n{text}")


def show_checkpoint(client: Client, output: Path, checkpoint: str, options: argparse.Namespace) -> None:
    """Run the documented four-concept face example on a user's checkpoint; write the contact sheet."""
    workflow = workflows.load("four_concept_face")
    workflows.nodes_of(workflow, "CheckpointLoaderSimple")[0]["ckpt_name"] = checkpoint
    size = workflows.nodes_of(workflow, "EmptyLatentImage")[0]
    size |= {"width": options.size or size["width"], "height": options.size or size["height"], "batch_size": 1}
    sampler = workflows.nodes_of(workflow, "SEGASampler")[0]
    sampler["steps"] = options.steps or sampler["steps"]
    first_seed = sampler["seed"] if options.seed is None else options.seed
    seeds = range(first_seed, first_seed + options.columns)
    pictures = Pictures(client, total=2 * len(seeds))
    plain, edited = [], []
    for sampler["seed"] in seeds:
        plain += pictures.of(workflows.without_concepts(workflow), f"seed {sampler['seed']}, no edit")
        edited += pictures.of(workflow, f"seed {sampler['seed']}, four concepts")
    prompt = workflows.node_titled(workflow, "Prompt")["text"]
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
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="folder for the results")
    parser.add_argument("--port", type=int, help="the server's port; default: a free one")
    parser.add_argument("--seed", type=int, help="seed of the noise")
    parser.add_argument("--faces", type=int, default=64, help="faces per edit (demo model)")
    parser.add_argument("--columns", type=int, default=2, help="seeds to show (own checkpoint)")
    parser.add_argument("--steps", type=int, help="sampling steps (own checkpoint)")
    parser.add_argument("--size", type=int, help="width and height in pixels (own checkpoint)")
    options = parser.parse_args(arguments)
    checkpoint: Path | None = options.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        print(f"--checkpoint: there is no file {checkpoint}", file=sys.stderr)
        return 2
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    # So that the server is stopped however the demo is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    comfyui = Path(os.environ["COMFYUI_PATH"])
    folder = None if checkpoint is None else checkpoint.resolve().parent
    with Server(
        comfyui,
        demo_pack=checkpoint is None,
        checkpoints=folder,
        port=options.port,
        cpu=not torch.cuda.is_available(),
        env={"OMP_WAIT_POLICY": "PASSIVE"},
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
