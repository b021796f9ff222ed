"""SEGASamplerCustom: the host's SamplerCustom with semantic guidance."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import SamplerCustom

from ..sega_core import GuidanceVectors
from .guidance_inputs import GUIDANCE, guidance_inputs, guidance_output, guided_model
from .sampler_inputs import HIGHEST_SEED, cfg_input, check_finite, check_integer, check_latent, seed_input
from .sampling.wiring import is_wired, is_wired_in_queue


class SEGASamplerCustom(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGASamplerCustom",
            display_name="SEGA Sampler (Custom)",
            category="sampling/SEGA",
            description="SamplerCustom that adds concepts to the image, or removes them. Edits your own picture with "
            "SEGA Invert, and works with any SAMPLER and SIGMAS.",
            search_aliases=["semantic guidance", "edit photo", "real image editing", "SamplerCustom", "LEDITS++"],
            inputs=[
                io.Model.Input("model", tooltip="The model used for denoising the latent; it is not changed."),
                io.Boolean.Input(
                    "add_noise",
                    default=True,
                    advanced=True,
                    tooltip="Adds noise to the latent image first. No effect with SEGA Invert's sampler.",
                ),
                seed_input(
                    "noise_seed",
                    "The random seed for the noise. No effect with SEGA Invert's sampler, which brings its own noise.",
                ),
                cfg_input(
                    "Classifier-free guidance scale, 0 to 100: how closely the image follows the prompts. With SEGA "
                    "Invert, use the same value as there. 1 is off."
                ),
                io.Conditioning.Input(
                    "positive", tooltip="What the image should show; with SEGA Invert, what your picture shows."
                ),
                io.Conditioning.Input(
                    "negative",
                    tooltip="What the image should not show. Concepts without a prompt are compared with it.",
                ),
                io.Sampler.Input(  # type: ignore[attr-defined]  # hidden by a type of this name
                    "sampler", tooltip="The sampling algorithm; concepts work with all of them."
                ),
                io.Sigmas.Input("sigmas", tooltip="The noise level of each step."),
                io.Latent.Input("latent_image", tooltip="The latent image to denoise, or SEGA Invert's latent."),
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
        add_noise: bool,
        noise_seed: int,
        cfg: float,
        positive: Any,
        negative: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: dict[str, Any],
        concepts: Any = None,
        **settings: Any,
    ) -> io.NodeOutput:
        check_integer("SEGASamplerCustom", "noise_seed", noise_seed, 0, HIGHEST_SEED)
        check_finite("SEGASamplerCustom", "cfg", cfg)
        if concepts is not None:
            check_latent("SEGASamplerCustom", model, latent_image["samples"])
        runs: list[GuidanceVectors] = []
        record = runs.append if is_wired(cls.hidden, GUIDANCE) else None
        guided = guided_model("SEGASamplerCustom", model, concepts, **settings, record=record)
        given = (add_noise, noise_seed, cfg, positive, negative, sampler, sigmas, latent_image)
        latent = SamplerCustom.execute(guided, *given)[0]
        return io.NodeOutput(latent, runs[-1] if runs else None)
