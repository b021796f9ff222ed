"""The host's UNet and text model, set up for training."""

from __future__ import annotations

from typing import Any

import comfy.clip_model
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import model
from . import precision


class Network(nn.Module):
    """UNet and text model with random weights."""

    sigmas: Tensor

    def __init__(self) -> None:
        super().__init__()
        comfy.clip_model.CLIPLayer.forward = _out_of_place_layer
        base = model.build_unet()
        self.unet = base.diffusion_model
        self.text = model.FaceClip(dtype=torch.float32).transformer
        self.requires_grad_(True)
        _initialise(self)
        with torch.no_grad():
            for name, parameter in self.unet.named_parameters():
                # Residual branches start closed, attention's nearly so.
                if "out_layers.3" in name or name.startswith("out.2"):
                    parameter.zero_()
                elif "proj_out" in name:
                    parameter.mul_(0.2)
        self.register_buffer("sigmas", base.model_sampling.sigmas.float(), persistent=False)

    def loss(self, latents: Tensor, tokens: Tensor, t: Tensor) -> Tensor:
        """Return the mean v-prediction loss at the timesteps `t` (B,)."""
        noise = torch.randn_like(latents)
        sigma = self.sigmas[t].view(-1, 1, 1, 1)
        alpha = (1 + sigma**2).rsqrt()
        target = alpha * noise - alpha * sigma * latents
        with precision.mixed(), sdpa_kernel(SDPBackend.MATH):
            context = self.text.text_model(tokens)[0]
            predicted = self.unet(alpha * (latents + sigma * noise), t.float(), context)
        return F.mse_loss(predicted.float(), target)


def _out_of_place_layer(self: Any, x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None) -> Tensor:
    """The host's CLIP layer adds in place, which autograd refuses."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


def _initialise(module: nn.Module) -> None:
    """Give every parameter a starting value: the host's operations leave them uninitialised."""
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(child.weight, a=5**0.5)
        elif isinstance(child, nn.Embedding):
            nn.init.normal_(child.weight, std=1.0 if "token" in name else 0.1)
        elif isinstance(child, nn.LayerNorm | nn.GroupNorm):
            nn.init.ones_(child.weight)
        if getattr(child, "bias", None) is not None:
            nn.init.zeros_(child.bias)
