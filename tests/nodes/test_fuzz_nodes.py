"""Nodes given anything: a finite latent, or an error that names the node and the input, and nothing stays behind."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fuzz import numbers
from support.host import Host

# What is fuzzed is the pack's own: one host is enough.
pytestmark = pytest.mark.slow

FUZZ = settings(max_examples=150)
SAMPLED = settings(FUZZ, max_examples=40)
CONCEPT = {"direction": "add", "strength": 1.0, "threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0,
           "guidance_scale": 5.0, "weight": 1.0, "threshold_over": "channel", "attention_threshold": 0.0}  # fmt: skip
SAMPLING = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "reference"}  # fmt: skip

# What a link of any type may bring; the host checks the ranges of what is typed in alone.
anything = numbers | st.none() | st.text(max_size=4) | st.lists(numbers, max_size=2) | st.just({})
words = st.sampled_from(["add", "remove", "space", "reference", "independent", "auto", "negative", "Add", ""])


def changes(names: list[str], values: Any) -> Any:
    return st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=3)


# In the ranges of the schema, to the ends.
fitting = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.sampled_from(["add", "remove"]),
        "strength": st.floats(0, 100),
        "guidance_scale": st.just(0.0) | st.floats(0, 100),
        "threshold": st.floats(0, 0.999),
        "start_percent": st.sampled_from([0.0, 0.3, 0.5]) | st.floats(0, 0.5),
        "end_percent": st.sampled_from([0.51, 0.75, 1.0]) | st.floats(0.51, 1),
        "weight": st.floats(0, 100),
        "threshold_over": st.sampled_from(["channel", "space"]),
        "attention_threshold": st.floats(0, 0.999),
        "strengths": st.floats(0, 100) | st.lists(st.floats(0, 100) | st.just(0), min_size=1, max_size=4),
        "curve": st.tuples(st.floats(0, 2), st.floats(0, 2)).map(lambda ends: Curve(*ends)),
    },
)


@dataclass
class Curve:
    """What the host's Curve Editor gives, of two points."""

    low: float
    high: float

    def interp(self, x: float) -> float:
        assert 0 <= x <= 1
        return self.low + (self.high - self.low) * x


dtypes = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
fills = st.sampled_from([0.0, 0.5, 1.0, 1.0, -1.0, 2.0, 1e30, math.nan, math.inf])


@st.composite
def tensors(draw: Any, shapes: Any, fills: Any = fills) -> torch.Tensor:
    fill, dtype = draw(fills), draw(dtypes)
    return torch.full(draw(shapes), fill if dtype.is_floating_point else bool(fill == 1)).to(dtype)


sizes = st.integers(0, 9)
shapes = st.lists(sizes, max_size=5)
masks = tensors(shapes | st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70)))
# Models multiply what they are given: numbers of any size are no fault of the concept.
embeddings = tensors(
    shapes | st.tuples(st.integers(0, 2), sizes, st.sampled_from([32, 32, 32, 48])),
    st.sampled_from([0.0, 0.5, 1.0, -1.0, math.nan, math.inf]),
)
latents = tensors(shapes | st.tuples(st.integers(1, 2), st.sampled_from([4, 4, 4, 3, 16]), sizes, sizes)).filter(
    torch.is_floating_point
)


def refused(error: ValueError, node: str, names: Any) -> None:
    assert node in str(error)
    assert any(name in str(error) for name in names), str(error)


@FUZZ
@given(changes([*CONCEPT, "strengths", "curve"], anything | words), st.none() | masks)
def test_a_concept_takes_what_it_can_mean_and_names_the_rest(host: Host, given: dict[str, Any], mask: Any) -> None:
    node, conditioning = host.pack.nodes.SEGAConceptFromConditioning, host.conditioning(1)
    try:
        made = node.execute(conditioning, **{**CONCEPT, **given}, mask=mask)[0]
    except ValueError as error:
        refused(error, "SEGAConceptFromConditioning:", [*given, "mask"])
        return
    for name in given.keys() - {"strengths", "curve"}:
        assert getattr(made.settings, name) == given[name]
    assert all(0 <= factor < math.inf for factor in made.strengths)
    assert made.curve is None


@FUZZ
@given(
    changes(
        [*CONCEPT, "text", "prompt", "instead_of", "preset"],
        anything | words | st.sampled_from(["glasses", "a hat, red", "none"]),
    )
)
def test_a_concept_from_text_takes_what_it_can_mean_and_names_the_rest(host: Host, given: dict[str, Any]) -> None:
    node, inputs = host.pack.nodes.SEGAConcept, {**CONCEPT, "text": "hat", "attention_threshold": 0.5, **given}
    try:
        made = node.execute(Clip(), **inputs)[0]
    except ValueError as error:
        refused(error, "SEGAConcept:", given)
        return
    assert isinstance(made.name, str)
    assert all(0 <= place < 77 for place in made.token_positions or ())


class Clip:
    """A text encoder that takes texts alone, as the host's do."""

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict[str, Any]:
        return {"l": [[(1, 1.0, place) for place, _ in enumerate(text.split(), 1)]]}

    def encode_from_tokens_scheduled(self, tokens: Any) -> list[Any]:
        return [[torch.zeros(1, 77, 32), {}]]


@SAMPLED
@given(
    st.lists(fitting, max_size=3),
    st.lists(st.none() | masks, min_size=3, max_size=3),
    st.fixed_dictionaries(
        {
            "momentum_scale": st.floats(0, 10),
            "momentum_beta": st.floats(0, 0.999),
            "reuse_steps": st.integers(1, 5),
            "warmup_tolerance": st.floats(0, 0.999),
            "mode": st.sampled_from(["reference", "independent"]),
            "cfg": st.floats(0, 100),
            "denoise": st.sampled_from([0.0, 0.3, 1.0]),
            "steps": st.integers(1, 4),
            "sampler_name": st.sampled_from(["euler", "heun", "dpmpp_2m_sde", "lcm", "uni_pc", "ddim"]),
            "scheduler": st.sampled_from(["normal", "karras", "simple"]),
        }
    ),
)
def test_concepts_in_range_give_a_finite_latent(
    host: Host, concepts: list[dict[str, Any]], masks: list[Any], settings_: dict[str, Any]
) -> None:
    try:
        made = [
            host.concept(10 + i, **{**CONCEPT, **c}, mask=m)
            for i, (c, m) in enumerate(zip(concepts, masks, strict=False))
        ]
    except ValueError as error:
        refused(error, "SEGAConceptFromConditioning:", ["mask"])
        return
    options = copy.deepcopy(host.eps.model_options)
    assert host.sega(*made, **settings_).isfinite().all()
    assert host.eps.model_options == options


# What links of these inputs' own types may bring, but for numbers that the host itself cannot sample with.
sampling = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(-(2**63), 2**64 - 1),
        "steps": st.integers(1, 3),
        "cfg": st.floats(-1000, 1000) | st.sampled_from([math.nan, math.inf, -math.inf]),
        "denoise": st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.nan, math.inf]),
        "sampler_name": st.sampled_from(["euler", "heun", "dpm_fast", "lcm", "res_multistep"]),
        **{name: numbers for name in ("momentum_scale", "momentum_beta", "reuse_steps", "warmup_tolerance")},
        "mode": words,
    },
)


@SAMPLED
@given(sampling)
def test_a_sampler_names_the_setting_that_it_cannot_use(host: Host, given: dict[str, Any]) -> None:
    try:
        latent = host.sega(host.concept(), **{**SAMPLING, **given})
    except ValueError as error:
        refused(error, "SEGASampler:", given)
        return
    assert latent.isfinite().all()


@SAMPLED
@given(
    embeddings,
    st.dictionaries(st.sampled_from(["pooled_output", "attention_mask", "strength"]), embeddings),
    st.booleans(),
)
def test_any_embedding_is_used_or_named(
    host: Host, embedding: torch.Tensor, extras: dict[str, Any], is_without: bool
) -> None:
    node, text = host.pack.nodes.SEGAConceptFromConditioning, [[embedding, extras]]
    texts = (host.conditioning(10), text) if is_without else (text,)
    try:
        latent = host.sega(node.execute(*texts, **CONCEPT)[0], steps=2)
    except ValueError as error:
        refused(error, "SEGASampler: concepts: concept 1", ["embedding", "encoded"])
        return
    assert latent.isfinite().all()


@SAMPLED
@given(latents)
def test_any_latent_is_sampled_or_named(host: Host, samples: torch.Tensor) -> None:
    try:
        latent = host.sega(host.concept(), steps=2, latent={"samples": samples})
    except ValueError as error:
        refused(error, "SEGASampler:", ["latent_image"])
        return
    assert latent.isfinite().all()
