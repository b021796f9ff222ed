"""SEGASampler: the host's KSampler with semantic guidance."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import nodes as host_nodes
from comfy_api.latest import io

from ..sega_core import GuidanceVectors
from .guidance_inputs import GUIDANCE, guidance_inputs, guidance_output, guided_model
from .sampler_inputs import (
    HIGHEST_SEED,
    MOST_STEPS,
    cfg_input,
    check_finite,
    check_integer,
    check_latent,
    seed_input,
    steps_input,
)
from .sampling.wiring import is_wired, is_wired_in_queue


class SEGASampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGASampler",
            display_name="SEGA Sampler",
            category="sampling/SEGA",
            description="KSampler that adds concepts to the image, or removes them, and leaves the rest as it would "
            "have been (SEGA, arXiv 2301.12247).",
            search_aliases=[
                "semantic guidance",
                "edit guidance",
                "concept slider",
                "KSampler",
                "LEDITS++",
                "语义引导",
                "セマンティックガイダンス",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising the latent; it is not changed."),
                seed_input(
                    "seed", "The random seed for the noise. The same seed without concepts gives the unedited image."
                ),
                steps_input("Number of sampling steps, 1 to 10000."),
                cfg_input(
                    "Classifier-free guidance scale, 0 to 100: how closely the image follows the prompts. 1 is off."
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    tooltip="The sampling algorithm; concepts work with all of them.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    tooltip="How the noise is removed over the steps.",
                ),
                io.Conditioning.Input("positive", tooltip="What the image should show."),
                io.Conditioning.Input(
                    "negative",
                    tooltip="What the image should not show. Concepts without a prompt are compared with it.",
                ),
                io.Latent.Input("latent_image", tooltip="The latent image to denoise."),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The amount of denoising, 0 to 1. Below 1 keeps the structure of the latent image; 1 "
                    "starts from pure noise (off).",
                ),
                *guidance_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised, edited latent."),
                guidance_output(),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> bool:
        # A cached run that recorded nothing must not be reused once the guidance is connected.
        return is_wired_in_queue(cls.hidden.unique_id, GUIDANCE)

    @classmethod
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        denoise: float,
        concepts: Any = None,
        **settings: Any,
    ) -> io.NodeOutput:
        check_integer("SEGASampler", "seed", seed, 0, HIGHEST_SEED)
        check_integer("SEGASampler", "steps", steps, 0, MOST_STEPS)
        check_finite("SEGASampler", "cfg", cfg)
        check_finite("SEGASampler", "denoise", denoise)
        if concepts is not None:
            check_latent("SEGASampler", model, latent_image["samples"])
        runs: list[GuidanceVectors] = []
        record = runs.append if is_wired(cls.hidden, GUIDANCE) else None
        guided = guided_model("SEGASampler", model, concepts, **settings, record=record)
        (latent,) = host_nodes.common_ksampler(
            guided, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=denoise
        )
        return io.NodeOutput(latent, runs[-1] if runs else None)
