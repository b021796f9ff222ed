"""Diffusers' SemanticStableDiffusionPipeline on the demo model's weights, along the host's noise levels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from diffusers import DDIMScheduler, SemanticStableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from ..demo.faces import SIZE
from ..demo.model import MAX_TOKENS, UNET_CONFIG
from ..demo.workflows import CFG, STEPS
from .recipe import Recipe
from .studio import Studio, worded

CHANNELS = [UNET_CONFIG["model_channels"] * factor for factor in UNET_CONFIG["channel_mult"]]
NEVER = 10**6


class Reference:
    """The pipeline, with the host's text embeddings."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.sigmas = comfy.samplers.calculate_sigmas(
            studio.model.get_model_object("model_sampling"), "normal", STEPS
        ).double()
        base = studio.model.model
        timesteps = base.model_sampling.timestep(self.sigmas[:-1].float()).long()
        texts = _Texts(studio)
        self.pipe = SemanticStableDiffusionPipeline(
            vae=None,
            text_encoder=texts,
            tokenizer=texts.tokenizer,
            unet=_NoiseOfVelocity(demo_unet(base.diffusion_model), base.model_sampling.sigmas),
            scheduler=_Levels(timesteps, self.sigmas),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipe.set_progress_bar_config(disable=True)

    def sample(self, recipe: Recipe, look: int) -> Tensor:
        """Return the latents of one look."""
        noise = comfy.sample.prepare_noise(self.studio.empty()["samples"], recipe.seed + look)
        settings = recipe.settings
        concepts = recipe.concepts
        with torch.no_grad():
            return self.pipe(
                [worded(recipe.prompt, look)] * len(noise),
                negative_prompt=[worded(recipe.negative, look)] * len(noise),
                height=SIZE,
                width=SIZE,
                num_inference_steps=STEPS,
                guidance_scale=CFG,
                latents=noise,
                output_type="latent",
                editing_prompt=[concept["text"] for concept in concepts],
                reverse_editing_direction=[concept["direction"] == "remove" for concept in concepts],
                edit_guidance_scale=[concept["guidance_scale"] for concept in concepts],
                edit_threshold=[concept["threshold"] for concept in concepts],
                edit_warmup_steps=[round(concept["start_percent"] * STEPS) for concept in concepts],
                edit_cooldown_steps=[NEVER for concept in concepts],
                edit_weights=[concept.get("weight", 1.0) for concept in concepts],
                edit_momentum_scale=settings["momentum_scale"],
                edit_mom_beta=settings["momentum_beta"],
            ).images


class _Levels(DDIMScheduler):
    """DDIM's deterministic step, between the host's noise levels instead of those of whole timesteps."""

    def __init__(self, timesteps: Tensor, sigmas: Tensor) -> None:
        super().__init__(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
        self.register_to_config(steps_offset=1)
        self.levels, self.sigmas = timesteps, sigmas

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        self.timesteps = self.levels

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **kwargs: Any) -> SimpleNamespace:
        i = int((self.levels == timestep).nonzero())
        now, then = self.sigmas[i], self.sigmas[i + 1]
        # Noise is added to the picture itself in these sums, and the model sees it scaled to unit size.
        noisy = sample * (1 + now**2).sqrt() + (then - now) * model_output
        return SimpleNamespace(prev_sample=(noisy / (1 + then**2).sqrt()).float())


class _NoiseOfVelocity(nn.Module):
    """A UNet that predicts the velocity v, seen as one that predicts noise, which is what the pipeline needs."""

    def __init__(self, unet: UNet2DConditionModel, sigmas: Tensor) -> None:
        super().__init__()
        self.unet, self.config, self.dtype, self.device = unet, unet.config, unet.dtype, unet.device
        self.levels = sigmas.double()

    def forward(self, x: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> SimpleNamespace:
        velocity = self.unet(x, t, encoder_hidden_states=encoder_hidden_states).sample
        sigma = self.levels[t]
        return SimpleNamespace(sample=((velocity + sigma * x) / (1 + sigma**2).sqrt()).float())


class _Texts(nn.Module):
    """The demo model's text encoder; its tokenizer gives each text a number of its own."""

    def __init__(self, studio: Studio) -> None:
        super().__init__()
        self.studio, self.device = studio, torch.device("cpu")
        self.texts: list[str] = []

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        return (torch.cat([self.studio.encode(self.texts[row[0]])[0][0] for row in ids]),)

    @property
    def tokenizer(self) -> Any:
        return _Numbers(self.texts)


class _Numbers:
    model_max_length = MAX_TOKENS

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __call__(self, texts: list[str], **kwargs: Any) -> SimpleNamespace:
        self.texts += [text for text in dict.fromkeys(texts) if text not in self.texts]
        ids = torch.tensor([[self.texts.index(text)] * MAX_TOKENS for text in texts])
        return SimpleNamespace(input_ids=ids)


def demo_unet(host: nn.Module) -> UNet2DConditionModel:
    """Return diffusers' UNet with the weights of the host's."""
    unet = UNet2DConditionModel(
        in_channels=UNET_CONFIG["in_channels"],
        out_channels=UNET_CONFIG["out_channels"],
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=UNET_CONFIG["context_dim"],
        attention_head_dim=4,
        use_linear_projection=True,
    )
    # The host changes the lists of the configuration it is given.
    names = comfy.utils.unet_to_diffusers(
        {name: list(value) if isinstance(value, list) else value for name, value in UNET_CONFIG.items()}
    )
    weights = host.state_dict()
    unet.load_state_dict({name: weights[names[name]] for name in unet.state_dict()}, strict=True)
    return unet.eval().requires_grad_(False)
