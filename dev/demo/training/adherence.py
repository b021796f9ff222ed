"""How often a prompted attribute appears in the demo model's pictures, judged by the classifier."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import nodes as host_nodes
import torch

from .. import classifier, faces, model

STEPS = 20
CFG_SCALES = (3.0, 5.0)
SAMPLES = 48


def prompts(cfg: float) -> list[dict[str, str]]:
    """Return every phrase alone, and as many random combinations of four, as {attribute: value}."""
    single = [
        {name: value}
        for name, values in faces.ATTRIBUTES.items()
        for value, phrase in zip(values, faces.PHRASES[name], strict=True)
        if phrase
    ]
    rng = random.Random(cfg)
    combined = [
        {name: value for phrase in rng.sample(single, 4) for name, value in phrase.items()} for _ in range(len(single))
    ]
    return single + combined


def text_of(prompt: dict[str, str]) -> str:
    phrases = [faces.PHRASES[name][faces.ATTRIBUTES[name].index(value)] for name, value in prompt.items()]
    return ", ".join([faces.CAPTION_START, *(phrase for phrase in phrases if phrase)])


@torch.inference_mode()
def measure(weights: Path, judge_weights: Path) -> dict[str, Any]:
    """Sample every prompt at every CFG scale with the host's KSampler; return the share of pictures that follow it.

    Single phrases take SAMPLES pictures each, combinations of four a quarter as many.
    """
    patcher, clip, vae = model.load(weights)
    judge = classifier.load(judge_weights)

    def encode(text: str) -> Any:
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    figures: dict[str, Any] = {}
    for cfg in CFG_SCALES:
        alone: dict[str, float] = {}
        together: dict[str, list[float]] = {name: [] for name in faces.ATTRIBUTES}
        for seed, prompt in enumerate(prompts(cfg)):
            count = SAMPLES if len(prompt) == 1 else SAMPLES // 4
            empty = {"samples": torch.zeros(count, 4, 16, 16), "downscale_ratio_spacial": 8}
            (latent,) = host_nodes.common_ksampler(
                patcher, seed, STEPS, cfg, "euler", "normal", encode(text_of(prompt)), encode(""), empty
            )
            judged = judge.judge(vae.decode(latent["samples"]).movedim(-1, 1))
            for name, value in prompt.items():
                share = (judged[name] == faces.ATTRIBUTES[name].index(value)).float().mean().item()
                if len(prompt) == 1:
                    alone[text_of(prompt)] = round(share, 4)
                else:
                    together[name].append(share)
        combined = {name: round(sum(shares) / len(shares), 4) for name, shares in together.items() if shares}
        figures[f"cfg {cfg:g}"] = {"alone": alone, "in prompts that name several": combined}
        print(f"cfg {cfg:g}: worst phrase alone {min(alone.values()):.1%}, with others {min(combined.values()):.1%}")
    return figures
