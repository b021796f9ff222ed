"""The host's guiders around a MODEL: each function returns a maker of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from support.host import Host, find_node, run_node

POSITIVE, NEGATIVE, THIRD = 1, 2, 4
# A UNet that can do without a text: its attention layers are as wide as the text.
SMALL = {"channel_mult": [1, 1]}
# Of the texts of a model for packed video and sound.
LTXAV_WIDTH = 64

Maker = Callable[[Host, Any], Any]


def cfg(scale: float) -> Maker:
    return lambda host, model: host.custom.CFGGuider.execute(
        model, host.conditioning(POSITIVE), host.conditioning(NEGATIVE), scale
    )[0]


def basic() -> Maker:
    return lambda host, model: host.custom.BasicGuider.execute(model, host.conditioning(POSITIVE))[0]


def dual(style: str, first: float = 4.0, second: float = 3.0) -> Maker:
    def make(host: Host, model: Any) -> Any:
        prompts = [host.conditioning(seed) for seed in (POSITIVE, THIRD, NEGATIVE)]
        return host.custom.DualCFGGuider.execute(model, *prompts, first, second, style)[0]

    return make


def perp_neg(scale: float, negative: float) -> Maker:
    def make(host: Host, model: Any) -> Any:
        prompts = [host.conditioning(seed) for seed in (POSITIVE, NEGATIVE, THIRD)]
        return find_node("nodes_perpneg", "PerpNegGuider").execute(model, *prompts, scale, negative)[0]

    return make


def two_models(scale: float, negative: int | None = NEGATIVE, second: bool = True) -> Maker:
    def make(host: Host, model: Any) -> Any:
        node = find_node("nodes_custom_sampler", "DualModelGuider")
        inputs = {"model_negative": host.model(model.model.model_type, seed=2, **SMALL) if second else None}
        inputs["negative"] = None if negative is None else host.conditioning(negative)
        return run_node(node, model=model, positive=host.conditioning(POSITIVE), cfg=scale, **inputs)

    return make


def of_parts(video: float, sound: float, positive: int = POSITIVE) -> Maker:
    """Scale the parts of packed latents each in its own way, as LTXV Dual CFG Guider of newer hosts."""

    def make(host: Host, model: Any) -> Any:
        class PartsGuider(host.samplers.CFGGuider):
            def sample(self, noise: Any, *args: Any, **kwargs: Any) -> Any:
                sizes = torch.tensor([part[0].numel() for part in noise.unbind()])
                self.scales = torch.tensor([video, sound]).repeat_interleave(sizes)
                return super().sample(noise, *args, **kwargs)

            def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None) -> Any:
                def each(args: dict[str, Any]) -> torch.Tensor:
                    return args["uncond"] + self.scales * (args["cond"] - args["uncond"])

                options = model_options or {}
                if video != sound:
                    options = {**options, "sampler_cfg_function": each, "disable_cfg1_optimization": True}
                return super().predict_noise(x, timestep, options, seed)

        guider = PartsGuider(model)
        guider.set_conds(*(host.conditioning(prompt, width=LTXAV_WIDTH) for prompt in (positive, NEGATIVE)))
        guider.set_cfg(max(video, sound))
        return guider

    return make
