"""The inputs that every concept node shares, and the concept they describe."""

from __future__ import annotations

from comfy_api.latest import io

from ..sega_core import DIRECTIONS, Concept


def concept_inputs() -> list[io.Input]:
    """Return the inputs from `direction` to `weight`, with the reference's defaults."""
    return [
        io.Combo.Input(
            "direction",
            options=list(DIRECTIONS),
            default="add",
            tooltip="add moves the image towards the concept, remove away from it. The reference's default is add.",
        ),
        io.Float.Input(
            "guidance_scale",
            default=5.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.001,
            tooltip="How strong the edit is, 0 to 100. 0 is off. The reference's default is 5; more than 15 usually "
            "breaks the image.",
        ),
        io.Float.Input(
            "threshold",
            default=0.9,
            min=0.0,
            max=0.999,
            step=0.01,
            round=0.001,
            tooltip="How local the edit is: the share of the latent, 0 to 0.999, that it leaves alone. 0 edits "
            "everywhere (off). The reference's default is 0.9: only the strongest tenth is edited.",
        ),
        io.Int.Input(
            "warmup_steps",
            default=10,
            min=0,
            max=10000,
            tooltip="The first sampling step at which the edit acts, 0 to 10000. Later keeps more of the composition. "
            "0 acts from the start (off). The reference's default is 10, for 50 steps; a fifth of the steps is a "
            "good start.",
        ),
        io.Int.Input(
            "cooldown_steps",
            default=0,
            min=0,
            max=10000,
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
            tooltip="The concept's share among several, 0 to 100. 0 is off. The reference's default is 1. In "
            "reference mode the weights are rescaled to a sum of 1 while some concepts still warm up.",
        ),
    ]


def build_concept(
    node_id: str,
    direction: str,
    guidance_scale: float,
    threshold: float,
    warmup_steps: int,
    cooldown_steps: int,
    weight: float,
) -> Concept:
    """Return the concept that the inputs describe.

    Raises:
        ValueError: names the node, the input and the value.
    """
    try:
        return Concept(
            direction=direction,
            guidance_scale=guidance_scale,
            threshold=threshold,
            warmup_steps=warmup_steps,
            cooldown_steps=None if cooldown_steps == 0 else cooldown_steps,
            weight=weight,
        )
    except ValueError as error:
        raise ValueError(f"{node_id}: {error}") from error


def check_steps(warmup_steps: int | None, cooldown_steps: int | None) -> bool | str:
    """Say before anything runs that a cool-down does not follow its warm-up; None is a value that is not known yet."""
    for name, value in (("warmup_steps", warmup_steps), ("cooldown_steps", cooldown_steps)):
        if value is not None and not 0 <= value <= 10000:
            return f"{name} must be in [0, 10000], got {value}"
    if warmup_steps is not None and cooldown_steps and cooldown_steps <= warmup_steps:
        return f"cooldown_steps must be after warmup_steps ({warmup_steps}) or 0 for never, got {cooldown_steps}"
    return True
