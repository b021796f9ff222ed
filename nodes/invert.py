"""SEGAInvert: finds the noise that makes a model reproduce a given picture exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import BasicScheduler, SamplerCustom
from torch import Tensor

from ..sega_core import StandsStill, window
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
from .sampling.inversion import NODE_ID as _NODE_ID
from .sampling.inversion import STOCHASTIC, RepeatingSampler, Walk, WalkingSampler
from .sampling.patch import is_patched


class SEGAInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=_NODE_ID,
            display_name="SEGA Invert",
            category="sampling/SEGA",
            description="Prepares your own picture for editing: finds the noise that makes the model reproduce it "
            "exactly. A sampler with concepts then changes only what they ask for (LEDITS++, arXiv 2311.16711).",
            search_aliases=[
                "semantic guidance",
                "edit photo",
                "real image editing",
                "inversion",
                "LEDITS++",
                "DDPM inversion",
                "image to image",
                "unsampler",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that will edit the picture, from before SEGA Model Patch; it is not changed.",
                ),
                seed_input(
                    "seed",
                    "The random seed for the noise. Every seed reproduces the picture, but edits look a little "
                    "different.",
                    control=False,
                ),
                steps_input("Number of steps in the whole schedule, 1 to 10000; start_percent skips the first ones."),
                cfg_input(
                    "Classifier-free guidance scale, 0 to 100. Use the same one in the sampler that follows. 1 is off."
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=list(STOCHASTIC),
                    tooltip="The sampling algorithm. LEDITS++ uses dpmpp_2m_sde.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    tooltip="How the noise is removed over the steps.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="A prompt for what the picture shows; it may be empty. Use the same one in the sampler "
                    "that follows.",
                ),
                io.Conditioning.Input(
                    "negative", tooltip="The negative prompt. Use the same one in the sampler that follows."
                ),
                io.Latent.Input("latent_image", tooltip="The picture to edit, encoded with the model's VAE."),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Share of the sampling to skip at the start, where there is most noise, 0 to 1. Higher "
                    "keeps more of the picture. 0 is off.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="Your picture, for the sampler's latent_image. The sampler output carries the noise, so "
                    "add_noise and noise_seed have no effect there.",
                ),
                io.Sampler.Output(  # type: ignore[attr-defined]  # hidden by a type of this name
                    display_name="sampler", tooltip="Samples with the noise that reproduces the picture."
                ),
                io.Sigmas.Output(display_name="sigmas", tooltip="The noise level of each step."),
            ],
        )

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
        start_percent: float,
    ) -> io.NodeOutput:
        check_integer(_NODE_ID, "seed", seed, 0, HIGHEST_SEED)
        check_integer(_NODE_ID, "steps", steps, 1, MOST_STEPS)
        check_finite(_NODE_ID, "cfg", cfg)
        if sampler_name not in STOCHASTIC:
            raise ValueError(
                f"{_NODE_ID}: sampler_name must be one of {', '.join(STOCHASTIC)}, which add noise once per step, "
                f"got {sampler_name!r}"
            )
        if is_patched(model):
            raise ValueError(f"{_NODE_ID}: model must not have concepts; connect it from before SEGA Model Patch")
        samples = latent_image["samples"]
        check_latent(_NODE_ID, model, samples)
        if not samples.is_nested and not samples.count_nonzero():
            raise ValueError(f"{_NODE_ID}: latent_image must be a picture, got an empty latent; use VAE Encode")
        sigmas = _schedule(model, scheduler, steps, start_percent)
        walks: list[Walk] = []
        sampler = WalkingSampler(sampler_name, _noise_of_step(latent_image, seed, steps), walks.append)
        try:
            SamplerCustom.execute(model, True, seed, cfg, positive, negative, sampler, sigmas, latent_image)
        except StandsStill as error:
            raise ValueError(f"{_NODE_ID}: {error}; use fewer steps or another scheduler") from error
        return io.NodeOutput(latent_image, RepeatingSampler(walks[0]), sigmas)


def _schedule(model: Any, scheduler: str, steps: int, start_percent: float) -> Tensor:
    """Return the noise levels from `start_percent` on."""
    if not 0 <= start_percent <= 1:
        raise ValueError(f"{_NODE_ID}: start_percent must be in [0, 1], got {start_percent!r}")
    sigmas: Tensor = BasicScheduler.execute(model, scheduler, steps, 1.0)[0]
    first = model.get_model_object("model_sampling").percent_to_sigma(start_percent)
    left = sigmas[window(sigmas.tolist(), first, 0.0).warmup_steps :]
    if len(left) < 2:
        raise ValueError(
            f"{_NODE_ID}: start_percent {start_percent:g} leaves none of {steps} steps; lower it or use more steps"
        )
    return left


def _noise_of_step(latent: dict[str, Any], seed: int, steps: int) -> Callable[[int], Tensor]:
    """Return a function that draws a step's noise, (B, values), the way the host draws noise from a seed.

    Each step has its own seed, so that an image gets the same noise in a batch and alone.
    """
    seeds = torch.randint(2**62, (steps,), generator=torch.Generator().manual_seed(seed)).tolist()
    samples = latent["samples"]
    parts = samples.unbind() if samples.is_nested else [samples]

    def noise(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seeds[step])
        drawn = [comfy.sample.prepare_noise_inner(part, generator, latent.get("batch_index")) for part in parts]
        return torch.cat([noise.flatten(1) for noise in drawn], dim=1)

    return noise
