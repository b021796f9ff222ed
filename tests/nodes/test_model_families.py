"""Every family that the host samples is edited: by its prediction, its conditioning and its latents' shape."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from support.families import FAMILIES, NEGATIVE, OTHER, POSITIVE, THRESHOLD, parts_of, sampled
from support.host import CONCEPT, Host
from support.tensors import distance, relative


def families(names: Iterable[str]) -> Any:
    """Return the parametrization over these families."""
    marks = {name: pytest.mark.compat("Models", FAMILIES[name].row) for name in names}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in marks.items()])


every_family = families(FAMILIES)
PACKED = [name for name, family in FAMILIES.items() if len(family.shapes) > 1]


def kept_of(count: int) -> int:
    """Return how many of so many elements reach the quantile of the threshold."""
    return count - math.ceil(THRESHOLD * (count - 1))


@every_family
def test_at_strength_1_a_family_paints_the_other_text_and_at_0_the_prompts(host: Host, name: str) -> None:
    """With and without: the positive prompt's own estimate is one side, whatever the family's prompts hold."""
    model = sampled(host, name)
    sampling = {"latent": model.latent(0.5), "denoise": 0.8, "steps": 3, "compared": POSITIVE}
    if name == "SeedVR2":
        # With a negative prompt beside it the network makes something else of the positive one.
        sampling["cfg"] = 1.0
    exact = {"guidance_scale": 0.0, "threshold": 0.0}
    edited, off = (
        model.sega(model.concept(OTHER, POSITIVE, **exact, strength=strength), **sampling, momentum_scale=0.0)
        for strength in (1.0, 0.0)
    )
    plain = model.plain(**sampling)
    expected = model.plain(**sampling, positive=model.prompt(OTHER, **model.family.values))
    for got, unchanged, wanted, before in zip(edited, off, expected, plain, strict=True):
        assert relative(got - wanted, wanted - before) < 1e-3
        assert relative(wanted - before, before) > 1e-3
        assert torch.equal(unchanged, before)


@every_family
def test_one_step_changes_by_the_guidance_worked_out_by_hand(host: Host, name: str, guidance_log: list[Tensor]) -> None:
    """The threshold acts per channel, over all axes of space."""
    model, family, scale = sampled(host, name), FAMILIES[name], CONCEPT["guidance_scale"]

    def by_hand(**values: Any) -> list[Tensor]:
        pairs = zip(model.x0(NEGATIVE, **values), model.x0(OTHER, **values), strict=True)
        return [scale * (one - concept) / model.sigma for one, concept in pairs]

    expected, plain = by_hand(**family.values), model.plain()
    edited, _ = (model.sega(model.concept(threshold=threshold)) for threshold in (0.0, THRESHOLD))
    count = len(family.shapes)
    changes = zip(model.inside(edited), model.inside(plain), strict=True)
    for i, (after, before) in enumerate(changes):
        full, thresholded = guidance_log[i], guidance_log[count + i]
        assert full.shape == (family.batch, *family.shapes[i])
        assert distance(full, expected[i]) < 1e-3
        assert distance(before - after, model.sigma * expected[i]) < 1e-3
        magnitude = full.abs().flatten(2)
        # In fp64: between two neighbouring fp32 numbers there is no room for an interpolated quantile.
        limit = torch.quantile(magnitude.double(), THRESHOLD, dim=2, keepdim=True)
        assert torch.equal(thresholded, torch.where(magnitude >= limit, full.flatten(2), 0).view_as(full))
        assert (thresholded.flatten(2).count_nonzero(2) == kept_of(math.prod(family.shapes[i][1:]))).all()
    # The concept has the sizes, the guidance ... of the compared prompt: without them the same texts differ otherwise.
    if family.values:
        assert all(distance(*pair) > 1e-2 for pair in zip(by_hand(), expected, strict=True))


@every_family
def test_a_picture_comes_back_exactly_and_a_concept_changes_it(host: Host, name: str) -> None:
    model = sampled(host, name)
    latent = model.latent(0.5)
    back, edited = model.replayed(latent, [None, model.concept()])
    for part, returned, changed in zip(parts_of(latent["samples"]), back, edited, strict=True):
        assert relative(returned - part, part) < 1e-5
        assert changed.isfinite().all()
        assert relative(changed - part, part) > 1e-3


@families(PACKED)
def test_each_packed_part_has_its_own_threshold_and_momentum(host: Host, name: str, guidance_log: list[Tensor]) -> None:
    model, scale, beta = sampled(host, name), 0.5, 0.4
    model.sega(model.concept(), steps=3, momentum_scale=scale, momentum_beta=beta)
    count = len(model.family.shapes)
    for part, shape in enumerate(model.family.shapes):
        momentum = torch.zeros(())
        for guidance in guidance_log[part::count]:
            gamma = guidance - scale * momentum
            # Taking the momentum off again leaves rounding errors.
            kept = (gamma.abs() > 1e-5 * guidance.abs().max()).flatten(2).sum(2)
            assert (kept == kept_of(math.prod(shape[1:]))).all()
            momentum = beta * momentum + (1 - beta) * guidance


@families(["QwenImage"])
def test_an_image_latent_suits_a_model_of_five_dimensions(host: Host, name: str) -> None:
    model = sampled(host, name)
    video = model.latent(0.5)
    image = {"samples": video["samples"].squeeze(2)}
    (expected,), (edited,) = (model.sega(model.concept(), latent=latent) for latent in (video, image))
    assert image["samples"].ndim == 4
    assert torch.equal(edited, expected)


@families(["SVD_img2vid"])
def test_a_text_is_refused_by_a_model_that_takes_images_alone(host: Host, name: str) -> None:
    text = host.concept(host.conditioning(OTHER, width=48))
    with pytest.raises(ValueError, match="encoded for another model family: its width is 48, the prompt's is 32"):
        sampled(host, name).sega(text)
