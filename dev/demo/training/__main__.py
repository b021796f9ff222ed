"""Make the demo model from nothing: `nox -s train -- --work FOLDER`.

Each stage leaves its result in the work folder and is skipped where that is there already; a diffusion training that
was broken off goes on. The last stage writes dev/demo/faces.safetensors, dev/demo/classifier.safetensors and
dev/demo/figures.json.
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

DECODER_STEPS = 10000


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
    parser.add_argument("--minutes", type=float, default=190, help="wall-clock time for the diffusion model")
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    figures_file = work / "figures.json"
    figures: dict[str, Any] = json.loads(figures_file.read_text()) if figures_file.exists() else {}

    def stage(name: str, result: str, make: Callable[[], dict[str, Any]]) -> None:
        if (work / result).exists():
            return
        print(f"{name} ...", flush=True)
        figures[name] = make()
        figures_file.write_text(json.dumps(figures, indent=2))

    stage("drawings", "attributes.npy", lambda: drawings.make(work))
    stage("encoder", "encoder.safetensors", lambda: codec.fit_encoder(work))
    stage("decoder", "decoder.safetensors", lambda: codec.train_decoder(work, DECODER_STEPS))
    stage("classifier", "classifier.safetensors", lambda: classifier.train(work))
    stage("diffusion", "diffusion.safetensors", lambda: diffusion.train(work, options.minutes))
    pack_weights(work, model.WEIGHTS)
    shutil.copyfile(work / "classifier.safetensors", judge.WEIGHTS)
    print("prompt adherence ...", flush=True)
    figures["prompt adherence"] = adherence.measure(model.WEIGHTS, judge.WEIGHTS)
    model.WEIGHTS.with_name("figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
