"""Train the demo model's UNet and text model, together, on the latents of drawn faces."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.clip_model
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from .. import faces, model
from .codec import load_encoder
from .drawings import TrainingSet

BATCH = 32
WARMUP = 200
EMA_DECAY = 0.9995


def _out_of_place_layer(self: Any, x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None) -> Tensor:
    """The host's CLIP layer adds in place, which autograd refuses."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


class Captions:
    """Random captions as token ids, in the layout of the host's tokenizer."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.ids = model.byte_pairs()[0]
        tokenizer = model.FaceTokenizer()
        for text in ("", "a face, smiling, glasses", "purple background, ginger hair, hat, dark skin, beard, frowning"):
            expected = [token for token, _ in tokenizer.tokenize_with_weights(text)[0]]
            if self.tokens(text) != expected:
                raise RuntimeError(f"the host's tokenizer reads {text!r} as {expected}, not as {self.tokens(text)}")

    def tokens(self, text: str) -> list[int]:
        words = text.replace(",", " ,").split()
        ids = [self.ids[model.START], *(self.ids[word + "</w>"] for word in words)]
        return ids + [self.ids[model.END]] * (model.MAX_TOKENS - len(ids))

    def batch(self, attributes: Tensor) -> Tensor:
        return torch.tensor([self.tokens(faces.caption(faces.Face(*row), self.rng)) for row in attributes.tolist()])


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
        context = self.text.text_model(tokens)[0]
        return F.mse_loss(self.unet(alpha * (latents + sigma * noise), t.float(), context), target)


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


def train(work: Path, minutes: float, learning_rate: float) -> dict[str, Any]:
    """Train for `minutes` of wall clock, from the partial weights of a broken-off training where there are any."""
    partial = work / "diffusion.partial.safetensors"
    seed = int(partial.exists())
    network = _network(seed, partial if seed else None)
    start = time.monotonic()
    figures = _fit(network, work, seed, learning_rate, lambda _: (time.monotonic() - start) / 60 / minutes, partial)
    return {**figures, "minutes": minutes}


def train_on(work: Path, weights: Path, steps: int, learning_rate: float) -> dict[str, Any]:
    """Train packed weights on for `steps` on the drawings of a work folder."""
    return _fit(_network(0, weights), work, 0, learning_rate, lambda step: step / steps)


def _network(seed: int, weights: Path | None) -> Network:
    torch.manual_seed(seed)
    network = Network()
    if weights:
        state = load_file(weights)
        network.load_state_dict({key: state[key].float() for key in network.state_dict()})
    return network


def _fit(
    network: Network,
    work: Path,
    seed: int,
    learning_rate: float,
    progress_at: Callable[[int], float],
    partial: Path | None = None,
) -> dict[str, Any]:
    """Train until the progress is 1; write the averaged weights into the work folder, and return the figures.

    The rate rises to `learning_rate` and falls to a fiftieth of it. The average is written to `partial` now and then.
    """
    comfy.clip_model.CLIPLayer.forward = _out_of_place_layer
    drawings, encoder, captions = TrainingSet(work), load_encoder(work), Captions(seed)
    latents = torch.cat([encoder(drawings.batch(rows)).half() for rows in torch.arange(len(drawings)).split(500)])
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    step, running = 0, 0.0

    while (progress := progress_at(step)) < 1:
        rate = learning_rate * min(1, (step + 1) / WARMUP) * min(1, 0.02 + 1.6 * (1 - progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = drawings.random_rows(BATCH)
        # One timestep from each of BATCH equal ranges.
        t = ((torch.arange(BATCH) + torch.rand(BATCH)) / BATCH * 1000).long()
        loss = network.loss(latents[rows].float(), captions.batch(drawings.attributes[rows]), t)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(EMA_DECAY, 1 - 1 / (1 + step / 10))
        with torch.no_grad():
            for k, v in network.state_dict().items():
                average[k].lerp_(v, 1 - decay)
        running += (loss.item() - running) * max(0.01, 1 / step)
        if step % 100 == 0:
            print(f"diffusion step {step}  loss {running:.4f}  {progress:.0%}", flush=True)
        if partial is not None and step % 500 == 0:
            save_file(average, partial)
    save_file(average, work / "diffusion.safetensors")
    parameters = sum(p.numel() for p in network.parameters())
    return {"parameters": parameters, "batch": BATCH, "steps": step, "loss": round(running, 4)}
