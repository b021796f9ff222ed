"""Editing a picture that is there: by exact inversion, by an inversion by hand, and image to image."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from support.host import Host

pytestmark = pytest.mark.compat("Features", "real images: inversion, img2img")

FACES, STEPS, CFG = 8, 20, 3.5


@pytest.fixture(scope="module")
def studio(host: Host) -> SimpleNamespace:
    """The demo model, and drawings that it was not trained on with their latents and captions."""
    import numpy as np

    from dev.demo import classifier, faces, measure, model

    patcher, clip, vae = model.load()
    rng = random.Random(11)
    drawn = [replace(faces.random_face(rng), glasses=0, hat=1, beard=0, mouth=0) for _ in range(FACES)]
    pictures = torch.stack([torch.from_numpy(np.array(faces.draw(face, rng))) for face in drawn]).float() / 255
    made = SimpleNamespace(host=host, model=patcher, clip=clip, vae=vae, measure=measure, judge=classifier.load())
    made.captions = [faces.description(face) for face in drawn]
    made.latents = vae.encode(pictures)
    return made


def encoded(studio: Any, texts: list[str]) -> list[Any]:
    """Return a CONDITIONING that says something else for each picture."""
    each = [studio.clip.encode_from_tokens_scheduled(studio.clip.tokenize(text))[0] for text in texts]
    return [[torch.cat([embedding for embedding, _ in each]), dict(each[0][1])]]


def concept(studio: Any, text: str, instead_of: str = "", direction: str = "add") -> Any:
    """Return a concept with default values that is each picture's caption with the text and without it."""
    compared = [studio.host.pack.sega_core.compared_texts(text, caption, instead_of) for caption in studio.captions]
    node = studio.host.pack.nodes.SEGAConceptFromConditioning
    with_it = encoded(studio, [texts.text for texts in compared])
    return node.execute(with_it, encoded(studio, [texts.instead_of for texts in compared]), direction=direction)[0]


def edited(studio: Any, chosen: Any, sampler: str = "euler_ancestral", described: bool = True) -> torch.Tensor:
    nodes = studio.host.pack.nodes
    captions = studio.captions if described else [""] * FACES
    prompts = encoded(studio, captions), encoded(studio, [""])
    latent = {"samples": studio.latents}
    schedule = (5, STEPS, CFG, sampler, "normal")
    found, repeating, sigmas = nodes.SEGAInvert.execute(studio.model, *schedule, *prompts, latent, 0.0).args
    given = (True, 0, CFG, *prompts, repeating, sigmas, found)
    return nodes.SEGASamplerCustom.execute(studio.model, *given, concepts=chosen)[0]["samples"]


def attributes(studio: Any, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    return studio.judge.judge(studio.vae.decode(latents).movedim(-1, 1))


def error(back: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return each picture's error against its latent's norm."""
    return (back - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)


@pytest.mark.parametrize("described", [True, False], ids=["described", "not described"])
def test_without_a_concept_a_picture_comes_back(studio: Any, described: bool) -> None:
    assert error(edited(studio, None, described=described), studio.latents).max() < 1e-6


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize(
    ("text", "instead_of", "direction", "attribute", "value"),
    [
        ("glasses", "", "add", "glasses", "yes"),
        ("smiling", "neutral", "add", "mouth", "smiling"),
        ("hat", "", "remove", "hat", "yes"),
    ],
    ids=["glasses", "smiling", "no hat"],
)
def test_a_picture_gets_what_is_asked_and_keeps_the_rest(
    studio: Any, sampler: str, text: str, instead_of: str, direction: str, attribute: str, value: str
) -> None:
    before = attributes(studio, studio.latents)
    after = attributes(studio, edited(studio, concept(studio, text, instead_of, direction), sampler))
    figures = studio.measure.measure(studio.measure.Edit(text, direction, attribute, value), before, after)
    assert figures.faces == FACES
    assert figures.success >= 7 / 8
    assert figures.kept_on_average > 0.9


@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION", "FLOW"])
def test_an_inversion_by_hand_comes_back_and_is_edited(host: Host, kind: str) -> None:
    """The ODE backwards, which needs no node of the pack: nearly exact, and a concept on the way back acts."""
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
    changed = sample(host.patched(host.concept(guidance_scale=2.0), model=model), sigmas, noise)
    assert error(changed, back).min() > 0.02


def test_image_to_image_edits_and_less_noise_keeps_more(studio: Any) -> None:
    chosen = concept(studio, "glasses")
    edit = studio.measure.Edit("glasses", "add", "glasses", "yes")
    kept = []
    for denoise in (0.5, 0.8):
        arguments = {
            "seed": 3,
            "steps": STEPS,
            "cfg": CFG,
            "positive": encoded(studio, studio.captions),
            "negative": encoded(studio, [""]),
        }
        arguments |= {"latent": {"samples": studio.latents}, "model": studio.model, "denoise": denoise}
        plain = studio.host.sega(**arguments)
        made = studio.host.sega(chosen, **arguments, mode="independent")
        kept.append(error(plain, studio.latents).median())
    figures = studio.measure.measure(edit, attributes(studio, plain), attributes(studio, made))
    assert figures.success > 0.7
    assert kept[0] < kept[1]
