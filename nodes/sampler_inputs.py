"""Inputs shared by the samplers, and checks of their values."""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io

HIGHEST_SEED, MOST_STEPS = 0xFFFFFFFFFFFFFFFF, 10000


def seed_input(name: str, tooltip: str, control: bool = True) -> io.Input:
    """Return a seed input; with `control`, the editor can change it after each run."""
    return io.Int.Input(name, default=0, min=0, max=HIGHEST_SEED, control_after_generate=control, tooltip=tooltip)


def steps_input(tooltip: str) -> io.Input:
    return io.Int.Input("steps", default=20, min=1, max=MOST_STEPS, tooltip=tooltip)


def cfg_input(tooltip: str) -> io.Input:
    return io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def check_integer(node_id: str, name: str, value: int, low: int, high: int) -> None:
    """Refuse a number outside its range.

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
    """Refuse a latent image that the model cannot sample; the host gives empty ones the right channels.

    Raises:
        ValueError: names the node, the input and the value.
    """
    if samples.is_nested:
        return
    latent_format = model.get_model_object("latent_format")
    axes, channels = latent_format.latent_dimensions + 2, latent_format.latent_channels
    advice = "encode it with the VAE that belongs to the model"
    # The host turns an image into a video of one frame.
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
