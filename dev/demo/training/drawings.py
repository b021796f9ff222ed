"""The training set: drawn faces, their attributes and compositions, made once and kept in the work folder."""

from __future__ import annotations

import random
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import composition, drawing, faces

COUNT = 48000
HELD_OUT = 1024


def draw_one(seed: int) -> tuple[tuple[int, ...], tuple[float, ...], np.ndarray]:
    """Return the attributes, the composition and the picture (H, W, 3) of one face."""
    rng = random.Random(seed)
    face = faces.random_face(rng)
    composed = composition.random_composition(face, rng)
    return face.indices(), composed.row(), np.asarray(drawing.draw_composed(face, composed, rng))


def make(work: Path, count: int = COUNT) -> dict[str, int]:
    """Draw `count` faces into `work`, face i from seed i; return the figures."""
    images = np.zeros((count, drawing.SIZE, drawing.SIZE, 3), np.uint8)
    attributes = np.zeros((count, len(faces.ATTRIBUTES)), np.uint8)
    compositions = np.zeros((count, len(composition.NAMES)), np.float32)
    with Pool() as pool:
        for i, row in enumerate(pool.imap(draw_one, range(count), chunksize=64)):
            attributes[i], compositions[i], images[i] = row
            if (i + 1) % 4000 == 0:
                print(f"drawn {i + 1} of {count} faces", flush=True)
    np.save(work / "images.npy", images)
    np.save(work / "compositions.npy", compositions)
    np.save(work / "attributes.npy", attributes)
    return {"count": count, "held_out": HELD_OUT}


class TrainingSet:
    """The drawn faces of a work folder; the first HELD_OUT are never trained on."""

    def __init__(self, work: Path) -> None:
        self.images = np.load(work / "images.npy", mmap_mode="r")
        self.attributes = torch.from_numpy(np.load(work / "attributes.npy")).long()
        self.compositions = torch.from_numpy(np.load(work / "compositions.npy"))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [-1, 1]."""
        return torch.from_numpy(self.images[rows.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1

    def random_rows(self, count: int) -> Tensor:
        return torch.randint(HELD_OUT, len(self), (count,))
