"""The training set: drawn faces and their attributes, made once and kept in the work folder."""

from __future__ import annotations

import random
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import faces

COUNT = 32000
HELD_OUT = 512


def draw_one(seed: int, together: bool = False) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the attributes and the picture (H, W, 3) of one face; with its companions if asked."""
    rng = random.Random(seed)
    face = faces.random_face(rng)
    if together:
        face = faces.with_companions(face, rng)
    return face.indices(), np.asarray(faces.draw(face, rng))


def make(work: Path, count: int = COUNT, together: bool = False) -> None:
    """Draw `count` faces into `work`; face i comes from seed i."""
    images = np.zeros((count, faces.SIZE, faces.SIZE, 3), np.uint8)
    attributes = np.zeros((count, len(faces.ATTRIBUTES)), np.uint8)
    with Pool() as pool:
        for i, (indices, image) in enumerate(
            pool.imap(partial(draw_one, together=together), range(count), chunksize=64)
        ):
            images[i], attributes[i] = image, indices
            if (i + 1) % 4000 == 0:
                print(f"drawn {i + 1} of {count} faces", flush=True)
    np.save(work / "images.npy", images)
    np.save(work / "attributes.npy", attributes)


class TrainingSet:
    """The drawn faces of a work folder; the first HELD_OUT are never trained on."""

    def __init__(self, work: Path) -> None:
        self.images = np.load(work / "images.npy", mmap_mode="r")
        self.attributes = torch.from_numpy(np.load(work / "attributes.npy")).long()

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [-1, 1]."""
        return torch.from_numpy(self.images[rows.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1

    def random_rows(self, count: int) -> Tensor:
        return torch.randint(HELD_OUT, len(self), (count,))
