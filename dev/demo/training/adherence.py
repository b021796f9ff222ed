"""How often what a prompt names appears in the demo model's pictures, judged by the classifier.

It takes about 16 minutes on 2 cores: 5,607 faces with 40 evaluations of 4.3 ms each.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodes as host_nodes
import torch
from torch import Tensor

from .. import classifier, model
from ..codec import LATENT_CHANNELS
from ..faces import ATTRIBUTES, CAPTION_START, PHRASES

STEPS = 20
CFG_SCALES = (3.0, 4.0, 5.0)
# Each phrase is asked for this often at least, alone and with others.
FACES = 48
BATCH = 16

# An attribute and a value that has words.
Asked = tuple[str, str]
ALL = tuple((name, value) for name, values in PHRASES.items() for value, phrase in values.items() if phrase)


def alone() -> Iterator[tuple[Asked, ...]]:
    """Yield every phrase by itself."""
    for asked in ALL:
        yield from [(asked,)] * FACES


def in_fours() -> Iterator[tuple[Asked, ...]]:
    """Yield four random phrases of different attributes, until each phrase was asked for often enough."""
    rng, count = random.Random(0), Counter[Asked]()
    while min(count[asked] for asked in ALL) < FACES:
        prompt = tuple(rng.sample(ALL, 4))
        if len({name for name, _ in prompt}) == 4:
            count.update(prompt)
            yield prompt


def text_of(prompt: tuple[Asked, ...]) -> str:
    return ", ".join([CAPTION_START, *(PHRASES[name][value] for name, value in prompt)])


class Sampler:
    """Draws faces with the host's KSampler and judges them."""

    def __init__(self, weights: Path, judge_weights: Path) -> None:
        self.model, self.clip, self.vae = model.load(weights)
        self.judge = classifier.load(judge_weights)

    def judged(self, texts: list[str], cfg: float, seed: int) -> dict[str, Tensor]:
        """Return the attributes, each (B,) of value indices, of a face of every text."""
        empty = {"samples": torch.zeros(len(texts), LATENT_CHANNELS, 16, 16)}
        prompts = self._encoded(texts), self._encoded([""])
        (latent,) = host_nodes.common_ksampler(self.model, seed, STEPS, cfg, "euler", "normal", *prompts, empty)
        return self.judge.judge(self.vae.decode(latent["samples"]).movedim(-1, 1))

    def _encoded(self, texts: list[str]) -> list[Any]:
        """Return a CONDITIONING with a text for each face."""
        each = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([embedding for embedding, _ in each]), each[0][1]]]


@torch.inference_mode()
def measure(weights: Path, judge_weights: Path) -> dict[str, Any]:
    """Return the share of pictures that show a phrase: for each cfg and phrase, and the least of all."""
    sampler = Sampler(weights, judge_weights)
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for cfg in CFG_SCALES:
        shares[f"cfg {cfg:g}"] = {
            "alone": _shares(sampler, list(alone()), cfg),
            "in prompts of four": _shares(sampler, list(in_fours()), cfg),
        }
    share, *least = min(
        (share, phrase, kind, cfg)
        for cfg, kinds in shares.items()
        for kind, phrases in kinds.items()
        for phrase, share in phrases.items()
    )
    print(f"least: {share:.1%} ({', '.join(least)})", flush=True)
    return {**shares, "least": {"phrase": ", ".join(least), "share": share}}


def _shares(sampler: Sampler, prompts: list[tuple[Asked, ...]], cfg: float) -> dict[str, float]:
    """Return how often each phrase appears where it is asked for."""
    count, seen = Counter[Asked](), Counter[Asked]()
    for seed, start in enumerate(range(0, len(prompts), BATCH)):
        batch = prompts[start : start + BATCH]
        judged = sampler.judged([text_of(prompt) for prompt in batch], cfg, seed)
        for i, prompt in enumerate(batch):
            for name, value in prompt:
                count[name, value] += 1
                seen[name, value] += ATTRIBUTES[name][judged[name][i]] == value
    return {PHRASES[name][value]: round(seen[name, value] / count[name, value], 4) for name, value in ALL}
