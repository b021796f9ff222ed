"""A small classifier of the drawn attributes: the judge of the demo's pictures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from .faces import ATTRIBUTES

WEIGHTS = Path(__file__).parent / "classifier.safetensors"
INPUT_SIZE = 64


class Classifier(nn.Module):
    """Tell every attribute of a face; images (B, 3, H, W) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 96)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in widths[1:])
        self.hidden = nn.Linear(widths[-1] * 16, 128)
        self.heads = nn.ModuleDict({name: nn.Linear(128, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits, (B, values), of each attribute."""
        h = F.interpolate(images, size=(INPUT_SIZE, INPUT_SIZE), mode="area") * 2 - 1
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.silu(norm(conv(h)))
        h = F.silu(self.hidden(h.flatten(1)))
        return {name: head(h) for name, head in self.heads.items()}

    @torch.no_grad()
    def judge(self, images: Tensor) -> dict[str, Tensor]:
        """Return, per attribute, the index (B,) into its values."""
        return {name: logits.argmax(1) for name, logits in self(images).items()}


def load(file: Path = WEIGHTS) -> Classifier:
    """Return the shipped classifier."""
    classifier = Classifier()
    classifier.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    return classifier.eval().requires_grad_(False)
