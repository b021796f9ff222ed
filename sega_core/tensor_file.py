"""Safetensors files of one kind: written whole or not at all, read without trust."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file of a kind; nobody ever sees a part of it.

    Args:
        path: the file; one that is there is replaced.
        kind: what the file holds, such as "sega-guidance"; `read` asks for it.
        tensors: by name.
        metadata: texts by name.

    Raises:
        ValueError: a tensor holds a number that is not finite, or is of a type that `read` does not take.
    """
    for name, tensor in tensors.items():
        _require_plain_numbers(name, tensor)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # "format" is safetensors' own word for the library that the tensors are of.
        header = {**metadata, "format": "pt", "kind": kind}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, header)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file of a kind.

    Raises:
        ValueError: it is no safetensors file, of another kind, or holds a number that is not finite, or a type of
            number that cannot be checked.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != kind:
                raise ValueError(f"{path.name} must be a file of kind {kind!r}, got {metadata.get('kind')!r}")
            # Copies: the file's own memory would change, or go, with a file that another program writes over.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no safetensors file, or a damaged one: {error}") from error
    for name, tensor in tensors.items():
        _require_plain_numbers(f"{path.name}: {name}", tensor)
    return tensors, metadata


def _require_plain_numbers(name: str, tensor: Tensor) -> None:
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.element_size() < 2):
        raise ValueError(f"{name} must hold whole numbers or floats of 16 bits or more, got {tensor.dtype}")
    # What is read is computed with in 32 bits.
    if tensor.is_floating_point() and not tensor.float().isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity, or numbers too large for 32 bits")
