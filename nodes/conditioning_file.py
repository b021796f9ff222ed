"""SEGASaveConditioning and SEGALoadConditioning: encoded texts in a safetensors file.

The file holds the parts of a CONDITIONING that a concept uses, as plain data.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..sega_core import tensor_file
from .files import check_file, file_input, loaded, prefix_input, saved, stamp
from .sampling.concept_conds import NOT_TEXT

KIND = "sega-conditioning"
VERSION = "1"


class SEGASaveConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGASaveConditioning",
            display_name="SEGA Save Conditioning",
            category="sampling/SEGA",
            description="Saves an encoded text, so that you can use it as a concept without its text encoder.",
            search_aliases=["semantic guidance", "editing prompt embeddings", "save embedding"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The encoded text. Only the text is saved, not areas, masks or ControlNets.",
                ),
                prefix_input("conditioning"),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, conditioning: list[Any], filename_prefix: str) -> io.NodeOutput:
        if not conditioning:
            raise ValueError(f"SEGASaveConditioning: conditioning must not be empty, got {conditioning!r}")
        save = partial(save_conditioning, conditioning)
        return io.NodeOutput(
            ui={"conditioning": [saved("SEGASaveConditioning", filename_prefix, "conditioning", save)]}
        )


class SEGALoadConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGALoadConditioning",
            display_name="SEGA Load Conditioning",
            category="sampling/SEGA",
            description="Loads a saved text for SEGA Concept (from Conditioning).",
            search_aliases=["semantic guidance", "editing prompt embeddings", "load embedding"],
            inputs=[file_input("conditioning")],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="The encoded text, as saved.")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_file("SEGALoadConditioning", file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return stamp("SEGALoadConditioning", file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(loaded("SEGALoadConditioning", file, load_conditioning))


def save_conditioning(conditioning: list[Any], path: Path) -> None:
    """Write the text part of a conditioning: the embeddings and what text encoders add to them.

    Raises:
        ValueError: names an entry that is neither a tensor nor text, a number or a list of these.
    """
    tensors: dict[str, Tensor] = {}
    entries = []
    for number, (embedding, extras) in enumerate(conditioning):
        plain = {}
        for key, value in {"cross_attn": embedding, **extras}.items():
            if key in NOT_TEXT:
                continue
            if isinstance(value, Tensor):
                # Entries may share an embedding, and safetensors refuses shared memory.
                tensors[f"{number}.{key}"] = value.detach().cpu().clone()
            elif _is_plain(value):
                plain[key] = value
            else:
                raise ValueError(f"{key} cannot be saved: it is a {type(value).__name__}")
        entries.append(plain)
    tensor_file.write(path, KIND, tensors, {"version": VERSION, "entries": json.dumps(entries)})


def load_conditioning(path: Path) -> list[Any]:
    """Read a conditioning.

    Raises:
        ValueError: names the file and what is wrong with it.
        OSError: it cannot be read.
    """
    tensors, metadata = tensor_file.read(path, KIND)
    if metadata.get("version") != VERSION:
        raise ValueError(f"{path.name}: version must be {VERSION}, got {metadata.get('version')!r}")
    try:
        entries = json.loads(metadata.get("entries", ""))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: entries must be JSON: {error}") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path.name}: entries must be a list of at least one entry")
    numbered = {str(number): entry for number, entry in enumerate(entries)}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        if number not in numbered or not key:
            raise ValueError(f"{path.name}: the tensor {name!r} does not belong to an entry")
        numbered[number][key] = tensor
    for entry in entries:
        if unknown := entry.keys() & NOT_TEXT:
            raise ValueError(f"{path.name}: a text must not have {', '.join(sorted(unknown))}")
        for key in ("cross_attn", "pooled_output"):
            if entry.get(key) is not None and not isinstance(entry[key], Tensor):
                raise ValueError(f"{path.name}: {key} must be a tensor, got {entry[key]!r}")
    return [[entry.pop("cross_attn", None), entry] for entry in entries]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
