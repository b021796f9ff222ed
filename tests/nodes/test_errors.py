"""A bad input is refused before the model runs, by a message that names the node, the input and the value."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from support.host import CONCEPT, Host, Passes
from support.packages import REPO, load_package
from support.pipeline import fill_with_noise

BAD_CONCEPTS = [
    ("threshold", 1.0),
    ("threshold", -0.1),
    ("threshold", math.nan),
    ("guidance_scale", -1.0),
    ("guidance_scale", math.inf),
    ("guidance_scale", math.nan),
    ("warmup_steps", -1),
    ("cooldown_steps", -2),
    ("weight", -0.5),
    ("weight", math.inf),
    ("direction", "sideways"),
]
BAD_SETTINGS = [
    ("momentum_scale", -0.1),
    ("momentum_scale", math.nan),
    ("momentum_beta", 1.0),
    ("momentum_beta", -0.1),
    ("mode", "paper"),
    ("baseline", "neutral"),
]


def mentions(*parts: object) -> str:
    return ".*".join(re.escape(str(part)) for part in parts)


@pytest.fixture(scope="module")
def clip(host: Host) -> Any:
    """A CLIP of the demo's classes with random weights; its embeddings are 96 wide."""
    import comfy.sd
    import comfy.supported_models_base

    load_package("sega_demo", REPO / "demo")
    from sega_demo import model

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


@pytest.mark.parametrize("node", ["SEGAConcept", "SEGAConceptFromConditioning"])
@pytest.mark.parametrize(("warmup", "cooldown"), [(10, 10), (10, 3)])
def test_a_cool_down_follows_its_warm_up(host: Host, node: str, warmup: int, cooldown: int) -> None:
    cls = getattr(host.pack.nodes, node)
    steps = {"warmup_steps": warmup, "cooldown_steps": cooldown}
    first = "hat" if node == "SEGAConcept" else None
    arguments = (object(), first) if first else (host.conditioning(1),)
    with pytest.raises(ValueError, match=mentions(node, "cooldown_steps", warmup, cooldown)):
        cls.execute(*arguments, **{**CONCEPT, **steps})
    assert re.search(mentions("cooldown_steps", warmup, cooldown), cls.validate_inputs(**steps))


@pytest.mark.parametrize("node", ["SEGAConcept", "SEGAConceptFromConditioning"])
@pytest.mark.parametrize("name", ["warmup_steps", "cooldown_steps"])
@pytest.mark.parametrize("value", [-1, 10001])
def test_steps_out_of_range_are_refused_before_anything_runs(host: Host, node: str, name: str, value: int) -> None:
    answer = getattr(host.pack.nodes, node).validate_inputs(**{name: value})
    assert re.search(mentions(name, "[0, 10000]", value), answer)


@pytest.mark.parametrize("steps", [(0, 0), (10, 0), (10, 11), (None, 5), (5, None), (None, None)])
def test_good_steps_pass_whether_known_or_not(host: Host, steps: tuple[int | None, int | None]) -> None:
    warmup, cooldown = steps
    answer = host.pack.nodes.SEGAConcept.validate_inputs(warmup_steps=warmup, cooldown_steps=cooldown)
    assert answer is True


def test_a_checkpoint_without_a_text_encoder_is_named(host: Host) -> None:
    with pytest.raises(ValueError, match=mentions("SEGAConcept: clip", "None")):
        host.pack.nodes.SEGAConcept.execute(None, "hat", **CONCEPT)


def test_an_empty_conditioning_is_refused(host: Host) -> None:
    with pytest.raises(ValueError, match=mentions("SEGAConceptFromConditioning: conditioning", "[]")):
        host.pack.nodes.SEGAConceptFromConditioning.execute([], **CONCEPT)


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
            baseline="auto",
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
    assert not passes.labels


def test_a_latent_of_another_model_family_is_named(host: Host) -> None:
    passes = Passes(host.eps)
    with pytest.raises(ValueError, match=mentions("SEGASampler: latent_image", 4, 16)):
        host.sega(host.concept(), model=passes.model, latent={"samples": torch.ones(1, 16, 8, 8)})
    assert not passes.labels


def test_a_negative_baseline_needs_a_negative_prompt(host: Host) -> None:
    passes = Passes(host.patched(host.concept(), baseline="negative"))
    guider = host.custom.BasicGuider.execute(passes.model, host.conditioning(1))[0]
    with pytest.raises(ValueError, match=mentions("SEGAModelPatch: baseline", "'negative'", "'auto' or 'positive'")):
        host.guide(guider)
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
