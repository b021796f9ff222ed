"""The judge of the demo's pictures: a small network that tells a face's attributes and how it lies in its picture."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from .composition import LIMITS, NAMES
from .faces import ATTRIBUTES

WEIGHTS = Path(__file__).parent / "classifier.safetensors"

# Each 2x2 pixels first become channels. Then the convolutions, from 64x64 to 4x4: channels, stride.
CONVS = ((32, 2), (32, 1), (64, 2), (64, 1), (96, 2), (128, 2))
HIDDEN = 96


class Classifier(nn.Module):
    """Tell every attribute of a face and the six numbers of its composition; images (B, 3, 128, 128) in [0, 1]."""

    middle: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convs, self.norms, before = nn.ModuleList(), nn.ModuleList(), 3 * 4
        for width, stride in CONVS:
            self.convs.append(nn.Conv2d(before, width, 3, stride=stride, padding=1))
            self.norms.append(nn.GroupNorm(8, width))
            before = width
        # Where something is matters, so the last 4x4 places stay apart.
        self.hidden = nn.Linear(before * 16, HIDDEN)
        self.heads = nn.ModuleDict({name: nn.Linear(HIDDEN, len(values)) for name, values in ATTRIBUTES.items()})
        self.composition = nn.Linear(HIDDEN, len(NAMES))
        low, high = torch.tensor([LIMITS[name] for name in NAMES]).T
        self.register_buffer("middle", (low + high) / 2, persistent=False)
        self.register_buffer("spread", (high - low) / 4, persistent=False)

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the logits (B, values) of each attribute, and the compositions (B, 6) as in `composition.NAMES`."""
        h = F.pixel_unshuffle(images * 2 - 1, 2)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.silu(norm(conv(h)))
        h = F.silu(self.hidden(h.flatten(1)))
        compositions = self.middle + self.spread * self.composition(h).float()
        return {name: head(h) for name, head in self.heads.items()}, compositions

    @torch.no_grad()
    def judge(self, images: Tensor) -> dict[str, Tensor]:
        """Return, per attribute, the index (B,) into its values."""
        return {name: logits.argmax(1) for name, logits in self(images)[0].items()}


def load(file: Path = WEIGHTS) -> Classifier:
    """Return the shipped classifier."""
    classifier = Classifier()
    classifier.load_state_dict({key: value.float() for key, value in load_file(file).items()})
    return classifier.eval().requires_grad_(False)
