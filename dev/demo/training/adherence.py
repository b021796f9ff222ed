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
from ..faces import ATTRIBUTES, CAPTION_START, NAMED

STEPS = 20
CFG_SCALES = (3.0, 4.0, 5.0)
# Each phrase is asked for this often at least, alone and with others.
FACES = 48
BATCH = 16

# Phrases.
Prompt = tuple[str, ...]


def alone() -> Iterator[Prompt]:
    """Yield every phrase by itself."""
    for phrase in NAMED:
        yield from [(phrase,)] * FACES


def in_fours() -> Iterator[Prompt]:
    """Yield four random phrases of different attributes, until each phrase was asked for often enough."""
    rng, count = random.Random(0), Counter[str]()
    while min(count[phrase] for phrase in NAMED) < FACES:
        prompt = tuple(rng.sample(list(NAMED), 4))
        if len({NAMED[phrase][0] for phrase in prompt}) == 4:
            count.update(prompt)
            yield prompt


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


def _shares(sampler: Sampler, prompts: list[Prompt], cfg: float) -> dict[str, float]:
    """Return how often each phrase appears where it is asked for."""
    count, seen = Counter[str](), Counter[str]()
    for seed, start in enumerate(range(0, len(prompts), BATCH)):
        batch = prompts[start : start + BATCH]
        judged = sampler.judged([", ".join([CAPTION_START, *prompt]) for prompt in batch], cfg, seed)
        for i, prompt in enumerate(batch):
            for phrase in prompt:
                name, value = NAMED[phrase]
                count[phrase] += 1
                seen[phrase] += ATTRIBUTES[name][judged[name][i]] == value
    return {phrase: round(seen[phrase] / count[phrase], 4) for phrase in NAMED}
