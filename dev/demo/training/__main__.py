"""Make the demo model from nothing: `nox -s train -- --work FOLDER`.

Each stage leaves its result in the work folder and is skipped where that is there already. The last one writes
dev/demo/faces.safetensors, dev/demo/classifier.safetensors and dev/demo/figures.json.

With `--together` it makes the evaluation's second model instead, FOLDER/together.safetensors: the shipped one, trained
on with drawings whose attributes come together (11 minutes on 2 cores).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...host import in_process

in_process.start_host()

from safetensors.torch import load_file, save_file  # noqa: E402

from .. import classifier as judge  # noqa: E402
from .. import model  # noqa: E402
from . import adherence, classifier, codec, diffusion, drawings  # noqa: E402

TOGETHER_DRAWINGS, TOGETHER_STEPS, TOGETHER_RATE = 16000, 2000, 5e-4


def pack_weights(work: Path, file: Path) -> None:
    """Write the diffusion model and the codec into one fp16 file."""
    state = dict(load_file(work / "diffusion.safetensors"))
    for part in ("encoder", "decoder"):
        state |= {f"{part}.{key}": value for key, value in load_file(work / f"{part}.safetensors").items()}
    _quiet_fragments(state)
    save_file({key: value.half().contiguous() for key, value in state.items()}, file)


def _quiet_fragments(state: dict[str, Any]) -> None:
    """Let the fragments of unknown words read as commas: no caption ever held them."""
    ids = model.byte_pairs()[0]
    known = {ids[token] for token in (model.START, model.END, *(word + "</w>" for word in model.words()))}
    table = state["text.text_model.embeddings.token_embedding.weight"]
    for row in set(ids.values()) - known:
        table[row] = table[ids[",</w>"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything between the stages")
    parser.add_argument("--minutes", type=float, default=90, help="wall-clock time for the diffusion model")
    parser.add_argument("--decoder-steps", type=int, default=2200)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="highest rate of the diffusion model")
    parser.add_argument("--together", action="store_true", help="make the second model of the evaluation instead")
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    figures_file = work / "figures.json"
    figures: dict[str, Any] = json.loads(figures_file.read_text()) if figures_file.exists() else {}

    def stage(name: str, result: str, make: Callable[[], dict[str, Any] | None]) -> None:
        if (work / result).exists():
            return
        print(f"{name} ...", flush=True)
        figures[name] = make() or {}
        figures_file.write_text(json.dumps(figures, indent=2))

    if options.together:
        stage("drawings", "attributes.npy", lambda: drawings.make(work, TOGETHER_DRAWINGS, together=True))
        codec.unpack(model.WEIGHTS, work)
        stage(
            "diffusion",
            "diffusion.safetensors",
            lambda: diffusion.train_on(work, model.WEIGHTS, TOGETHER_STEPS, TOGETHER_RATE),
        )
        pack_weights(work, work / "together.safetensors")
        return
    stage("drawings", "attributes.npy", lambda: drawings.make(work))
    stage("encoder", "encoder.safetensors", lambda: codec.fit_encoder(work))
    stage("decoder", "decoder.safetensors", lambda: codec.train_decoder(work, options.decoder_steps))
    stage("classifier", "classifier.safetensors", lambda: classifier.train(work))
    stage("diffusion", "diffusion.safetensors", lambda: diffusion.train(work, options.minutes, options.learning_rate))
    pack_weights(work, model.WEIGHTS)
    shutil.copyfile(work / "classifier.safetensors", judge.WEIGHTS)
    figures["prompt adherence"] = adherence.measure(model.WEIGHTS, judge.WEIGHTS)
    model.WEIGHTS.with_name("figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
