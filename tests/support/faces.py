"""A drawing that stands for a user's picture, and what the demo's judge sees in pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from dev.demo import classifier, faces

CAPTION = "a face, neutral, brown hair, light skin, blue background"


def drawn_face() -> Image.Image:
    """Return a drawing of what CAPTION says."""
    face = faces.Face(mouth=0, glasses=0, hat=0, beard=0, hair=1, skin=0, background=0)
    return faces.draw(face, random.Random(5))


def as_png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def judged(pictures: Sequence[Image.Image] | np.ndarray) -> dict[str, list[str]]:
    """Return what faces show: {attribute: a value for each}."""
    images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).movedim(-1, 1).float() / 255
    found = classifier.load().judge(images)
    return {name: [faces.ATTRIBUTES[name][i] for i in indices] for name, indices in found.items()}
