"""The same weights sampled by diffusers' pipeline and by the host with our nodes end in the same latents."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.core import noise
from support.host import Host
from support.pipeline import pipeline_arguments, random_edit
from support.tensors import distance, relative

STEPS = 10
CFG = 4.0
PROMPT, NEGATIVE = "a dog", "blurry"


def embedding(pipe: Any, text: str) -> list[Any]:
    ids = pipe.tokenizer(text, padding="max_length", max_length=12, return_tensors="pt").input_ids
    return [[pipe.text_encoder(ids)[0].clone(), {}]]


def sample_pipeline(pipe: Any, start: torch.Tensor, **edit: Any) -> torch.Tensor:
    return pipe(
        [PROMPT] * len(start),
        negative_prompt=[NEGATIVE] * len(start),
        height=8,
        width=8,
        num_inference_steps=STEPS,
        guidance_scale=CFG,
        latents=start.clone(),
        output_type="latent",
        **edit,
    ).images


def sample_host(host: Host, model: Any, pipe: Any, start: torch.Tensor) -> torch.Tensor:
    """Follow the pipeline's timesteps with the host's euler; return latents in the pipeline's scale."""
    import comfy.sample

    pipe.scheduler.set_timesteps(STEPS)
    sigmas = model.get_model_object("model_sampling").sigmas[pipe.scheduler.timesteps]
    sigmas = torch.cat([sigmas, torch.zeros(1)])
    scaled = start * float((1 + sigmas[0] ** 2).sqrt() / sigmas[0])
    prompts, euler = (embedding(pipe, PROMPT), embedding(pipe, NEGATIVE)), host.samplers.sampler_object("euler")
    nothing = torch.zeros_like(start)
    out = comfy.sample.sample_custom(model, scaled, CFG, euler, sigmas, *prompts, nothing, disable_pbar=True)
    return out * model.model.latent_format.scale_factor


def edited_model(host: Host, model: Any, pipe: Any, edit: dict[str, Any]) -> Any:
    """Return the MODEL with the concepts; a node takes a step as its share of all steps."""
    concepts = []
    for text, settings in zip(edit["prompts"], edit["concepts"], strict=False):
        given = {**settings, "strength": 1.0, "threshold_over": "channel"}
        given["start_percent"] = given.pop("warmup_steps") / STEPS
        given["end_percent"] = (given.pop("cooldown_steps") or STEPS) / STEPS
        concepts.append(host.pack.nodes.SEGAConceptFromConditioning.execute(embedding(pipe, text), **given)[0])
    return host.patched(*concepts, model=model, **edit["settings"])


def test_the_unedited_latents_agree(host: Host, twin: Any, pipeline: Any) -> None:
    want = sample_pipeline(pipeline, noise(2, 4, 8, 8))
    assert distance(sample_host(host, twin, pipeline, noise(2, 4, 8, 8)), want) < 1e-4


@pytest.mark.parametrize("seed", range(12))
def test_the_edited_latents_agree(seed: int, host: Host, twin: Any, pipeline: Any) -> None:
    edit = random_edit(seed, STEPS)
    start = noise(edit["batch"], 4, 8, 8, seed=seed)
    unedited = sample_pipeline(pipeline, start)
    want = sample_pipeline(pipeline, start, **pipeline_arguments(edit))
    got = sample_host(host, edited_model(host, twin, pipeline, edit), pipeline, start)
    assert distance(want, unedited) > 1e-3
    assert distance(got, want) < 3e-4
    assert relative(got - want, want - unedited) < 0.05
