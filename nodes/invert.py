"""SEGAInvert: the noises that lead a model back to a given picture, exactly."""

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
            description="Prepares a picture of yours for editing: finds the noises from which the model makes exactly "
            "this picture. A sampler with concepts then changes only what the concepts change (LEDITS++, arXiv "
            "2311.16711).",
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
                    tooltip="The model that will edit the picture, before SEGA Model Patch; it is not changed.",
                ),
                seed_input(
                    "seed",
                    "The random seed of the noise. Every seed comes back to the picture; edits differ.",
                    control=False,
                ),
                steps_input("Number of steps of the whole schedule, 1 to 10000; start_percent leaves out the first."),
                cfg_input(
                    "Classifier-free guidance scale, 0 to 100, the same as in the sampler that follows. 1 is off."
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=list(STOCHASTIC),
                    tooltip="The sampling algorithm. dpmpp_2m_sde is that of LEDITS++.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    tooltip="How the noise is removed over the steps.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What the picture shows, as a prompt, or an empty one. The same as in the sampler that "
                    "follows.",
                ),
                io.Conditioning.Input("negative", tooltip="The same as in the sampler that follows."),
                io.Latent.Input("latent_image", tooltip="The picture to edit, encoded with the model's VAE."),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Share of the sampling that is left out at its start, where there is most noise, 0 to 1: "
                    "more keeps more of the picture. 0 is off.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The picture, for the sampler's latent_image. Its noise comes with "
                    "the sampler: add_noise and noise_seed there have no effect.",
                ),
                io.Sampler.Output(  # type: ignore[attr-defined]  # hidden by a type of this name
                    display_name="sampler", tooltip="Samples with the noises that lead to the picture."
                ),
                io.Sigmas.Output(display_name="sigmas", tooltip="The schedule of the noises."),
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
                f"{_NODE_ID}: sampler_name must be one of {', '.join(STOCHASTIC)}, which add noise once at each step, "
                f"got {sampler_name!r}"
            )
        if is_patched(model):
            raise ValueError(f"{_NODE_ID}: model must be without concepts; connect the model before SEGA Model Patch")
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
            raise ValueError(f"{_NODE_ID}: {error}; take fewer steps or another scheduler") from error
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
            f"{_NODE_ID}: start_percent {start_percent:g} leaves none of {steps} steps; lower it or take more steps"
        )
    return left


def _noise_of_step(latent: dict[str, Any], seed: int, steps: int) -> Callable[[int], Tensor]:
    """Return what draws the noise of a step, (B, values), as the host draws that of a seed.

    Each step has a seed of its own, so that an image of a batch has the same noises alone.
    """
    seeds = torch.randint(2**62, (steps,), generator=torch.Generator().manual_seed(seed)).tolist()
    samples = latent["samples"]
    parts = samples.unbind() if samples.is_nested else [samples]

    def noise(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seeds[step])
        drawn = [comfy.sample.prepare_noise_inner(part, generator, latent.get("batch_index")) for part in parts]
        return torch.cat([noise.flatten(1) for noise in drawn], dim=1)

    return noise
