"""The same weights sampled by diffusers' pipeline and by the host with our nodes end in the same latents."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.host import Host
from support.pipeline import pipeline_arguments, random_edit

STEPS = 10
CFG = 4.0
PROMPT, NEGATIVE = "a dog", "blurry"


@pytest.fixture(scope="module")
def twin(host: Host, pipeline: Any) -> Any:
    """The host's MODEL with the pipeline's UNet weights."""
    import comfy.model_base
    import comfy.utils

    model = host.model(comfy.model_base.ModelType.EPS)
    unet = model.model.diffusion_model
    config = {key: model.model.model_config.unet_config[key] for key in ("num_res_blocks", "channel_mult")}
    names = comfy.utils.unet_to_diffusers(
        {
            **config,
            "transformer_depth": [1, 1],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1, 1, 1],
        }
    )
    weights = pipeline.unet.state_dict()
    unet.load_state_dict({names[key]: value.clone() for key, value in weights.items()}, strict=True)
    return model


def embedding(pipe: Any, text: str) -> list[Any]:
    ids = pipe.tokenizer(text, padding="max_length", max_length=12, return_tensors="pt").input_ids
    return [[pipe.text_encoder(ids)[0].clone(), {}]]


def starting_noise(seed: int, batch: int) -> torch.Tensor:
    return torch.randn((batch, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def sample_pipeline(pipe: Any, noise: torch.Tensor, **edit: Any) -> torch.Tensor:
    return pipe(
        [PROMPT] * len(noise),
        negative_prompt=[NEGATIVE] * len(noise),
        height=8,
        width=8,
        num_inference_steps=STEPS,
        guidance_scale=CFG,
        latents=noise.clone(),
        output_type="latent",
        **edit,
    ).images


def sample_host(host: Host, model: Any, pipe: Any, noise: torch.Tensor) -> torch.Tensor:
    """Follow the pipeline's timesteps with the host's euler; return latents in the pipeline's scale."""
    import comfy.sample

    pipe.scheduler.set_timesteps(STEPS)
    sigmas = model.get_model_object("model_sampling").sigmas[pipe.scheduler.timesteps]
    sigmas = torch.cat([sigmas, torch.zeros(1)])
    scale = float((1 + sigmas[0] ** 2).sqrt() / sigmas[0])
    out = comfy.sample.sample_custom(
        model,
        noise * scale,
        CFG,
        host.samplers.sampler_object("euler"),
        sigmas,
        embedding(pipe, PROMPT),
        embedding(pipe, NEGATIVE),
        torch.zeros_like(noise),
        disable_pbar=True,
    )
    return out * model.model.latent_format.scale_factor


def inputs(concept: dict[str, Any]) -> dict[str, Any]:
    """Return the paper's settings as a concept node takes them: a step is its share of all steps."""
    given = dict(concept)
    warmup, cooldown = given.pop("warmup_steps"), given.pop("cooldown_steps")
    end = 1.0 if cooldown is None else cooldown / STEPS
    window = {"start_percent": warmup / STEPS, "end_percent": end}
    return {**given, "strength": 1.0, "threshold_over": "channel", **window}


def concepts_of(host: Host, pipe: Any, edit: dict[str, Any]) -> list[Any]:
    node = host.pack.nodes.SEGAConceptFromConditioning
    return [
        node.execute(embedding(pipe, text), **inputs(concept))[0]
        for text, concept in zip(edit["prompts"], edit["concepts"], strict=False)
    ]


def edited_model(host: Host, model: Any, pipe: Any, edit: dict[str, Any]) -> Any:
    return host.patched(*concepts_of(host, pipe, edit), model=model, **edit["settings"])


def test_the_unedited_latents_agree(host: Host, twin: Any, pipeline: Any) -> None:
    noise = starting_noise(0, 2)
    want = sample_pipeline(pipeline, noise)
    got = sample_host(host, twin, pipeline, noise)
    assert (got - want).norm() < 1e-4 * want.norm()


@pytest.mark.parametrize("seed", range(24))
def test_the_edited_latents_agree(seed: int, host: Host, twin: Any, pipeline: Any) -> None:
    edit = random_edit(seed, STEPS)
    noise = starting_noise(seed, edit["batch"])
    unedited = sample_pipeline(pipeline, noise)
    want = sample_pipeline(pipeline, noise, **pipeline_arguments(edit))
    got = sample_host(host, edited_model(host, twin, pipeline, edit), pipeline, noise)
    error, change = (got - want).norm(), (want - unedited).norm()
    assert change > 1e-3 * want.norm()
    assert error < 3e-4 * want.norm()
    assert error < 0.05 * change


def test_the_random_edits_cover_every_setting() -> None:
    edits = [random_edit(seed, STEPS) for seed in range(24)]
    concepts = [concept for edit in edits for concept in edit["concepts"]]
    assert {len(edit["concepts"]) for edit in edits} == {1, 2, 3, 4}
    assert {edit["batch"] for edit in edits} == {1, 2, 3}
    assert {edit["settings"]["momentum_scale"] == 0 for edit in edits} == {True, False}
    assert {concept["direction"] for concept in concepts} == {"add", "remove"}
    assert {concept["cooldown_steps"] is None for concept in concepts} == {True, False}
    assert {0.0, 0.99} <= {concept["threshold"] for concept in concepts}
    assert len({concept["warmup_steps"] for concept in concepts}) > 5
