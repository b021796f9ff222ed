"""Fuzz what reads files from others, guided by coverage: `python -m tools.fuzz_readers` in the repository's root.

Guidance and conditioning files and presets are made from what the fuzzer draws. A reader may refuse them with a
ValueError or, for the presets, leave them out; anything else is a crash, and its input is tried first the next time.
Needs COMFYUI_PATH. Further options go to libFuzzer, such as -runs=3000 or -seed=1.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import atheris
import torch

from demo import in_process

READERS = ("sega_core.tensor_file", "sega_core.vectors", "nodes.conditioning_file", "nodes.presets")

CONCEPT = {"text": "hat", "direction": "add", "guidance_scale": 5.0, "threshold": 0.9, "warmup_steps": 1}
SETTINGS = {"momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "reference"}
# What valid files hold; the fuzzer starts from them.
GUIDANCE = {
    "metadata": {
        "format": "sega-guidance",
        "version": "1",
        "space": "noise",
        "sigmas": [14.0, 3.0, 0.0],
        "concepts": [CONCEPT, {**CONCEPT, "cooldown_steps": 2, "threshold_over": "space"}],
        "settings": SETTINGS,
    },
    "tensors": {
        "guidance.0": ["F32", [2, 1, 4, 2, 2]],
        "activity.0": ["F16", [2, 1, 2, 2]],
        "strength": ["F64", [2, 2]],
    },
}
CONDITIONING = {
    "metadata": {
        "format": "sega-conditioning",
        "version": "1",
        "entries": [{"lyrics_strength": 0.5, "audio_codes": [3, 1]}, {"pooled_output": None}],
    },
    "tensors": {"0.cross_attn": ["F32", [1, 3, 4]], "0.pooled_output": ["BF16", [1, 4]], "1.cross_attn": ["I64", [1]]},
}
PRESETS = [
    {"name": "hat", "text": "hat", "strength": 1.5, "threshold": 0.9, "start_percent": 0.2, "source": "mine"},
    {"name": "no hat", "direction": "remove", "guidance_scale": 5, "end_percent": 0.8, "weight": 2},
]
# In the order of the readers below.
VALID = {"guidance": GUIDANCE, "conditioning": CONDITIONING, "presets": PRESETS}

BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "U8": 8, "BOOL": 8}
WORDS = ("NaN", "Infinity", "-1", "1e309", "null", "true", "[]", "{}", '""', "\\\\ud800", "cooldown_steps", "weight",
         "guidance.1", "activity.1", "attention_threshold", "velocity", "independent", "remove", *BITS)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="how long; without it, until a crash or what -runs says")
    parser.add_argument(
        "--folder", type=Path, default=in_process.ROOT / ".host" / "fuzz", help="keeps inputs for the next time"
    )
    options, more = parser.parse_known_args(arguments)
    in_process.start_host()
    with atheris.instrument_imports(include=[f"{in_process.PACK}.{reader}" for reader in READERS]):
        pack = in_process.load_pack()
    logging.disable()
    if options.minutes is not None:
        more.append(f"-max_total_time={round(60 * options.minutes)}")
    folder = options.folder.resolve()
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (kind, content) in enumerate(VALID.items()):
        (corpus / kind).write_bytes(bytes([number]) + json.dumps(content).encode())
    words.write_text("".join(f"{json.dumps(word)}\n" for word in WORDS))
    limits = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048"]
    places = [f"-dict={words}", f"-artifact_prefix={folder}/", str(corpus)]
    atheris.Setup([sys.argv[0], *limits, *more, *places], Readers(pack, folder))
    atheris.Fuzz()


class Readers:
    """Gives each input to the reader that its first byte says."""

    def __init__(self, pack: Any, folder: Path) -> None:
        self.pack = pack
        self.corpus = folder / "corpus"
        self.file, self.again = folder / "x.safetensors", folder / "again.safetensors"
        self.checks: list[Callable[[bytes], None]] = [self.guidance, self.conditioning, self.presets]

    def __call__(self, data: bytes) -> None:
        if not data:
            return
        try:
            self.checks[data[0] % len(self.checks)](data[1:])
        except Exception:
            # libFuzzer itself keeps only what ends the interpreter.
            (self.corpus / "crash").write_bytes(data)
            raise

    def guidance(self, data: bytes) -> None:
        vectors = self.pack.sega_core.vectors
        self.file.write_bytes(as_tensor_file(data))
        try:
            loaded = vectors.load(self.file)
        except ValueError as error:
            require_name(error, self.file)
            return
        # What was read can be written, and is then read as the same.
        vectors.save(loaded, self.again)
        again = vectors.load(self.again)
        if not all(map(torch.equal, loaded.guidance, again.guidance)) or again.concepts != loaded.concepts:
            raise AssertionError("guidance is not the same when it is saved and loaded")

    def conditioning(self, data: bytes) -> None:
        reader = self.pack.nodes.conditioning_file
        self.file.write_bytes(as_tensor_file(data))
        try:
            loaded = reader.load(self.file)
        except ValueError as error:
            require_name(error, self.file)
            return
        for embedding, extras in loaded:
            for value in (embedding, *extras.values()):
                if isinstance(value, torch.Tensor) and not value.float().isfinite().all():
                    raise AssertionError("a conditioning that is not finite was read")
        reader.save(loaded, self.again)
        if len(reader.load(self.again)) != len(loaded):
            raise AssertionError("a conditioning is not the same when it is saved and loaded")

    def presets(self, data: bytes) -> None:
        presets, node = self.pack.nodes.presets, self.pack.nodes.concept_inputs
        self.file.write_bytes(data)
        for preset in presets._valid(self.file):
            node.concept_settings("SEGAConcept", **{key: preset.values[key] for key in preset.values.keys() - {"text"}})


def as_tensor_file(data: bytes) -> bytes:
    """Return a safetensors file with the metadata and tensors that JSON describes, or with other data as its header."""
    try:
        content = json.loads(data)
        header: dict[str, Any] = {
            "__metadata__": {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in content["metadata"].items()
            }
        }
        end = 0
        for name, (dtype, shape) in content["tensors"].items():
            begin, count = end, 1
            for size in shape:
                count *= size
            end += count * BITS.get(dtype, 32) // 8
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        text, body = json.dumps(header).encode(), pattern(min(max(end, 0), 100_000))
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        text, body = data, b""
    return len(text).to_bytes(8, "little") + text + body


def pattern(size: int) -> bytes:
    """Return numbers that are finite in each type."""
    return (b"\x00\x3c\x01\x3f" * (size // 4 + 1))[:size]


def require_name(error: ValueError, file: Path) -> None:
    if file.name not in str(error):
        raise AssertionError(f"the error does not name the file: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
