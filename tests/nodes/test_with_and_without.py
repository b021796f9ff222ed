"""Concepts of two texts: what is evaluated for them, and that at strength 1 they are the changed prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dev.host.passes import Passes
from support import models
from support.host import STEPS, Host
from support.tensors import distance, relative

POSITIVE, NEGATIVE, OTHER, THIRD = 1, 2, 10, 11
# Nothing but the difference of the two texts, as strongly as the prompt itself.
EXACT = {"guidance_scale": 0.0, "strength": 1.0, "threshold": 0.0}
INDEPENDENT = {"mode": "independent", "momentum_scale": 0.0}


def sizes(host: Host, *concepts: Any, model: Any = None, **changes: Any) -> list[int]:
    """Return how many estimates each step takes."""
    passes = Passes(model or host.eps)
    host.sega(*concepts, model=passes.model, **changes)
    return passes.sizes


def test_at_cfg_1_the_negative_prompt_is_evaluated_only_for_concepts_that_need_it(host: Host) -> None:
    assert sizes(host, cfg=1.0) == [1] * STEPS
    assert sizes(host, host.concept(OTHER, POSITIVE), cfg=1.0) == [2] * STEPS
    assert sizes(host, host.concept(OTHER, NEGATIVE), cfg=1.0) == [3] * STEPS
    assert sizes(host, host.concept(OTHER), cfg=1.0) == [3] * STEPS
    assert sizes(host, host.concept(NEGATIVE), cfg=1.0) == [1] * STEPS


@pytest.mark.parametrize("settings", [{"mode": "reference"}, {"mode": "independent", "cfg": 1.0}], ids=str)
@pytest.mark.parametrize(("text", "instead_of"), [(OTHER, OTHER), (POSITIVE, POSITIVE), (NEGATIVE, None)])
def test_equal_texts_are_the_plain_sampling_to_the_bit(
    host: Host, text: int, instead_of: int | None, settings: dict[str, Any], guidance_log: list[Any]
) -> None:
    same = host.concept(text, instead_of)
    assert torch.equal(host.sega(same, **settings), host.sample(cfg=settings.get("cfg", 4.0)))
    assert guidance_log == [None] * STEPS
    # Beside a concept that acts it is not there either; the host batches by what there is.
    concept = host.concept(THIRD, POSITIVE)
    assert torch.equal(host.sega(concept, same, mode="independent"), host.sega(concept, mode="independent"))


# One of each kind: ODE and SDE, one evaluation or several a step, with a memory, with steps of its own.
SAMPLERS = ["euler_ancestral", "heun", "dpmpp_sde", "dpmpp_3m_sde", "ddim", "uni_pc", "lcm", "dpm_adaptive"]


def assert_is_the_changed_prompt(
    host: Host, text: int, instead_of: int, expected: dict[str, Any], direction: str = "add", **changes: Any
) -> None:
    """Check that a concept at strength 1 is the plain sampling with another prompt, as closely as fp32 allows."""
    concept = host.concept(text, instead_of, **{**EXACT, "direction": direction})
    edited = host.sega(concept, **INDEPENDENT, **changes)
    wanted = host.sample(**changes, **expected)
    assert distance(host.sample(**changes), wanted) > 1e-2
    assert distance(edited, wanted) < 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_strength_1_an_edit_is_the_changed_prompt_with_every_kind_of_sampler(host: Host, sampler: str) -> None:
    changed = {"positive": host.conditioning(OTHER)}
    assert_is_the_changed_prompt(host, OTHER, POSITIVE, changed, sampler_name=sampler)


@pytest.mark.parametrize(("kind", "cfg"), [("EPS", 1.0), ("EPS", 8.0), ("V_PREDICTION", 4.0), ("FLOW", 4.0)])
@pytest.mark.parametrize(("direction", "text", "instead_of"), [("add", OTHER, POSITIVE), ("remove", POSITIVE, OTHER)])
def test_at_strength_1_an_edit_is_the_changed_prompt_at_every_cfg(
    host: Host, direction: str, text: int, instead_of: int, kind: str, cfg: float
) -> None:
    import comfy.model_base

    sampling = {"model": host.model(comfy.model_base.ModelType[kind]), "cfg": cfg}
    changed = {"positive": host.conditioning(OTHER)}
    assert_is_the_changed_prompt(host, text, instead_of, changed, direction, **sampling)


def test_an_edit_of_the_negative_prompt_is_the_changed_negative_prompt(host: Host) -> None:
    """The negative prompt counts cfg - 1 times, with the other sign."""
    cfg = 4.0
    concept = host.concept(OTHER, NEGATIVE, **{**EXACT, "guidance_scale": cfg - 1, "direction": "remove"})
    edited = host.sega(concept, **INDEPENDENT, cfg=cfg)
    assert distance(edited, host.sample(negative=host.conditioning(OTHER), cfg=cfg)) < 1e-5


def test_a_concept_and_its_opposite_are_nothing(host: Host) -> None:
    """What is added by one is what another takes out, whichever way round it is said."""
    added = host.sega(host.concept(OTHER, POSITIVE), **INDEPENDENT)
    taken = host.sega(host.concept(POSITIVE, OTHER, direction="remove"), **INDEPENDENT)
    assert torch.equal(added, taken)
    both = host.concept(OTHER, POSITIVE), host.concept(OTHER, POSITIVE, direction="remove")
    assert distance(host.sega(*both, **INDEPENDENT), host.sample()) < 1e-5


def test_two_texts_that_are_no_prompts_are_compared_in_the_positive_prompts_place(host: Host) -> None:
    scale = 3.0
    concept = host.concept(OTHER, THIRD, threshold=0.0, guidance_scale=scale)
    one, other = (host.sample(positive=host.conditioning(seed), cfg=1.0, steps=1) for seed in (OTHER, THIRD))
    edit = host.sega(concept, steps=1) - host.sample(steps=1)
    assert distance(edit, scale * (one - other)) < 1e-3


def test_the_pooled_output_decides_too_whether_texts_are_the_same(host: Host) -> None:
    model = models.sdxl_model()

    def prompt(seed: int, pooled: int) -> list[Any]:
        return [[host.conditioning(seed)[0][0], dict(host.pooled(pooled)[0][1])]]

    def edited(text: list[Any]) -> tuple[torch.Tensor, int]:
        passes, concept = Passes(model), replace(host.concept(10, same, **EXACT), conditioning=text)
        return host.sega(concept, model=passes.model, **prompts, **INDEPENDENT), passes.sizes[0]

    same, other = prompt(POSITIVE, POSITIVE), prompt(POSITIVE, OTHER)
    prompts = {"positive": same, "negative": prompt(NEGATIVE, NEGATIVE)}
    plain, changed = (host.sample(model, **{**prompts, "positive": text}) for text in (same, other))
    (nothing, two), (pooled, three) = edited(same), edited(other)
    assert (two, three) == (2, 3)
    assert torch.equal(nothing, plain)
    assert distance(changed, plain) > 1e-4
    assert distance(pooled, changed) < 1e-5


def with_area(host: Host, prompt: list[Any]) -> list[Any]:
    return host.nodes.ConditioningSetArea().append(prompt, 32, 64, 0, 0, 0.8)[0]


def with_mask(host: Host, prompt: list[Any]) -> list[Any]:
    return host.nodes.ConditioningSetMask().append(prompt, torch.ones(1, 64, 64), "default", 0.8)[0]


def with_controlnet(host: Host, prompt: list[Any]) -> list[Any]:
    picture = torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(3))
    return host.nodes.ControlNetApply().apply_controlnet(prompt, models.controlnet(3), picture, 1.0)[0]


@pytest.mark.parametrize("carry", [with_area, with_mask, with_controlnet])
def test_a_text_is_the_prompts_own_whatever_else_the_prompt_carries(host: Host, carry: Callable) -> None:
    positive = carry(host, host.conditioning(POSITIVE))
    plain = sum(sizes(host, positive=positive))
    assert sum(sizes(host, host.concept(OTHER, POSITIVE), positive=positive)) == plain + STEPS


def test_both_texts_of_a_schedule_take_turns_with_the_prompts(host: Host) -> None:
    """prompt-control's `a [red:blue:0.5] hat`, with and without the hat."""

    def turns(first: int, second: int) -> list[Any]:
        return [
            *host.conditioning(first, start_percent=0.0, end_percent=0.5),
            *host.conditioning(second, start_percent=0.5, end_percent=1.0),
        ]

    here, there = turns(POSITIVE, 5), turns(OTHER, THIRD)
    concept = replace(host.concept(10, here, **EXACT), conditioning=there)
    edited = host.sega(concept, positive=here, steps=6, **INDEPENDENT)
    expected = host.sample(positive=there, steps=6)
    assert relative(edited - expected, expected - host.sample(positive=here, steps=6)) < 1e-4


@pytest.fixture(scope="module")
def words(host: Host) -> tuple[Any, Any]:
    """A CLIP with the demo's words, and a MODEL for it."""
    import comfy.model_base

    return models.demo_clip(), host.model(comfy.model_base.ModelType.EPS, context_dim=96)


@pytest.mark.parametrize(
    ("values", "prompt", "changed"),
    [
        ({"text": "glasses"}, "a face", "a face, glasses"),
        ({"text": "hat", "direction": "remove"}, "a face, (hat:1.2)", "a face"),
        ({"text": "ginger hair", "instead_of": "black hair"}, "a face, black hair", "a face, ginger hair"),
    ],
)
def test_words_added_taken_out_and_replaced_are_the_changed_prompt(
    host: Host, words: tuple[Any, Any], values: dict[str, str], prompt: str, changed: str
) -> None:
    clip, model = words
    settings = {"start_percent": 0.0, "end_percent": 1.0, **EXACT}
    concept = host.pack.nodes.SEGAConcept.execute(clip, prompt=prompt, **values, **settings)[0]

    def encoded(text: str) -> list[Any]:
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    passes = Passes(model)
    sampling = {"negative": encoded(""), "positive": encoded(prompt)}
    edited = host.sega(concept, model=passes.model, **sampling, **INDEPENDENT)
    expected = host.sample(model, **{**sampling, "positive": encoded(changed)})
    assert passes.sizes == [3] * STEPS
    assert distance(host.sample(model, **sampling), expected) > 1e-4
    assert distance(edited, expected) < 1e-5


def test_a_concept_without_words_is_no_edit_of_its_prompt(host: Host, words: tuple[Any, Any]) -> None:
    clip, model = words
    concept = host.pack.nodes.SEGAConcept.execute(clip, "", "a face")[0]
    encoded = clip.encode_from_tokens_scheduled(clip.tokenize("a face"))
    sampling = {"model": model, "positive": encoded, "negative": host.conditioning(2, width=96)}
    assert torch.equal(host.sega(concept, **sampling), host.sample(**sampling))
