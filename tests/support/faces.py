"""A drawing that stands for a user's picture, and what the demo's judge sees in pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from dev.demo import classifier, faces
from dev.demo.drawing import draw

FACE = faces.Face()
CAPTION = faces.description(FACE)


def drawn_face() -> Image.Image:
    """Return a drawing of what CAPTION says."""
    return draw(FACE, random.Random(5))


def as_png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def as_images(pictures: Sequence[Image.Image | np.ndarray] | np.ndarray) -> torch.Tensor:
    """Return pictures as an IMAGE, (B, H, W, 3) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float() / 255


def judged(pictures: Sequence[Image.Image] | np.ndarray) -> dict[str, list[str]]:
    """Return what faces show: {attribute: a value for each}."""
    found = classifier.load().judge(as_images(pictures).movedim(-1, 1))
    return {name: [faces.ATTRIBUTES[name][i] for i in indices] for name, indices in found.items()}
