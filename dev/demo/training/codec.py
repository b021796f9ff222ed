"""Fit the encoder and train the decoder on drawn faces."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from .. import drawing
from ..codec import PATCH, Decoder, Encoder
from .drawings import HELD_OUT, TrainingSet

BATCH = 16
# Sides of the parts that the decoder learns from, in latents.
PART = 8
PEAK_LEARNING_RATE = 2e-3
# Sampled latents are less exact than encoded ones.
LATENT_NOISE = 0.25


def fit_encoder(work: Path) -> dict[str, float]:
    """Fit the encoder on 4,000 faces; return its figures."""
    encoder = Encoder()
    kept = encoder.fit(TrainingSet(work).batch(torch.arange(4000)))
    save_file(encoder.state_dict(), work / "encoder.safetensors")
    return {"variance_kept": kept}


def load_encoder(work: Path) -> Encoder:
    encoder = Encoder()
    encoder.load_state_dict(load_file(work / "encoder.safetensors"))
    return encoder


def _edges(image: Tensor) -> tuple[Tensor, Tensor]:
    return image.diff(dim=2), image.diff(dim=3)


def train_decoder(work: Path, steps: int) -> dict[str, float]:
    """Train the decoder to undo the encoder; return its figures on held-out faces."""
    torch.manual_seed(1)
    drawings, encoder, decoder = TrainingSet(work), load_encoder(work), Decoder()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    for step in range(1, steps + 1):
        # A part of each drawing is enough: the decoder sees no farther.
        left, top = (PATCH * int(torch.randint(drawing.SIZE // PATCH - PART + 1, ())) for _ in range(2))
        image = drawings.batch(drawings.random_rows(BATCH))[..., top : top + PART * PATCH, left : left + PART * PATCH]
        latent = encoder(image)
        noise = torch.rand(BATCH, 1, 1, 1) * LATENT_NOISE
        drawn = decoder(latent + noise * torch.randn_like(latent))
        loss = F.l1_loss(drawn, image)
        loss = loss + sum(F.l1_loss(a, b) for a, b in zip(_edges(drawn), _edges(image), strict=True))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"decoder step {step} of {steps}  loss {loss.item():.4f}", flush=True)
    save_file(decoder.state_dict(), work / "decoder.safetensors")
    with torch.no_grad():
        image = drawings.batch(torch.arange(HELD_OUT))
        error = (decoder(encoder(image)).clamp(-1, 1) - image).square().mean() / 4
    return {"steps": steps, "psnr_db": -10 * torch.log10(error).item()}
