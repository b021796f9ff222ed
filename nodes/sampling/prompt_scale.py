"""The guider's own guidance scale (cfg), which the concepts' strength multiplies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.utils
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfy.samplers import CFGGuider
    from torch import Tensor

    from .host_types import Options


class PromptScale:
    """The scale of one prediction.

    Args:
        guider: the host's. Its cfg counts until its prediction shows the scale it really used.
        shapes: of the latents, (B, C, *spatial) for each part.
    """

    def __init__(self, guider: CFGGuider, shapes: Sequence[tuple[int, ...]]) -> None:
        self.guider = guider
        self.shapes = shapes
        # Of each part: a number or (B,).
        self.values: list[Tensor | float] = [_guider_scale(guider)] * len(shapes)

    def entered(self, options: Options) -> Options:
        """Return a prediction's model options, with a hook that reads its scale."""
        if hasattr(self.guider, "cfg1"):
            # A guider with two scales passes on the other one.
            return options
        functions = options.get("sampler_post_cfg_function", [])
        return {**options, "sampler_post_cfg_function": [self._see, *functions]}

    def _see(self, args: Options) -> Tensor:
        scale = float(args.get("cond_scale", _guider_scale(self.guider)))
        self.values = [scale] * len(self.shapes)
        if "sampler_cfg_function" in args["model_options"]:
            # It may scale each part or video frame differently, or rescale everything.
            names = "denoised", "cond_denoised", "uncond_denoised"
            parts = zip(*(comfy.utils.unpack_latents(args[name], self.shapes) for name in names), strict=True)
            self.values = [_measured(whole, cond, uncond, scale) for whole, cond, uncond in parts]
        denoised: Tensor = args["denoised"]
        return denoised


def _guider_scale(guider: CFGGuider) -> float:
    """Return a guider's cfg; with two, the first prompt's; 1 if it has none."""
    dual: Any = guider
    if hasattr(guider, "cfg1"):
        return dual.cfg1 * (dual.cfg2 if dual.nested else 1)
    cfg = getattr(guider, "cfg", 1.0)
    return cfg if isinstance(cfg, int | float) else 1.0


def _measured(denoised: Tensor, cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Return the scale that a CFG function applied to the prompts' difference, (B,), by least squares."""
    prompts = (cond - uncond).flatten(1).float()
    added = (denoised - uncond).flatten(1).float()
    size = prompts.square().sum(1)
    measured = (added * prompts).sum(1) / size
    return torch.where(size > 0, measured, scale)
