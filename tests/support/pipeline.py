"""Diffusers' pipeline around tiny networks with random weights, and random edits for it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import SemanticStableDiffusionPipeline, UNet2DConditionModel

NO_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
WORDS = ["a", "face", "dog", "smiling", "glasses", "hat", "beard", "purple", "old", "blurry"]


def fill_with_noise(module: torch.nn.Module, seed: int) -> None:
    """Draw every parameter, keeping activations near unit size."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise / parameter[0].numel() ** 0.5
        else:
            parameter.data = 0.1 * noise
    for name, parameter in module.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data += 1


def diffusers_unet(size: int, *channels: int) -> UNet2DConditionModel:
    """Return a UNet of a layer per block whose attention sees texts 32 wide; it has no weights yet."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=size,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        cross_attention_dim=32,
        attention_head_dim=4,
    )


def build_pipeline(folder: Path) -> SemanticStableDiffusionPipeline:
    """Return diffusers' pipeline; it knows WORDS, by a tokenizer whose files go to `folder`."""
    from diffusers import AutoencoderKL, DDIMScheduler, SemanticStableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    merges, tokens = [], ["<|startoftext|>", "<|endoftext|>", *map(chr, range(97, 123))]
    tokens += [letter + "</w>" for letter in map(chr, range(97, 123))]
    for word in WORDS:
        symbols = [*word[:-1], word[-1] + "</w>"]
        while len(symbols) > 1:
            merges.append(f"{symbols[0]} {symbols[1]}")
            symbols[:2] = [symbols[0] + symbols[1]]
            tokens.append(symbols[0])
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]))
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12, pad_token="<|endoftext|>"
    )
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text_encoder = CLIPTextModel(CLIPTextConfig(vocab_size=len(vocabulary), max_position_embeddings=12, **sizes, **ids))
    unet = diffusers_unet(8, 32, 64)
    for seed, module in enumerate((text_encoder, unet)):
        fill_with_noise(module, seed)
        module.eval()
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=True, steps_offset=1)
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=4, norm_num_groups=32)
    parts = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet, "scheduler": scheduler}
    pipe = SemanticStableDiffusionPipeline(**parts, **NO_CHECKER)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_weights(unet: Any, model: Any, sizes: dict[str, Any]) -> None:
    """Load the weights of diffusers' UNet into the host's MODEL, a UNet with the same sizes."""
    import comfy.utils

    # The names' maker takes the depths off its lists.
    names = comfy.utils.unet_to_diffusers(copy.deepcopy(sizes))
    weights = {names[key]: value.clone() for key, value in unet.state_dict().items()}
    model.model.diffusion_model.load_state_dict(weights, strict=True)


def random_edit(seed: int, steps: int) -> dict[str, Any]:
    """Draw 1 to 4 concepts and what they share, as Concept's and Settings' arguments.

    At each step with some but not all concepts warm, one of the warm ones is not cooled: the reference divides by zero
    there otherwise.
    """
    generator = torch.Generator().manual_seed(seed)

    def number(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    concepts: list[dict[str, Any]] = []
    for _ in range(1 + seed % 4):
        warmup = whole(0, steps - 3)
        concepts.append(
            {
                "direction": "add" if whole(0, 1) else "remove",
                "guidance_scale": number(1, 8),
                "threshold": [0.0, 0.5, 0.8, 0.9, 0.95, 0.99][whole(0, 5)],
                "warmup_steps": warmup,
                "cooldown_steps": whole(warmup + 1, steps) if whole(0, 2) == 0 else None,
                "weight": number(0.2, 2),
            }
        )
    last = max(concept["warmup_steps"] for concept in concepts)
    first = min(concepts, key=lambda concept: concept["warmup_steps"])
    if first["cooldown_steps"] is not None:
        first["cooldown_steps"] = max(first["cooldown_steps"], last + 1)
    momentum = seed % 3 != 0
    settings = {"momentum_scale": number(0.1, 0.6) if momentum else 0.0, "momentum_beta": number(0.1, 0.8)}
    return {"concepts": concepts, "settings": settings, "batch": 1 + (seed // 2) % 3, "prompts": WORDS[3:7]}


def pipeline_arguments(edit: dict[str, Any]) -> dict[str, Any]:
    """Return the edit under the names of diffusers' pipeline."""
    concepts = edit["concepts"]
    return {
        "editing_prompt": edit["prompts"][: len(concepts)],
        "reverse_editing_direction": [concept["direction"] == "remove" for concept in concepts],
        "edit_guidance_scale": [concept["guidance_scale"] for concept in concepts],
        "edit_threshold": [concept["threshold"] for concept in concepts],
        "edit_warmup_steps": [concept["warmup_steps"] for concept in concepts],
        "edit_cooldown_steps": [concept["cooldown_steps"] or 10**6 for concept in concepts],
        "edit_weights": [concept["weight"] for concept in concepts],
        "edit_momentum_scale": edit["settings"]["momentum_scale"],
        "edit_mom_beta": edit["settings"]["momentum_beta"],
    }
