"""What a latent must be for a model."""

from __future__ import annotations

from typing import Any


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
