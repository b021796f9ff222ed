"""The demo model and its judge, in process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class JudgedModel:
    """The demo model, and what its judge sees in what it draws."""

    def __init__(self) -> None:
        from dev.demo import classifier, model

        self.model, self.clip, self.vae = model.load()
        self.judge = classifier.load()

    def encoded(self, *texts: str) -> list[Any]:
        """Return a CONDITIONING that says something else for each image of a batch."""
        each = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([embedding for embedding, _ in each]), dict(each[0][1])]]

    def attributes(self, latents: Tensor) -> dict[str, Tensor]:
        """Return what the faces show: {attribute: the index of a value for each}."""
        return self.judge.judge(self.vae.decode(latents).movedim(-1, 1))
