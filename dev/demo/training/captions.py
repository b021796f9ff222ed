"""Random captions of faces as token ids."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from .. import faces, model


class Captions:
    """Captions in the layout of the host's tokenizer, without its cost."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.ids = model.byte_pairs()[0]
        tokenizer = model.FaceTokenizer()
        for text in ("", *model.words(), faces.description(faces.Face(glasses="yes", hat="yes", background="city"))):
            expected = [token for token, _ in tokenizer.tokenize_with_weights(text)[0]]
            if self.tokens(text) != expected:
                raise RuntimeError(f"the host's tokenizer reads {text!r} as {expected}, not as {self.tokens(text)}")

    def tokens(self, text: str) -> list[int]:
        words = text.replace(",", " ,").split()
        ids = [self.ids[model.START], *(self.ids[word + "</w>"] for word in words)]
        return ids + [self.ids[model.END]] * (model.MAX_TOKENS - len(ids))

    def batch(self, attributes: Tensor) -> Tensor:
        """Return a caption, (B, model.MAX_TOKENS), for each row of attributes."""
        drawn = [faces.Face.from_indices(row) for row in attributes.tolist()]
        return torch.tensor([self.tokens(faces.caption(face, self.rng)) for face in drawn])
