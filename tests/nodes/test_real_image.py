"""Editing a picture that is there: by exact inversion, and image to image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from dev.demo.drawing import described_drawings
from dev.demo.measure import Edit, measure
from support.demo import JudgedModel
from support.faces import as_images
from support.host import Host

pytestmark = pytest.mark.compat("Features", "real images: inversion, img2img")

FACES, STEPS, CFG = 8, 10, 3.5
# A forest comes with a hat: there, the prompt without a hat still asks for one.
SHOWN = {"glasses": "no", "hat": "yes", "beard": "no", "mouth": "neutral", "background": "blue"}


@dataclass
class Pictures:
    """Drawings that the demo model was not trained on: their latents and captions."""

    latents: Tensor
    captions: list[str]


@pytest.fixture(scope="module")
def pictures(demo: JudgedModel) -> Pictures:
    captions, drawings = zip(*described_drawings(10**6, FACES, **SHOWN), strict=True)
    with torch.inference_mode():
        return Pictures(demo.vae.encode(as_images(drawings)), list(captions))


def concept(host: Host, demo: JudgedModel, pictures: Pictures, text: str, instead_of: str, direction: str) -> Any:
    """Return a concept with default values that is each picture's caption with the text and without it."""
    compared = [host.pack.sega_core.compared_texts(text, caption, instead_of) for caption in pictures.captions]
    with_it, without = (demo.encoded(*texts) for texts in zip(*((c.text, c.instead_of) for c in compared), strict=True))
    return host.pack.nodes.SEGAConceptFromConditioning.execute(with_it, without, direction=direction)[0]


def inverted_and_sampled(
    host: Host, demo: JudgedModel, pictures: Pictures, chosen: Any, sampler: str, captions: list[str]
) -> Tensor:
    nodes, prompts = host.pack.nodes, (demo.encoded(*captions), demo.encoded(""))
    schedule = (5, STEPS, CFG, sampler, "normal")
    found = nodes.SEGAInvert.execute(demo.model, *schedule, *prompts, {"samples": pictures.latents}, 0.0)
    latent, repeating, sigmas = found.args
    given = (True, 0, CFG, *prompts, repeating, sigmas, latent)
    return nodes.SEGASamplerCustom.execute(demo.model, *given, concepts=chosen)[0]["samples"]


def error(back: Tensor, latents: Tensor) -> Tensor:
    """Return each picture's error against its latent's norm."""
    return (back - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)


def test_a_picture_that_is_not_described_comes_back(host: Host, demo: JudgedModel, pictures: Pictures) -> None:
    back = inverted_and_sampled(host, demo, pictures, None, "euler_ancestral", [""] * FACES)
    assert error(back, pictures.latents).max() < 1e-6


@pytest.mark.parametrize(
    ("edit", "instead_of", "sampler"),
    [
        (Edit("glasses", "add", "glasses", "yes"), "", "euler_ancestral"),
        (Edit("smiling", "add", "mouth", "smiling"), "neutral", "dpmpp_2m_sde"),
        (Edit("hat", "remove", "hat", "yes"), "", "dpmpp_2m_sde"),
    ],
    ids=["glasses", "smiling", "no hat"],
)
def test_a_picture_gets_what_is_asked_and_keeps_the_rest(
    host: Host, demo: JudgedModel, pictures: Pictures, edit: Edit, instead_of: str, sampler: str
) -> None:
    chosen = concept(host, demo, pictures, edit.text, instead_of, edit.direction)
    edited = inverted_and_sampled(host, demo, pictures, chosen, sampler, pictures.captions)
    figures = measure([edit], demo.attributes(pictures.latents), demo.attributes(edited))
    assert figures.faces == FACES
    assert figures.success >= 7 / 8
    assert figures.kept_on_average > 0.9


def test_image_to_image_edits_and_less_noise_keeps_more(host: Host, demo: JudgedModel, pictures: Pictures) -> None:
    arguments = {"model": demo.model, "steps": STEPS, "cfg": CFG, "latent": {"samples": pictures.latents}}
    arguments |= {"positive": demo.encoded(*pictures.captions), "negative": demo.encoded("")}
    less, plain = (host.sega(**arguments, denoise=denoise) for denoise in (0.5, 0.8))
    assert error(less, pictures.latents).median() < error(plain, pictures.latents).median()
    chosen = concept(host, demo, pictures, "glasses", "", "add")
    edited = host.sega(chosen, **arguments, denoise=0.8, mode="independent")
    edit = Edit("glasses", "add", "glasses", "yes")
    assert measure([edit], demo.attributes(plain), demo.attributes(edited)).success > 0.7
