"""A bad input is refused before the model runs, by a message that names the node, the input and the value."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from support.host import CONCEPT, Host, Passes
from support.pipeline import fill_with_noise

BAD_CONCEPTS = [
    ("threshold", 1.0),
    ("threshold", -0.1),
    ("threshold", math.nan),
    ("strength", -1.0),
    ("strength", math.inf),
    ("strength", math.nan),
    ("guidance_scale", -1.0),
    ("guidance_scale", math.inf),
    ("guidance_scale", math.nan),
    ("start_percent", -0.1),
    ("start_percent", 1.5),
    ("start_percent", math.nan),
    ("end_percent", -0.1),
    ("end_percent", 1.1),
    ("end_percent", math.nan),
    ("weight", -0.5),
    ("weight", math.inf),
    ("direction", "sideways"),
    ("threshold_over", "everything"),
    ("attention_threshold", 1.0),
]
BAD_SETTINGS = [
    ("momentum_scale", -0.1),
    ("momentum_scale", math.nan),
    ("momentum_beta", 1.0),
    ("momentum_beta", -0.1),
    ("mode", "paper"),
]


concept_nodes = pytest.mark.parametrize("node", ["SEGAConcept", "SEGAConceptFromConditioning"])


def mentions(*parts: object) -> str:
    return ".*".join(re.escape(str(part)) for part in parts)


def texts_of(host: Host, clip: Any, node: str) -> tuple[Any, ...]:
    """Return the inputs that a concept node cannot do without."""
    return (clip, "hat") if node == "SEGAConcept" else (host.conditioning(1),)


@pytest.fixture(scope="module")
def clip(host: Host) -> Any:
    """A CLIP of the demo's classes with random weights; its embeddings are 96 wide."""
    import comfy.sd
    import comfy.supported_models_base

    from dev.demo import model

    target = comfy.supported_models_base.ClipTarget(model.FaceSD1Tokenizer, model.FaceSD1Clip)
    clip = comfy.sd.CLIP(target)
    fill_with_noise(clip.cond_stage_model, 4)
    return clip


@pytest.mark.parametrize(("name", "value"), BAD_CONCEPTS)
def test_a_concept_names_its_bad_input(host: Host, name: str, value: Any) -> None:
    node = host.pack.nodes.SEGAConceptFromConditioning
    with pytest.raises(ValueError, match=mentions("SEGAConceptFromConditioning", name, repr(value))):
        node.execute(host.conditioning(1), **{**CONCEPT, name: value})
    with pytest.raises(ValueError, match=mentions("SEGAConcept:", name, repr(value))):
        host.pack.nodes.SEGAConcept.execute(None, "hat", **{**CONCEPT, name: value})


@concept_nodes
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.2), (0.0, 0.0), (1.0, 1.0)])
def test_an_end_follows_its_start(host: Host, clip: Any, node: str, start: float, end: float) -> None:
    cls = getattr(host.pack.nodes, node)
    percents = {"start_percent": start, "end_percent": end}
    with pytest.raises(ValueError, match=mentions(f"{node}: end_percent", f"{start:g}", end)):
        cls.execute(*texts_of(host, clip, node), **{**CONCEPT, **percents})
    assert re.search(mentions("end_percent", f"{start:g}", f"{end:g}"), cls.validate_inputs(**percents))


@concept_nodes
@pytest.mark.parametrize("name", ["start_percent", "end_percent"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_percents_out_of_range_are_refused_before_anything_runs(host: Host, node: str, name: str, value: float) -> None:
    answer = getattr(host.pack.nodes, node).validate_inputs(**{name: value})
    assert re.search(mentions(name, "[0, 1]", value), answer)


@concept_nodes
@pytest.mark.parametrize("percents", [(0, 1), (0.1, 0.11), (None, 0.5), (0.5, None), (None, None)])
def test_good_percents_pass_whether_known_or_not(
    host: Host, node: str, percents: tuple[float | None, float | None]
) -> None:
    start, end = percents
    assert getattr(host.pack.nodes, node).validate_inputs(start_percent=start, end_percent=end) is True


@concept_nodes
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1.0, (-1.0,)),
        ([1.0, math.nan], ("nan",)),
        ([0.0, math.inf], ("inf",)),
        ([True], ("True",)),
        (["strong"], ("'strong'",)),
        ("2", ("'2'",)),
        ([], ("none",)),
        ({}, ("{}",)),
        (torch.tensor(1.0), ("tensor",)),
    ],
    ids=str,
)
def test_strengths_that_are_no_list_of_factors_are_named(
    host: Host, clip: Any, node: str, value: Any, words: tuple[Any, ...]
) -> None:
    with pytest.raises(ValueError, match=mentions(f"{node}: strengths must be one or more numbers", *words)):
        getattr(host.pack.nodes, node).execute(*texts_of(host, clip, node), strengths=value)


@concept_nodes
@pytest.mark.parametrize(("value", "kind"), [(0.5, "float"), ([(0.0, 0.0), (1.0, 1.0)], "list"), ("linear", "str")])
def test_what_is_no_curve_is_named(host: Host, clip: Any, node: str, value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=mentions(f"{node}: curve must be a CURVE, got {kind}", "Curve Editor")):
        getattr(host.pack.nodes, node).execute(*texts_of(host, clip, node), curve=value)


@pytest.mark.parametrize("value", [7, ["a face"], {}], ids=str)
@pytest.mark.parametrize("name", ["prompt", "instead_of"])
def test_a_linked_text_that_is_no_text_is_named(host: Host, clip: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=mentions(f"SEGAConcept: {name} must be a text, got", value)):
        host.pack.nodes.SEGAConcept.execute(clip, "hat", **{name: value})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": 0}, ("count", "[1, 4096]", 0)),
        ({"count": 4097}, ("count", "[1, 4096]", 4097)),
        ({"first": -0.1}, ("first", "[0, 100]", -0.1)),
        ({"last": 101.0}, ("last", "[0, 100]", 101.0)),
        ({"last": math.nan}, ("last", "[0, 100]", "nan")),
        ({"share": 1.5}, ("share", "[0, 1]", 1.5)),
        ({"share": math.nan}, ("share", "[0, 1]", "nan")),
    ],
    ids=str,
)
def test_a_row_of_strengths_names_its_bad_input(host: Host, given: dict[str, Any], words: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=mentions("SEGAStrengths:", *words)):
        host.pack.nodes.SEGAStrengths.execute(**{"first": 0.0, "last": 2.0, "count": 3, **given})


def test_a_checkpoint_without_a_text_encoder_is_named(host: Host) -> None:
    with pytest.raises(ValueError, match=mentions("SEGAConcept: clip", "None")):
        host.pack.nodes.SEGAConcept.execute(None, "hat", **CONCEPT)


def test_an_empty_conditioning_is_refused(host: Host) -> None:
    node = host.pack.nodes.SEGAConceptFromConditioning
    with pytest.raises(ValueError, match=mentions("SEGAConceptFromConditioning: conditioning", "[]")):
        node.execute([], **CONCEPT)
    with pytest.raises(ValueError, match=mentions("SEGAConceptFromConditioning: instead_of", "[]")):
        node.execute(host.conditioning(1), [], **CONCEPT)


@pytest.mark.parametrize("concepts", [{}, {"concept_0": None}], ids=str)
def test_an_empty_stack_is_refused(host: Host, concepts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="SEGAConceptStack: concepts must hold at least one"):
        host.pack.nodes.SEGAConceptStack.execute(concepts)


def test_a_hundred_concepts_are_allowed_and_one_more_is_not(host: Host) -> None:
    hundred = host.stack(*[host.concept()] * 100)
    assert len(hundred) == 100
    with pytest.raises(ValueError, match=mentions("SEGAConceptStack: concepts", 100, 101)):
        host.pack.nodes.SEGAConceptStack.execute({"concept_0": host.concept()}, stack=hundred)
    with pytest.raises(ValueError, match=mentions("SEGAModelPatch: concepts", 100, 102)):
        host.pack.nodes.SEGAModelPatch.execute(
            host.eps,
            (*hundred, host.concept(), host.concept()),
            momentum_scale=0.1,
            momentum_beta=0.4,
            mode="reference",
        )


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_the_sampling_nodes_name_their_bad_input(host: Host, name: str, value: Any) -> None:
    passes = Passes(host.eps)
    with pytest.raises(ValueError, match=mentions("SEGASampler", name, repr(value))):
        host.sega(host.concept(), model=passes.model, **{name: value})
    with pytest.raises(ValueError, match=mentions("SEGAModelPatch", name, repr(value))):
        host.patched(host.concept(), **{name: value})
    assert not passes.labels


def test_a_concept_of_another_model_family_is_named(host: Host) -> None:
    passes = Passes(host.eps)
    other = host.pack.nodes.SEGAConceptFromConditioning.execute(host.conditioning(1, width=48), **CONCEPT)[0]
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts: concept 2", 48, 32)):
        host.sega(host.concept(), other, model=passes.model)
    other = replace(host.concept(), instead_of=host.conditioning(1, width=48))
    with pytest.raises(ValueError, match=mentions("SEGASampler: concepts: concept 1", 48, 32)):
        host.sega(other, model=passes.model)
    assert not passes.labels


def test_a_latent_of_another_model_family_is_named(host: Host) -> None:
    passes = Passes(host.eps)
    with pytest.raises(ValueError, match=mentions("SEGASampler: latent_image", 4, 16)):
        host.sega(host.concept(), model=passes.model, latent={"samples": torch.ones(1, 16, 8, 8)})
    assert not passes.labels


def test_a_run_after_a_refused_one_is_as_before(host: Host) -> None:
    expected = host.sega(host.concept())
    other = host.pack.nodes.SEGAConceptFromConditioning.execute(host.conditioning(1, width=48), **CONCEPT)[0]
    with pytest.raises(ValueError, match="width"):
        host.sega(other)
    assert torch.equal(host.sega(host.concept()), expected)


@pytest.mark.parametrize("words", [0, 1, 60])
def test_text_of_any_length_edits(host: Host, clip: Any, words: int) -> None:
    import comfy.model_base

    model = host.model(comfy.model_base.ModelType.EPS, context_dim=96)
    concept = host.pack.nodes.SEGAConcept.execute(clip, "glasses " * words, **CONCEPT)[0]
    prompts = {"positive": host.conditioning(1, width=96), "negative": host.conditioning(2, width=96)}
    edited = host.sega(concept, model=model, **prompts)
    assert edited.isfinite().all()
    assert (edited - host.sample(model, **prompts)).norm() > 1e-3 * edited.norm()


def test_text_longer_than_the_window_is_used_to_its_end(host: Host, clip: Any) -> None:
    node = host.pack.nodes.SEGAConcept
    short, long = (node.execute(clip, "glasses " * 40 + end, **CONCEPT)[0].conditioning for end in ("", "hat"))
    assert long[0][0].shape[1] > 24
    assert not torch.equal(short[0][0], long[0][0])
