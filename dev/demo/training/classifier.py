"""Train the classifier on drawn faces."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ..classifier import Classifier
from ..codec import Decoder
from ..composition import NAMES
from ..faces import ATTRIBUTES
from . import precision
from .codec import load_encoder
from .drawings import HELD_OUT, TrainingSet

BATCH = 64
PEAK_LEARNING_RATE = 2e-3
# An eighth of each batch is drawings that the codec redrew: the judge must not depend on how soft the model's pictures
# are.
SOFT, SOFT_DRAWINGS = BATCH // 8, 2048
LATENT_NOISE, PIXEL_NOISE = 0.1, 0.1


def train(work: Path, steps: int = 3000) -> dict[str, dict[str, float]]:
    """Train on drawings; return the accuracy and the mean error of the composition on held-out ones."""
    torch.manual_seed(2)
    drawings, classifier = TrainingSet(work), Classifier()
    soft_rows = drawings.random_rows(SOFT_DRAWINGS)
    soft_images = _redrawn(work, drawings, soft_rows)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    for step in range(1, steps + 1):
        rows, soft = drawings.random_rows(BATCH - SOFT), torch.randint(SOFT_DRAWINGS, (SOFT,))
        images = torch.cat([drawings.batch(rows), soft_images[soft].float()])
        images += torch.rand(BATCH, 1, 1, 1) * PIXEL_NOISE * torch.randn_like(images)
        rows = torch.cat([rows, soft_rows[soft]])
        with precision.mixed():
            logits, compositions = classifier((images + 1) / 2)
        loss = _composition_loss(classifier, compositions, drawings.compositions[rows])
        for i, name in enumerate(ATTRIBUTES):
            loss = loss + F.cross_entropy(logits[name].float(), drawings.attributes[rows, i])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"classifier step {step} of {steps}  loss {loss.item():.4f}", flush=True)
    result = figures(classifier, drawings)
    save_file({k: v.half() for k, v in classifier.state_dict().items()}, work / "classifier.safetensors")
    return result


@torch.no_grad()
def _redrawn(work: Path, drawings: TrainingSet, rows: Tensor) -> Tensor:
    """Return drawings (N, 3, H, W) in [-1, 1] as the codec makes them from latents with a little noise, in fp16."""
    encoder, decoder = load_encoder(work), Decoder()
    decoder.load_state_dict(load_file(work / "decoder.safetensors"))
    parts = []
    for part in rows.split(64):
        latents = encoder(drawings.batch(part))
        parts.append(decoder(latents + LATENT_NOISE * torch.randn_like(latents)).clamp(-1, 1).half())
    return torch.cat(parts)


def _composition_loss(classifier: Classifier, predicted: Tensor, true: Tensor) -> Tensor:
    """Return the loss in units of a quarter of what the limits span, summed over the six numbers."""
    return F.smooth_l1_loss(predicted / classifier.spread, true / classifier.spread, beta=0.1) * len(NAMES)


@torch.no_grad()
def figures(classifier: Classifier, drawings: TrainingSet) -> dict[str, dict[str, float]]:
    """Return what the classifier is worth on the drawings that it was not trained on."""
    logits, compositions = classifier((drawings.batch(torch.arange(HELD_OUT)) + 1) / 2)
    right = [logits[name].argmax(1) == drawings.attributes[:HELD_OUT, i] for i, name in enumerate(ATTRIBUTES)]
    errors = (compositions - drawings.compositions[:HELD_OUT]).abs().mean(0)
    return {
        "accuracy": {name: share.float().mean().item() for name, share in zip(ATTRIBUTES, right, strict=True)},
        "mean error": dict(zip(NAMES, errors.tolist(), strict=True)),
    }
