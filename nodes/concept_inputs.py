"""The inputs that every concept node shares, and the concept they describe."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..sega_core import DIRECTIONS, THRESHOLDS_OVER, Concept
from .sampling.encoded_concept import EncodedConcept


def concept_inputs(optional: bool = False) -> list[io.Input]:
    """Return the inputs from `direction` to `weight`, with the reference's defaults."""
    return [
        io.Combo.Input(
            "direction",
            options=list[str](DIRECTIONS),
            default="add",
            optional=optional,
            tooltip="add moves the image towards the concept, remove away from it. The reference's default is add.",
        ),
        io.Float.Input(
            "guidance_scale",
            default=5.0,
            min=0.0,
            max=100.0,
            step=0.05,
            round=0.001,
            optional=optional,
            tooltip="How strong the edit is, 0 to 100. 0 is off. The reference's default is 5; more than 15 usually "
            "breaks the image.",
        ),
        io.Float.Input(
            "threshold",
            default=0.9,
            min=0.0,
            max=0.999,
            step=0.005,
            round=0.001,
            optional=optional,
            tooltip="How local the edit is: the share of the latent, 0 to 0.999, that it leaves alone. 0 edits "
            "everywhere (off). The reference's default is 0.9: only the strongest 10% is edited. 0.9 to 0.95 suits "
            "details.",
        ),
        io.Int.Input(
            "warmup_steps",
            default=10,
            min=0,
            max=10000,
            optional=optional,
            tooltip="The first sampling step at which the edit acts, 0 to 10000. Later keeps more of the composition. "
            "0 acts from the start (off). The reference's default is 10, for 50 steps; 15 to 25% of the steps is a "
            "good start to add things, 0 to remove what the prompt asks for.",
        ),
        io.Int.Input(
            "cooldown_steps",
            default=0,
            min=0,
            max=10000,
            optional=optional,
            tooltip="The first sampling step at which the edit acts no longer, after warmup_steps, up to 10000. "
            "0 never stops (off), the reference's default.",
        ),
        io.Float.Input(
            "weight",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.05,
            round=0.001,
            optional=optional,
            tooltip="The concept's share among several, 0 to 100. 0 is off. The reference's default is 1. In "
            "reference mode the weights are rescaled to a sum of 1 while some concepts still warm up.",
        ),
    ]


def place_inputs() -> list[io.Input]:
    """Return the inputs that say where a concept may act, off by default."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where the edit may act: white edits, black does not. It is resized to the latent; several masks "
            "go to the images of a batch in turn, or to the frames of a video. Off: not connected, the reference's "
            "default.",
        ),
        io.Combo.Input(
            "threshold_over",
            options=list[str](THRESHOLDS_OVER),
            default="channel",
            optional=True,
            tooltip="channel applies the threshold to each latent channel separately, the reference's default. "
            "space applies it to all channels together, as LEDITS++ does: a place is edited as a whole or not at all.",
        ),
        io.Float.Input(
            "attention_threshold",
            default=0.0,
            min=0.0,
            max=0.999,
            step=0.005,
            round=0.001,
            optional=True,
            tooltip="Edits only where the model looks at the concept's words: the share of the image, 0 to 0.999, that "
            "is left alone because it looks there least. 0 is off, the reference's default. LEDITS++ uses the same "
            "value as for threshold. For UNets with text cross-attention: SD1.x, SD2.x, SDXL.",
        ),
    ]


def build_concept(node_id: str, cooldown_steps: int = 0, **settings: Any) -> Concept:
    """Return the concept that the inputs describe; those left out have their defaults.

    Raises:
        ValueError: names the node, the input and the value.
    """
    try:
        return Concept(cooldown_steps=None if cooldown_steps == 0 else cooldown_steps, **settings)
    except ValueError as error:
        raise ValueError(f"{node_id}: {error}") from error


def encoded_concept(
    node_id: str,
    concept: Concept,
    conditioning: list[Any],
    text: str,
    mask: Tensor | None = None,
    words: tuple[int, ...] | None = None,
) -> EncodedConcept:
    """Return what the samplers are given.

    Raises:
        ValueError: names the node, the input and the value.
    """
    if mask is not None:
        _check_mask(node_id, mask)
    if concept.attention_threshold > 0 and words == ():
        raise ValueError(f"{node_id}: attention_threshold needs words in text, got {text!r}; set it to 0 (off)")
    return EncodedConcept(concept, conditioning, text, mask, words)


def _check_mask(node_id: str, mask: Tensor) -> None:
    if mask.ndim not in (2, 3) or mask.numel() == 0:
        raise ValueError(f"{node_id}: mask must be (N, height, width), got shape {tuple(mask.shape)}")
    if not mask.isfinite().all() or mask.min() < 0 or mask.max() > 1:
        raise ValueError(
            f"{node_id}: mask must be in [0, 1], got values from {mask.min().item():g} to {mask.max().item():g}"
        )


def check_steps(warmup_steps: int | None, cooldown_steps: int | None) -> bool | str:
    """Say before anything runs that a cool-down does not follow its warm-up; None is a value that is not known yet."""
    for name, value in (("warmup_steps", warmup_steps), ("cooldown_steps", cooldown_steps)):
        if value is not None and not 0 <= value <= 10000:
            return f"{name} must be in [0, 10000], got {value}"
    if warmup_steps is not None and cooldown_steps and cooldown_steps <= warmup_steps:
        return f"cooldown_steps must be after warmup_steps ({warmup_steps}) or 0 for never, got {cooldown_steps}"
    return True
