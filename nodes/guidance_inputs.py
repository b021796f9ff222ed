"""Shared by the samplers and the model patch: inputs, the guidance output and the patched model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..sega_core import MODES, GuidanceVectors, Mode, Settings
from .sampling.encoded_concept import EncodedConcept
from .sampling.patch import patch_model
from .sampling.request import GuidanceRequest
from .setting_input import setting_input
from .types import SegaConcept, SegaConceptStack, SegaGuidance, as_stack

# Without momentum, strength 1 matches the changed prompt exactly, and a concept costs nothing before it starts.
_DEFAULT = Settings(mode="independent", momentum_scale=0.0)


def guidance_inputs() -> list[io.Input]:
    """Return `concepts`, the settings and `guidance`."""
    return [
        io.MultiType.Input(
            "concepts",
            types=[SegaConcept, SegaConceptStack],
            optional=True,
            tooltip="A concept, or a stack of up to 100. Off: not connected; samples as usual.",
        ),
        io.Combo.Input(
            "mode",
            options=list[str](MODES),
            default=_DEFAULT.mode,
            optional=True,
            advanced=True,
            tooltip="independent keeps concepts apart: one concept's settings never change another's strength. "
            "reference matches the paper's implementation: concepts share one momentum, and weights are rescaled "
            "until all have started.",
        ),
        setting_input(
            "momentum_scale",
            _DEFAULT,
            "How much guidance carries over from earlier steps, 0 to 10. Higher is stronger. 0 is off and skips the "
            "passes before a concept starts. The paper's default is 0.1.",
            step=0.01,
            most=10.0,
            advanced=True,
        ),
        setting_input(
            "momentum_beta",
            _DEFAULT,
            "How slowly the momentum changes, 0 to 0.999: the share kept from step to step. 0 keeps only the last "
            "step (off). The paper's default is 0.4.",
            step=0.01,
            advanced=True,
        ),
        SegaGuidance.Input(
            "guidance",
            optional=True,
            advanced=True,
            tooltip="Guidance from another run, added to the concepts': makes the same edit with another prompt and "
            "the same seed. The size must match; the number of steps may differ. Off: not connected.",
        ),
        io.Int.Input(
            "reuse_steps",
            default=_DEFAULT.reuse_steps,
            min=1,
            max=100,
            optional=True,
            advanced=True,
            tooltip="Faster but approximate: reuses each concept's guidance for up to this many steps, 1 to 100, fewer "
            "where it changes fast. 1 is off.",
        ),
        setting_input(
            "warmup_tolerance",
            _DEFAULT,
            "Faster but approximate: skips the passes before a concept starts that add no more than this share of "
            "the momentum, 0 to 1. 0 is off.",
            step=0.01,
            advanced=True,
        ),
    ]


# The index of the guidance among a sampler's outputs.
GUIDANCE = 1


def guidance_output() -> io.Output:
    return SegaGuidance.Output(
        display_name="guidance",
        tooltip="What the concepts added at each step and where they acted. Connect to SEGA Preview, SEGA Save "
        "Guidance or another sampler's guidance. Recorded only while connected.",
    )


def guided_model(
    node_id: str,
    model: Any,
    concepts: EncodedConcept | tuple[EncodedConcept, ...] | None,
    mode: Mode = _DEFAULT.mode,
    momentum_scale: float = _DEFAULT.momentum_scale,
    momentum_beta: float = _DEFAULT.momentum_beta,
    guidance: GuidanceVectors | None = None,
    reuse_steps: int = _DEFAULT.reuse_steps,
    warmup_tolerance: float = _DEFAULT.warmup_tolerance,
    record: Callable[[GuidanceVectors], None] | None = None,
) -> Any:
    """Return a clone of the host's MODEL, patched as the inputs say; without guidance, a plain clone.

    `record` is called with what the concepts did, after sampling.

    Raises:
        ValueError: names the node, the input and the value.
    """
    try:
        settings = Settings(momentum_scale, momentum_beta, mode, reuse_steps, warmup_tolerance)
    except ValueError as error:
        raise ValueError(f"{node_id}: {error}") from error
    stack = as_stack(concepts, node_id)
    return patch_model(model, GuidanceRequest(stack, settings, node_id, guidance, record))
