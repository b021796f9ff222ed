"""Encoded texts in a safetensors file: what a concept takes from a CONDITIONING, and nothing that is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ..sega_core import tensor_file
from .sampling.concept_conds import NOT_TEXT

KIND = "sega-conditioning"
VERSION = "1"


def save(conditioning: list[Any], path: Path) -> None:
    """Write the texts of a conditioning: its embeddings and what text encoders add to them.

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
                # Entries may share an embedding, and safetensors takes no memory twice.
                tensors[f"{number}.{key}"] = value.detach().cpu().clone()
            elif _is_plain(value):
                plain[key] = value
            else:
                raise ValueError(f"{key} cannot be saved: it is a {type(value).__name__}")
        entries.append(plain)
    tensor_file.write(path, KIND, tensors, {"version": VERSION, "entries": json.dumps(entries)})


def load(path: Path) -> list[Any]:
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
            raise ValueError(f"{path.name}: the tensor {name!r} belongs to no entry")
        numbered[number][key] = tensor
    for entry in entries:
        if unknown := entry.keys() & NOT_TEXT:
            raise ValueError(f"{path.name}: {', '.join(sorted(unknown))} is no text")
        for key in ("cross_attn", "pooled_output"):
            if entry.get(key) is not None and not isinstance(entry[key], Tensor):
                raise ValueError(f"{path.name}: {key} must be a tensor, got {entry[key]!r}")
    return [[entry.pop("cross_attn", None), entry] for entry in entries]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
