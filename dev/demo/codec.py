"""The demo model's autoencoder: a linear encoder to 16x16 latents, a small convolutional decoder back to pictures.

The encoder is a principal component analysis of 8x8 patches, so that a diffusion model can be trained on its latents
before any decoder exists. The decoder sees the neighbouring latents too and so draws sharp lines again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 8
LATENT_CHANNELS = 12


class Encoder(nn.Module):
    """Project each 8x8 patch to its principal components; (B, 3, H, W) in [-1, 1] to (B, 12, H/8, W/8)."""

    mean: Tensor
    components: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * PATCH * PATCH))
        self.register_buffer("components", torch.zeros(LATENT_CHANNELS, 3 * PATCH * PATCH))

    def forward(self, image: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(image, PATCH)
        return torch.einsum("lp,bphw->blhw", self.components, patches - self.mean.view(1, -1, 1, 1))

    def fit(self, images: Tensor) -> float:
        """Fit to images (N, 3, H, W) in [-1, 1]; return the share of the variance that the latents keep.

        Component k is divided by the square root of its standard deviation, and all of them by one number that makes
        the latents' variance 1 on average: details then weigh more in the diffusion loss than in a plain projection,
        and less than in a whitened one.
        """
        patches = F.pixel_unshuffle(images, PATCH).movedim(1, -1).reshape(-1, 3 * PATCH * PATCH).double()
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        values, vectors = values.flip(0), vectors.flip(1)
        deviations = values[:LATENT_CHANNELS].sqrt()
        scales = 1 / deviations.sqrt()
        scales /= (scales * deviations).square().mean().sqrt()
        self.mean.copy_(mean)
        self.components.copy_((vectors[:, :LATENT_CHANNELS] * scales).T)
        return float(values[:LATENT_CHANNELS].sum() / values.sum())


class Decoder(nn.Module):
    """Draw the picture; (B, 12, h, w) to (B, 3, 8h, 8w), about [-1, 1]."""

    def __init__(self, width: int = 64, fine_width: int = 32) -> None:
        super().__init__()
        self.enter = nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1)
        self.coarse = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(4))
        self.up = nn.Conv2d(width, 4 * fine_width, 3, padding=1)
        self.fine = nn.ModuleList(nn.Conv2d(fine_width, fine_width, 3, padding=1) for _ in range(2))
        self.leave = nn.Conv2d(fine_width, 3 * 16, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        h = self.enter(latent)
        for conv in self.coarse:
            h = h + F.silu(conv(h))
        h = F.silu(F.pixel_shuffle(self.up(h), 2))
        for conv in self.fine:
            h = h + F.silu(conv(h))
        return F.pixel_shuffle(self.leave(h), 4)
