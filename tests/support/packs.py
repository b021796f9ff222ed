"""What other packs do to the attention, in its smallest form, and where they find the prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from support.core import noise


def images_of(labels: list[int], label: int, images: int) -> list[int]:
    """Return the places in a call's batch of the images evaluated for a prompt."""
    size = images // len(labels)
    return [i * size + image for i, each in enumerate(labels) if each == label for image in range(size)]


def attention(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
    import comfy.ldm.modules.attention

    return comfy.ldm.modules.attention.optimized_attention(q, k, v, extra_options["n_heads"])


def ip_adapter(model: Any, *places: tuple[Any, ...]) -> Any:
    """Add the attention to an image's tokens, which each prompt has its own of: IP-Adapter's way."""

    def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        labels = extra_options["cond_or_uncond"]
        of_prompt = torch.tensor(labels).repeat_interleave(len(q) // len(labels)).view(-1, 1, 1)
        image = noise(1, 4, q.shape[-1]) * (1.0 + of_prompt)
        return attention(q, k, v, extra_options) + 0.7 * attention(q, image, image, extra_options)

    model = model.clone()
    for place in places:
        model.set_model_attn2_replace(patch, *place)
    return model
