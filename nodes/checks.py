"""What the samplers' inputs must be."""

from __future__ import annotations

import math
from typing import Any

HIGHEST_SEED, MOST_STEPS = 0xFFFFFFFFFFFFFFFF, 10000


def check_integer(node_id: str, name: str, value: int, low: int, high: int) -> None:
    """Refuse a number out of its range.

    Raises:
        ValueError: names the node, the input and the value.
    """
    if not low <= value <= high:
        raise ValueError(f"{node_id}: {name} must be in [{low}, {high}], got {value!r}")


def check_finite(node_id: str, name: str, value: float) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: names the node, the input and the value.
    """
    if not math.isfinite(value):
        raise ValueError(f"{node_id}: {name} must be a finite number, got {value!r}")


def check_latent(node_id: str, model: Any, samples: Any) -> None:
    """Refuse a latent image that the model cannot sample; the host itself gives empty ones the model's channels.

    Raises:
        ValueError: names the node, the input and the value.
    """
    if samples.is_nested:
        return
    latent_format = model.get_model_object("latent_format")
    axes, channels = latent_format.latent_dimensions + 2, latent_format.latent_channels
    advice = "encode it with the VAE that belongs to the model"
    # The host makes a video of one frame of an image.
    if samples.ndim != axes and not (axes == 5 and samples.ndim == 4):
        raise ValueError(
            f"{node_id}: latent_image must have {axes} dimensions for this model, got {samples.ndim}; {advice}"
        )
    if samples.numel() == 0:
        raise ValueError(f"{node_id}: latent_image must hold an image, got shape {tuple(samples.shape)}")
    if not samples.isfinite().all():
        raise ValueError(f"{node_id}: latent_image must be finite, got NaN or infinity; decode it to see which image")
    if samples.count_nonzero() and samples.shape[1] != channels:
        raise ValueError(
            f"{node_id}: latent_image must have {channels} channels for this model, got {samples.shape[1]}; {advice}"
        )
