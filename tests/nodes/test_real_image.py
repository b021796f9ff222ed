"""Editing a picture that is there: inverted without a concept, then sampled back with one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from support.host import Host

pytestmark = pytest.mark.compat("Features", "real images: inversion, img2img")

FACES, STEPS = 8, 20


@pytest.fixture(scope="module")
def studio(host: Host) -> SimpleNamespace:
    """The demo model, drawings that it was not trained on, their latents and their way to noise."""
    import numpy as np
    from sega_demo import classifier, faces, measure, model

    patcher, clip, vae = model.load()
    rng = random.Random(11)
    drawn = [replace(faces.random_face(rng), glasses=0, hat=0, beard=0, mouth=0) for _ in range(FACES)]
    pictures = torch.stack([torch.from_numpy(np.array(faces.draw(face, rng))) for face in drawn]).float() / 255
    made = SimpleNamespace(host=host, model=patcher, clip=clip, vae=vae, measure=measure, judge=classifier.load())
    made.captions = [faces.description(face) for face in drawn]
    made.prompts = encoded(made, made.captions), encoded(made, [""])
    made.sigmas = host.custom.BasicScheduler.execute(patcher, "karras", STEPS, 1.0)[0]
    made.latents = vae.encode(pictures)
    made.noise = sampled(made, patcher, host.custom.FlipSigmas.execute(made.sigmas)[0], made.latents)
    return made


def encoded(studio: Any, texts: list[str]) -> list[Any]:
    """Return a CONDITIONING that says something else for each picture."""
    each = [studio.clip.encode_from_tokens_scheduled(studio.clip.tokenize(text))[0] for text in texts]
    return [[torch.cat([embedding for embedding, _ in each]), dict(each[0][1])]]


# As demo.run has it for drawings.
QUANTILE = {"threshold": 0.9, "threshold_over": "channel"}


def sampled(studio: Any, model: Any, sigmas: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    sampler = studio.host.samplers.sampler_object("heun")
    node = studio.host.custom.SamplerCustom
    return node.execute(model, False, 0, 1.0, *studio.prompts, sampler, sigmas, {"samples": latents})[0]["samples"]


def guided(studio: Any, text: str, **changes: Any) -> Any:
    settings = {**QUANTILE, "strength": 1.0, "guidance_scale": 12.0, "start_percent": 0.1, **changes}
    concept = studio.host.pack.nodes.SEGAConcept.execute(studio.clip, text, **settings)[0]
    return studio.host.patched(concept, model=studio.model, mode="independent")


def described(studio: Any, text: str) -> Any:
    """Return the model with a concept that is each picture's caption with and without the text."""
    node = studio.host.pack.nodes.SEGAConceptFromConditioning
    longer = encoded(studio, [f"{caption}, {text}" for caption in studio.captions])
    settings = {**QUANTILE, "direction": "add", "strength": 4.0, "start_percent": 0.0, "end_percent": 1.0}
    concept = node.execute(longer, studio.prompts[0], **settings)[0]
    return studio.host.patched(concept, model=studio.model, mode="independent")


def attributes(studio: Any, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    return studio.judge.judge(studio.vae.decode(latents).movedim(-1, 1))


def error(back: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return each picture's error against its latent's norm."""
    return (back - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)


def test_without_a_concept_a_picture_comes_back(studio: Any) -> None:
    off = sampled(studio, studio.model, studio.sigmas, studio.noise)
    assert error(off, studio.latents).median() < 2e-3
    assert error(off, studio.latents).max() < 6e-3
    assert torch.equal(sampled(studio, guided(studio, "glasses", strength=0.0), studio.sigmas, studio.noise), off)


@pytest.mark.parametrize("edited_with", [guided, described], ids=["bare", "with and without"])
@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [("glasses", "glasses", "yes"), ("hat", "hat", "yes"), ("smiling", "mouth", "smiling")],
)
def test_a_picture_gets_what_is_asked_and_keeps_the_rest(
    studio: Any, text: str, attribute: str, value: str, edited_with: Callable
) -> None:
    before = attributes(studio, studio.latents)
    edited = sampled(studio, edited_with(studio, text), studio.sigmas, studio.noise)
    edit = studio.measure.Edit(text, "add", attribute, value)
    figures = studio.measure.measure(edit, before, attributes(studio, edited))
    assert figures.faces == FACES
    assert figures.success >= 7 / 8
    assert figures.kept_on_average > 0.9


def test_an_inversion_is_the_same_each_time(studio: Any) -> None:
    flipped = studio.host.custom.FlipSigmas.execute(studio.sigmas)[0]
    assert torch.equal(sampled(studio, studio.model, flipped, studio.latents), studio.noise)


@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION", "FLOW"])
def test_every_kind_of_model_comes_back(host: Host, kind: str) -> None:
    import comfy.model_base

    model = host.model(getattr(comfy.model_base.ModelType, kind))
    latents = 0.5 * torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(6))
    # The host scales a flow model's latents to nothing where they are noise alone.
    sigmas = host.custom.BasicScheduler.execute(model, "karras", 60, 0.9 if kind == "FLOW" else 1.0)[0]
    prompts = host.conditioning(1), host.conditioning(2)
    sampler = host.samplers.sampler_object("heun")

    def sample(model: Any, sigmas: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        node = host.custom.SamplerCustom
        return node.execute(model, False, 0, 1.0, *prompts, sampler, sigmas, {"samples": start})[0]["samples"]

    noise = sample(model, host.custom.FlipSigmas.execute(sigmas)[0], latents)
    back = sample(model, sigmas, noise)
    # Random weights are far from smooth.
    assert error(back, latents).max() < 0.15
    concept = host.concept(guidance_scale=2.0)
    edited = sample(host.patched(concept, model=model), sigmas, noise)
    assert error(edited, back).min() > 0.02


def test_image_to_image_edits_and_less_noise_keeps_more(studio: Any) -> None:
    settings = {**QUANTILE, "strength": 1.0, "guidance_scale": 12.0, "start_percent": 0.0}
    concept = studio.host.pack.nodes.SEGAConcept.execute(studio.clip, "glasses", **settings)[0]
    edit = studio.measure.Edit("glasses", "add", "glasses", "yes")
    kept = []
    for denoise in (0.5, 0.8):
        arguments = {
            "seed": 3,
            "steps": STEPS,
            "cfg": 3.5,
            "positive": studio.prompts[0],
            "negative": studio.prompts[1],
        }
        arguments |= {"latent": {"samples": studio.latents}, "model": studio.model, "denoise": denoise}
        plain = studio.host.sega(**arguments)
        edited = studio.host.sega(concept, **arguments, mode="independent")
        kept.append(error(plain, studio.latents).median())
    figures = studio.measure.measure(edit, attributes(studio, plain), attributes(studio, edited))
    assert figures.success > 0.7
    assert kept[0] < kept[1]
