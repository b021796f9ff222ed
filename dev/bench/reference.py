"""diffusers' SemanticStableDiffusionPipeline around any network, with embeddings instead of a text encoder.

A prompt is a number: the place of its embedding in a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from sega_core import Concept, Settings

NEGATIVE, POSITIVE, FIRST_CONCEPT = range(3)
NEVER = 10**6

# It would say of each pipeline that it is an old one.
diffusers.logging.set_verbosity_error()


class Numbers:
    """Stands in for a tokenizer: the tokens of "3" are 3s."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length

    def __call__(self, texts: str | Sequence[str], **options: Any) -> SimpleNamespace:
        texts = [texts] if isinstance(texts, str) else texts
        ids = torch.tensor([int(text) for text in texts]).view(-1, 1)
        return SimpleNamespace(input_ids=ids.expand(-1, self.model_max_length))


class Table(nn.Module):
    """Stands in for a text encoder: looks embeddings, (texts, tokens, width), up."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings)

    @property
    def device(self) -> torch.device:
        return self.embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embeddings.dtype

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        return (self.embeddings[ids[:, 0]],)


def make_pipeline(unet: Any, scheduler: Any, embeddings: Tensor) -> Any:
    """Return the pipeline; it makes latents, never images."""
    left_out = dict.fromkeys(("vae", "safety_checker", "feature_extractor"))
    texts = {"text_encoder": Table(embeddings), "tokenizer": Numbers(embeddings.shape[1])}
    pipeline = diffusers.SemanticStableDiffusionPipeline(
        unet=unet, scheduler=scheduler, **texts, **left_out, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(
    pipeline: Any, noise: Tensor, steps: int, cfg: float, concepts: Sequence[Concept], settings: Settings
) -> Tensor:
    """Return the latents of an edit."""
    return pipeline(
        [str(POSITIVE)] * len(noise),
        negative_prompt=[str(NEGATIVE)] * len(noise),
        height=8 * noise.shape[-2],
        width=8 * noise.shape[-1],
        num_inference_steps=steps,
        guidance_scale=cfg,
        latents=noise,
        output_type="latent",
        editing_prompt=[str(FIRST_CONCEPT + c) for c in range(len(concepts))],
        reverse_editing_direction=[concept.direction == "remove" for concept in concepts],
        edit_guidance_scale=[concept.guidance_scale for concept in concepts],
        edit_threshold=[concept.threshold for concept in concepts],
        edit_warmup_steps=[concept.warmup_steps for concept in concepts],
        edit_cooldown_steps=[concept.cooldown_steps or NEVER for concept in concepts],
        edit_weights=[concept.weight for concept in concepts],
        edit_momentum_scale=settings.momentum_scale,
        edit_mom_beta=settings.momentum_beta,
    ).images
