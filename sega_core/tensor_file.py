"""Safetensors files of our own kinds: written whole or not at all, checked when read."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file; it never appears half-written.

    Args:
        path: the file; an existing one is replaced.
        kind: what the file holds, such as "sega-guidance"; `read` checks it.
        tensors: by name.
        metadata: strings by name.

    Raises:
        ValueError: a tensor has a number that is not finite, or a type that `read` does not accept.
    """
    for name, tensor in tensors.items():
        _require_plain_numbers(name, tensor)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # "format" is safetensors' name for the tensors' library.
        header = {**metadata, "format": "pt", "kind": kind}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, header)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file of a kind.

    Raises:
        ValueError: it is not a safetensors file of this kind, or has a number that is not finite, or a type of number
            that cannot be checked.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != kind:
                raise ValueError(f"{path.name} must be a file of kind {kind!r}, got {metadata.get('kind')!r}")
            # Copies: the mapped memory would change if another program overwrote the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a safetensors file, or is damaged: {error}") from error
    for name, tensor in tensors.items():
        _require_plain_numbers(f"{path.name}: {name}", tensor)
    return tensors, metadata


def _require_plain_numbers(name: str, tensor: Tensor) -> None:
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.element_size() < 2):
        raise ValueError(f"{name} must hold whole numbers or floats of 16 bits or more, got {tensor.dtype}")
    # Later computations use 32 bits.
    if tensor.is_floating_point() and not tensor.float().isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity, or numbers too large for 32 bits")
