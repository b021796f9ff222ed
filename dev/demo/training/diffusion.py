"""Train the demo model's UNet and text model, together, on the latents of drawn faces."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path
from typing import Any

import comfy.clip_model
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import faces, model
from . import precision
from .codec import load_encoder
from .drawings import HELD_OUT, TrainingSet

BATCH = 32
LEARNING_RATE = 1e-3
WARMUP = 200
# From this share of the time on, the rate falls.
FALLS_FROM = 0.5
EMA_DECAY = 0.9995
# What a face looks like is decided at these timesteps: half of each batch is drawn from them.
DECISIVE = (100, 600)
CHECKPOINT_SECONDS = 120


def _out_of_place_layer(self: Any, x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None) -> Tensor:
    """The host's CLIP layer adds in place, which autograd refuses."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


class Captions:
    """Random captions as token ids, in the layout of the host's tokenizer."""

    def __init__(self) -> None:
        self.rng = random.Random()
        self.ids = model.byte_pairs()[0]
        tokenizer = model.FaceTokenizer()
        for text in ("", *model.words(), faces.description(faces.Face(glasses="yes", hat="yes", background="city"))):
            expected = [token for token, _ in tokenizer.tokenize_with_weights(text)[0]]
            if self.tokens(text) != expected:
                raise RuntimeError(f"the host's tokenizer reads {text!r} as {expected}, not as {self.tokens(text)}")

    def tokens(self, text: str) -> list[int]:
        words = text.replace(",", " ,").split()
        ids = [self.ids[model.START], *(self.ids[word + "</w>"] for word in words)]
        return ids + [self.ids[model.END]] * (model.MAX_TOKENS - len(ids))

    def batch(self, attributes: Tensor) -> Tensor:
        drawn = [faces.Face.from_indices(row) for row in attributes.tolist()]
        return torch.tensor([self.tokens(faces.caption(face, self.rng)) for face in drawn])


class Network(nn.Module):
    """The host's UNet and text model, set up for training."""

    sigmas: Tensor

    def __init__(self) -> None:
        super().__init__()
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


def timesteps() -> Tensor:
    """Draw the timesteps (BATCH,) of a batch: half over all, half over the decisive ones, each evenly."""
    half = BATCH // 2
    spread = (torch.arange(half) + torch.rand(2, half)) / half
    first, last = DECISIVE
    return torch.cat([spread[0] * 1000, first + spread[1] * (last - first)]).long()


def load_latents(work: Path) -> Tensor:
    """Return the latents (N, C, h, w) of all drawings, in fp16."""
    drawings, encoder = TrainingSet(work), load_encoder(work)
    return torch.cat([encoder(drawings.batch(rows)).half() for rows in torch.arange(len(drawings)).split(500)])


def train(work: Path, minutes: float) -> dict[str, Any]:
    """Train for `minutes` of wall clock, and go on from the checkpoint of a training that was broken off.

    The averaged weights are in diffusion.safetensors when it is done, and with every checkpoint in
    diffusion.partial.safetensors.
    """
    comfy.clip_model.CLIPLayer.forward = _out_of_place_layer
    torch.manual_seed(0)
    network, captions, latents = Network(), Captions(), load_latents(work)
    attributes = TrainingSet(work).attributes
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = {key: value.clone() for key, value in network.state_dict().items()}
    checkpoint, partial = work / "diffusion.pt", work / "diffusion.partial.safetensors"
    first, running, before = 1, 0.0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average, first, running, before = saved["average"], saved["step"] + 1, saved["loss"], saved["seconds"]
        torch.manual_seed(first)
    captions.rng.seed(first)
    start = kept = time.monotonic()
    for step in itertools.count(first):
        seconds = before + time.monotonic() - start
        progress = seconds / 60 / minutes
        if progress >= 1:
            break
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(
            1, step / WARMUP, 0.01 + 0.99 * (1 - progress) / (1 - FALLS_FROM)
        )
        rows = torch.randint(HELD_OUT, len(latents), (BATCH,))
        loss = network.loss(latents[rows].float(), captions.batch(attributes[rows]), timesteps())
        network.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay = min(EMA_DECAY, 1 - 1 / (1 + step / 10))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        running += (loss.item() - running) * max(0.005, 1 / step)
        if step % 100 == 0:
            print(f"diffusion step {step}  loss {running:.4f}  {progress:.0%}", flush=True)
        if time.monotonic() - kept > CHECKPOINT_SECONDS:
            kept = time.monotonic()
            save_file(average, partial)
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save({**state, "step": step, "loss": running, "seconds": seconds}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    save_file(average, work / "diffusion.safetensors")
    parameters = sum(p.numel() for p in network.parameters())
    return {"parameters": parameters, "batch": BATCH, "steps": step - 1, "minutes": minutes, "loss": round(running, 4)}
