"""Train the attribute classifier on drawn faces."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from ..classifier import Classifier
from ..codec import Decoder
from ..faces import ATTRIBUTES
from .codec import load_encoder
from .drawings import HELD_OUT, TrainingSet

BATCH, STEPS = 64, 1500
PEAK_LEARNING_RATE = 2e-3


def train(work: Path) -> dict[str, float]:
    """Train on drawings, an eighth of them redrawn by the codec; return the accuracy on held-out drawings."""
    torch.manual_seed(2)
    drawings, encoder, decoder, classifier = TrainingSet(work), load_encoder(work), Decoder(), Classifier()
    decoder.load_state_dict(load_file(work / "decoder.safetensors"))
    decoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        rows = drawings.random_rows(BATCH)
        image = drawings.batch(rows)
        redrawn = BATCH // 8
        latent = encoder(image[:redrawn])
        image[:redrawn] = decoder(latent + 0.1 * torch.randn_like(latent)).clamp(-1, 1)
        image = image + torch.rand(BATCH, 1, 1, 1) * 0.1 * torch.randn_like(image)
        logits = classifier((image + 1) / 2)
        loss = sum(F.cross_entropy(logits[name], drawings.attributes[rows, i]) for i, name in enumerate(ATTRIBUTES))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"classifier step {step} of {STEPS}  loss {loss.item():.4f}", flush=True)
    save_file({k: v.half() for k, v in classifier.state_dict().items()}, work / "classifier.safetensors")
    judged = classifier.judge((drawings.batch(torch.arange(HELD_OUT)) + 1) / 2)
    return {
        name: (judged[name] == drawings.attributes[:HELD_OUT, i]).float().mean().item()
        for i, name in enumerate(ATTRIBUTES)
    }
