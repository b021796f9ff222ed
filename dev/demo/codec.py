"""The demo model's autoencoder: a linear encoder to 16x16 latents, a small convolutional decoder back to pictures.

The encoder is a principal component analysis of 8x8 patches, so that a diffusion model can be trained on its latents
before any decoder exists. The decoder sees the neighbouring latents too and so draws sharp lines again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 8
LATENT_CHANNELS = 24


class Encoder(nn.Module):
    """Project each 8x8 patch to its principal components; (B, 3, H, W) in [-1, 1] to (B, 24, H/8, W/8)."""

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
    """Draw the picture; (B, 24, h, w) to (B, 3, 8h, 8w), about [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        coarse, middle, fine = 96, 64, 32
        self.enter = nn.Conv2d(LATENT_CHANNELS, coarse, 3, padding=1)
        self.coarse = _residuals(coarse, 3)
        self.up_middle = nn.Conv2d(coarse, 4 * middle, 3, padding=1)
        self.middle = _residuals(middle, 3)
        self.up_fine = nn.Conv2d(middle, 4 * fine, 3, padding=1)
        self.fine = _residuals(fine, 2)
        self.leave = nn.Conv2d(fine, 3 * 4, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        h = _through(self.coarse, self.enter(latent))
        h = _through(self.middle, F.silu(F.pixel_shuffle(self.up_middle(h), 2)))
        h = _through(self.fine, F.silu(F.pixel_shuffle(self.up_fine(h), 2)))
        return F.pixel_shuffle(self.leave(h), 2)


def _residuals(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))


def _through(convs: nn.ModuleList, h: Tensor) -> Tensor:
    for conv in convs:
        h = h + F.silu(conv(h))
    return h
