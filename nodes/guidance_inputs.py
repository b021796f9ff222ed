"""What the samplers and the model patch share: their inputs, the guidance output, and the patched model."""

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

# Without momentum a strength of 1 is exactly the changed prompt, and a concept costs nothing before it begins.
_DEFAULT = Settings(mode="independent", momentum_scale=0.0)


def guidance_inputs() -> list[io.Input]:
    """Return `concepts`, the settings and `guidance`."""
    return [
        io.MultiType.Input(
            "concepts",
            types=[SegaConcept, SegaConceptStack],
            optional=True,
            tooltip="A concept or a stack of up to 100. Off: not connected, then the sampling is the plain one.",
        ),
        io.Combo.Input(
            "mode",
            options=list[str](MODES),
            default=_DEFAULT.mode,
            optional=True,
            advanced=True,
            tooltip="independent keeps the concepts apart: one concept's settings never change another's strength. "
            "reference computes what the paper's implementation computes: concepts share one momentum and their "
            "weights are rescaled while some have not begun.",
        ),
        setting_input(
            "momentum_scale",
            _DEFAULT,
            "How much of the previous steps' guidance is added to each step's, 0 to 10. 0 is off and saves "
            "the passes before a concept begins. The paper's default is 0.1.",
            step=0.01,
            most=10.0,
            advanced=True,
        ),
        setting_input(
            "momentum_beta",
            _DEFAULT,
            "How slowly the momentum changes, 0 to 0.999: the share kept from step to step. 0 keeps only the "
            "last step's (off). The paper's default is 0.4.",
            step=0.01,
            advanced=True,
        ),
        SegaGuidance.Input(
            "guidance",
            optional=True,
            advanced=True,
            tooltip="Guidance of another run, added to that of the concepts: the same edit in another prompt with the "
            "same seed. Other steps are matched by their noise level; the size must be the same. Off: not connected.",
        ),
        io.Int.Input(
            "reuse_steps",
            default=_DEFAULT.reuse_steps,
            min=1,
            max=100,
            optional=True,
            advanced=True,
            tooltip="Approximate, saves time: reuses each concept's guidance for up to this many steps, fewer where it "
            "changes fast, 1 to 100. 1 is off.",
        ),
        setting_input(
            "warmup_tolerance",
            _DEFAULT,
            "Approximate, saves time: passes before a concept begins are left out where their share of the "
            "momentum is this or less, 0 to 1. 0 is off.",
            step=0.01,
            advanced=True,
        ),
    ]


# The place of the guidance among a sampler's outputs.
GUIDANCE = 1


def guidance_output() -> io.Output:
    return SegaGuidance.Output(
        display_name="guidance",
        tooltip="What the concepts added at each step and where they acted, for SEGA Preview, SEGA Save Guidance or "
        "the guidance input of another sampler. It is recorded only when it is connected.",
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
    """Return the host's MODEL with the guidance that the inputs describe; without any, a plain clone.

    `record` is given what the concepts did when the sampling is over.

    Raises:
        ValueError: names the node, the input and the value.
    """
    try:
        settings = Settings(momentum_scale, momentum_beta, mode, reuse_steps, warmup_tolerance)
    except ValueError as error:
        raise ValueError(f"{node_id}: {error}") from error
    stack = as_stack(concepts, node_id)
    return patch_model(model, GuidanceRequest(stack, settings, node_id, guidance, record))
