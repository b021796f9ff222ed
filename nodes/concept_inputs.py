"""The inputs shared by the concept nodes, and the concept made from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..sega_core import DIRECTIONS, THRESHOLDS_OVER, ConceptSettings
from .sampling.encoded_concept import EncodedConcept
from .setting_input import setting_input

_DEFAULT = ConceptSettings()


def concept_inputs() -> list[io.Input]:
    """Return the main inputs: `direction` to `mask`."""
    return [
        io.Combo.Input(
            "direction",
            options=list[str](DIRECTIONS),
            default=_DEFAULT.direction,
            optional=True,
            tooltip="add moves the image towards the concept, remove moves it away.",
        ),
        setting_input(
            "strength",
            _DEFAULT,
            "How strong the edit is, 0 to 100, as a multiple of cfg, so it means the same for every model. At 1 the "
            "concept looks as if the prompt asked for it; above 1 it is exaggerated. 0 is off.",
            step=0.05,
        ),
        setting_input(
            "threshold",
            _DEFAULT,
            "How local the edit is: the share of the concept's effect to leave out, 0 to 0.999, weakest places "
            "first. Higher keeps more of the picture; 0 edits everywhere (off).",
            step=0.005,
        ),
        setting_input(
            "start_percent",
            _DEFAULT,
            "When the edit starts, 0 to 1, as a share of the sampling. Later keeps more of the composition. At 0, what "
            "is added to a part of the picture waits until the composition is settled (20%), and everything else "
            "starts at once.",
            step=0.005,
        ),
        setting_input(
            "end_percent",
            _DEFAULT,
            "When the edit ends, 0 to 1; must be after start_percent. Earlier is weaker and faster. 1 is the end of "
            "the sampling (off).",
            step=0.005,
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Limits the edit to the white area; it is resized to the latent. Several masks are used in turn "
            "for the images of a batch or the frames of a video. Off: not connected.",
        ),
    ]


def advanced_inputs() -> list[io.Input]:
    """Return the inputs that good edits do not need."""
    return [
        setting_input(
            "guidance_scale",
            _DEFAULT,
            "The paper's guidance scale, 0 to 100: used instead of cfg and multiplied by strength. For published "
            "settings. 0 uses cfg (off).",
            step=0.05,
            advanced=True,
        ),
        setting_input(
            "weight",
            _DEFAULT,
            "The concept's weight among several, 0 to 100. 0 is off. In the sampler's reference mode, weights are "
            "rescaled to sum to 1 until all concepts have started.",
            step=0.05,
            advanced=True,
        ),
        io.Combo.Input(
            "threshold_over",
            options=list[str](THRESHOLDS_OVER),
            default=_DEFAULT.threshold_over,
            optional=True,
            advanced=True,
            tooltip="What the threshold is a share of. energy: the concept's total effect, so glasses change few "
            "places and a background many. channel: the places in each latent channel, as in the paper. space: the "
            "places in all channels together, as in LEDITS++.",
        ),
        setting_input(
            "attention_threshold",
            _DEFAULT,
            "Edits only where the model attends to the concept's words: leaves alone the share of the image, 0 to "
            "0.999, with the least attention. 0 is off. For UNets with text cross-attention: SD1.x, SD2.x, SDXL.",
            step=0.005,
            advanced=True,
        ),
        # A socket: the host's own CURVE input would draw a curve editor in the node.
        io.Custom("CURVE").Input(
            "curve",
            optional=True,
            advanced=True,
            extra_dict={"forceInput": True},
            tooltip="How strength varies from start_percent (left) to end_percent (right), as a factor; connect a "
            "Curve Editor, for example. Off: not connected; 1 throughout.",
        ),
        io.Custom("FLOATS").Input(
            "strengths",
            optional=True,
            advanced=True,
            tooltip="A strength factor for each image of the batch, in turn: a row of strengths in one run. Connect "
            "SEGA Strengths, for example. Off: not connected; 1 for all.",
        ),
    ]


def concept_settings(node_id: str, **settings: Any) -> ConceptSettings:
    """Return the settings of the inputs; those left out have their defaults.

    Raises:
        ValueError: names the node, the input and the value.
    """
    try:
        return ConceptSettings(**settings)
    except ValueError as error:
        raise ValueError(f"{node_id}: {error}") from error


def encoded_concept(
    node_id: str,
    settings: ConceptSettings,
    conditioning: list[Any],
    instead_of: list[Any] | None,
    name: str,
    *,
    mask: Tensor | None = None,
    token_positions: tuple[int, ...] | None = None,
    curve: Any = None,
    strengths: Sequence[float] | None = None,
) -> EncodedConcept:
    """Return the concept as the samplers take it.

    Raises:
        ValueError: names the node, the input and the value.
    """
    if mask is not None:
        _check_mask(node_id, mask)
    if settings.attention_threshold > 0 and token_positions == ():
        raise ValueError(f"{node_id}: attention_threshold needs words in text, got {name!r}; set it to 0 (off)")
    if curve is not None and not hasattr(curve, "interp"):
        raise ValueError(f"{node_id}: curve must be a CURVE, got {type(curve).__name__}; connect a Curve Editor")
    return EncodedConcept(
        settings, conditioning, instead_of, name, mask, token_positions, curve, _checked_strengths(node_id, strengths)
    )


def _checked_strengths(node_id: str, strengths: Any) -> tuple[float, ...]:
    if strengths is None:
        return ()
    factors = tuple(strengths) if isinstance(strengths, list | tuple) else (strengths,)
    wrong = [x for x in factors if isinstance(x, bool) or not isinstance(x, int | float) or not 0 <= x < math.inf]
    if wrong or not factors:
        raise ValueError(
            f"{node_id}: strengths must be one or more numbers in [0, inf), got {wrong[0] if wrong else 'none'!r}"
        )
    return factors


def _check_mask(node_id: str, mask: Tensor) -> None:
    if mask.ndim not in (2, 3) or mask.numel() == 0:
        raise ValueError(f"{node_id}: mask must be (N, height, width), got shape {tuple(mask.shape)}")
    if not mask.isfinite().all() or mask.min() < 0 or mask.max() > 1:
        raise ValueError(
            f"{node_id}: mask must be in [0, 1], got values from {mask.min().item():g} to {mask.max().item():g}"
        )


def check_percents(start_percent: float | None, end_percent: float | None) -> bool | str:
    """Check the percents before anything runs: True or the error text. None is a value that is not known yet."""
    values: dict[str, Any] = {"start_percent": start_percent, "end_percent": end_percent}
    try:
        ConceptSettings(**{name: value for name, value in values.items() if value is not None})
    except ValueError as error:
        return str(error)
    return True
