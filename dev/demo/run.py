"""The demo: real workflows through a real ComfyUI server, a contact sheet and measured figures.

Run it with `nox -s demo`; `nox -s demo -- --checkpoint FILE` takes an SD1.5 or SDXL checkpoint instead of the model
that ships with the project.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

import torch

from ..host.client import Client
from ..host.packages import REPO
from ..host.server import DEMO_PACK, PACK, Server
from . import workflows
from .measure import figures_table
from .progress import Images, run_all
from .sheet import Row, contact_sheet
from .shown import FACES, FEWEST, SEED, Demo, panels
from .workflows import LOOKS


def show_faces(client: Client, options: argparse.Namespace) -> None:
    """Edit faces of the demo model; write the contact sheet and the figures."""
    demo = Demo(client, SEED if options.seed is None else options.seed, options.faces // len(LOOKS))
    contact_sheet(
        "Semantic guidance on drawn faces",
        "Each column is one face: one noise and one look. Where columns have captions, each row is one face. Settings "
        "that are not named are the defaults. A classifier judged how often an edit succeeds, and how much else stays.",
        *panels(demo),
    ).save(options.output / "contact_sheet.png")
    text = figures_table(demo.figures)
    (options.output / "figures.md").write_text(text, encoding="utf-8")
    print(f"\n{options.faces} faces per edit, judged by the classifier:\n\n{text}")


def show_checkpoint(client: Client, options: argparse.Namespace) -> None:
    """Run the documented four-concept face example on a user's checkpoint; write the contact sheet."""
    workflow = workflows.shipped("four_concept_face")
    workflows.nodes_of(workflow, "CheckpointLoaderSimple")[0]["ckpt_name"] = options.checkpoint.name
    size = workflows.nodes_of(workflow, "EmptyLatentImage")[0]
    size |= {"width": options.size or size["width"], "height": options.size or size["height"], "batch_size": 1}
    sampler = workflows.nodes_of(workflow, "SEGASampler")[0]
    sampler["steps"] = options.steps or sampler["steps"]
    first_seed = sampler["seed"] if options.seed is None else options.seed
    plain: Images = []
    edited: Images = []
    for seed in range(first_seed, first_seed + options.columns):
        sampler["seed"] = seed
        before, after = run_all(client, f"seed {seed}", [workflows.without_concepts(workflow), workflow])
        plain += before["SaveImage"]
        edited += after["SaveImage"]
    names = [
        ("+ " if inputs["direction"] == "add" else "- ") + inputs["text"].split(",")[0]
        for inputs in workflows.nodes_of(workflow, "SEGAConcept")
    ]
    contact_sheet(
        f"Semantic guidance on {options.checkpoint.name}",
        workflows.prompt_of(workflow),
        [Row("no edit", "", plain), Row("four concepts", "\n".join(names), edited)],
        cell=256,
    ).save(options.output / "contact_sheet.png")


def main() -> None:
    least = FEWEST * len(LOOKS)
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="an SD1.5 or SDXL checkpoint file instead of the demo model")
    parser.add_argument("--output", type=Path, default=REPO / "demo-output", help="folder for the results")
    parser.add_argument("--seed", type=int, help="seed of the noise")
    parser.add_argument(
        "--faces", type=int, default=FACES, help=f"faces per edit, a multiple of {len(LOOKS)} (demo model)"
    )
    parser.add_argument("--columns", type=int, default=2, help="seeds to show (own checkpoint)")
    parser.add_argument("--steps", type=int, help="sampling steps (own checkpoint)")
    parser.add_argument("--size", type=int, help="width and height in pixels (own checkpoint)")
    options = parser.parse_args()
    checkpoint: Path | None = options.checkpoint
    if checkpoint is not None and not checkpoint.is_file():
        parser.error(f"--checkpoint: there is no file {checkpoint}")
    if options.faces < least or options.faces % len(LOOKS):
        parser.error(f"--faces: must be a multiple of {len(LOOKS)}, {least} or more, got {options.faces}")
    options.output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    # So that the server is stopped however the demo is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    packs, folder, gpu = {**PACK, **DEMO_PACK}, checkpoint and checkpoint.parent, torch.cuda.is_available()
    with Server(packs, checkpoints=folder, cpu=not gpu) as server:
        show = show_faces if checkpoint is None else show_checkpoint
        show(server.client(), options)
    print(f"{options.output / 'contact_sheet.png'} written, {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
