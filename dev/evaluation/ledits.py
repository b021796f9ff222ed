"""Diffusers' LEDITS++ on the demo model's weights, given latents."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import comfy.utils
import torch
from diffusers import DPMSolverMultistepScheduler, LEditsPPPipelineStableDiffusion, UNet2DConditionModel
from torch import Tensor, nn

from ..demo.codec import LATENT_CHANNELS
from ..demo.measure import Edit
from ..demo.model import UNET_CONFIG, FaceModelConfig
from ..demo.workflows import STEPS
from .studio import Studio

# Its default edit_guidance_scale.
SCALE = 5.0


class Ledits:
    """The pipeline with its own default values, but without attention masks: the demo's UNet has none of the size.

    A source prompt is not given: diffusers' inversion takes it for the negative prompt.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        base = studio.model.model
        unet = _demo_unet(base.diffusion_model)
        # It asks for one; the latents decide.
        unet.register_to_config(sample_size=64)
        start, end = (FaceModelConfig.sampling_settings[name] for name in ("linear_start", "linear_end"))
        betas = {"beta_start": start, "beta_end": end, "beta_schedule": "scaled_linear"}
        solver = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "steps_offset": 1}
        scheduler = DPMSolverMultistepScheduler(**betas, **solver, prediction_type="v_prediction")
        left_out = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
        self.pipe = LEditsPPPipelineStableDiffusion(
            unet=unet, scheduler=scheduler, **left_out, requires_safety_checker=False
        )
        self.pipe.set_progress_bar_config(disable=True)
        # The latents and the texts' embeddings are there already.
        self.pipe.text_encoder = SimpleNamespace(dtype=torch.float32)
        self.pipe.vae = SimpleNamespace(decode=lambda x, **_: (x,), config=SimpleNamespace(scaling_factor=1.0))
        self.pipe.image_processor = SimpleNamespace(postprocess=lambda image, **_: image)
        self.pipe.encode_image = lambda image, **_: (image, image)
        self.pipe.encode_prompt = self._encode

    def edit(self, latents: Tensor, edits: Sequence[Edit], seed: int, scale: float = SCALE) -> Tensor:
        """Return the edited latents."""
        latent_format = self.studio.model.get_model_object("latent_format")
        generator = torch.Generator().manual_seed(seed)
        self.pipe.invert(latent_format.process_in(latents), num_inversion_steps=STEPS, generator=generator)
        with patch.object(torch.Tensor, "repeat", _for_all_channels):
            out = self.pipe(
                editing_prompt=[edit.text for edit in edits],
                reverse_editing_direction=[edit.direction == "remove" for edit in edits],
                use_intersect_mask=False,
                output_type="latent",
                edit_guidance_scale=scale,
            ).images
        return latent_format.process_out(out)

    def _encode(self, editing_prompt: Any = None, **_: Any) -> tuple[Tensor, Tensor, list[int]]:
        texts = [editing_prompt] if isinstance(editing_prompt, str) else editing_prompt
        count = self.pipe.batch_size
        edits = torch.cat([self.studio.encode(text)[0][0].expand(count, -1, -1) for text in texts])
        return edits, self.studio.encode("")[0][0].expand(count, -1, -1), [1] * len(texts)


_repeat = torch.Tensor.repeat


def _for_all_channels(x: Tensor, *times: int) -> Tensor:
    """Repeat a mask for the demo's channels, where the pipeline has four in mind."""
    return _repeat(x, 1, LATENT_CHANNELS, 1, 1) if times == (1, 4, 1, 1) else _repeat(x, *times)


def _demo_unet(host: nn.Module) -> UNet2DConditionModel:
    """Return diffusers' UNet with the weights of the host's."""
    unet = UNet2DConditionModel(
        in_channels=UNET_CONFIG["in_channels"],
        out_channels=UNET_CONFIG["out_channels"],
        block_out_channels=[UNET_CONFIG["model_channels"] * factor for factor in UNET_CONFIG["channel_mult"]],
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=UNET_CONFIG["context_dim"],
        # What it calls a dimension is the number of heads.
        attention_head_dim=FaceModelConfig.unet_extra_config["num_heads"],
        use_linear_projection=True,
    )
    # The host pops the transformer depths off these lists.
    names = comfy.utils.unet_to_diffusers(copy.deepcopy(UNET_CONFIG))
    weights = host.state_dict()
    unet.load_state_dict({name: weights[names[name]] for name in unet.state_dict()}, strict=True)
    return unet.eval().requires_grad_(False)
