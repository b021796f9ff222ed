"""A bad input is refused before the model runs, by a message that names the node, the input and the value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dev.host.passes import Passes
from support.host import CONCEPT, Host
from support.models import demo_clip

BAD_CONCEPTS = [
    ("threshold", 1.0), ("strength", math.nan), ("guidance_scale", -1.0), ("start_percent", 1.5),
    ("end_percent", math.nan), ("weight", math.inf), ("direction", "sideways"), ("threshold_over", "everything"),
    ("attention_threshold", 1.0),
]  # fmt: skip
BAD_SETTINGS = [("momentum_scale", math.nan), ("momentum_beta", 1.0), ("mode", "paper"), ("reuse_steps", 0)]
BAD_SAMPLINGS = [("cfg", math.nan), ("denoise", math.nan), ("seed", -1), ("seed", 2**64), ("steps", -3)]
NO_NUMBER = pytest.mark.compat("Refused with a clear error", "settings that are no number or out of range")


concept_nodes = pytest.mark.parametrize("node", ["SEGAConcept", "SEGAConceptFromConditioning"])


def mentions(*parts: object) -> str:
    return ".*".join(re.escape(str(part)) for part in parts)


def texts_of(host: Host, clip: Any, node: str) -> tuple[Any, ...]:
    """Return the inputs that a concept node cannot do without."""
    return (clip, "hat") if node == "SEGAConcept" else (host.conditioning(1),)


@pytest.fixture(scope="module")
def clip(host: Host) -> Any:
    return demo_clip()


@NO_NUMBER
@concept_nodes
@pytest.mark.parametrize(("name", "value"), BAD_CONCEPTS)
def test_a_concept_names_its_bad_input(host: Host, clip: Any, node: str, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=mentions(f"{node}: {name}", repr(value))):
        getattr(host.pack.nodes, node).execute(*texts_of(host, clip, node), **{**CONCEPT, name: value})


@concept_nodes
@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.2)])
def test_an_end_follows_its_start(host: Host, clip: Any, node: str, start: float, end: float) -> None:
    cls = getattr(host.pack.nodes, node)
    percents = {"start_percent": start, "end_percent": end}
    with pytest.raises(ValueError, match=mentions(f"{node}: end_percent", f"{start:g}", end)):
        cls.execute(*texts_of(host, clip, node), **{**CONCEPT, **percents})
    assert re.search(mentions("end_percent", f"{start:g}", f"{end:g}"), cls.validate_inputs(**percents))


@concept_nodes
def test_percents_are_checked_before_anything_runs(host: Host, node: str) -> None:
    check = getattr(host.pack.nodes, node).validate_inputs
    for name, value in (("start_percent", -0.1), ("end_percent", 1.1), ("end_percent", math.nan)):
        assert re.search(mentions(name, "[0, 1]", value), check(**{name: value}))
    # What a link brings is not known yet.
    for start, end in ((0, 1), (0.1, 0.11), (None, 0.5), (0.5, None), (None, None)):
        assert check(start_percent=start, end_percent=end) is True


@concept_nodes
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0, math.nan], ("nan",)),
        ([True], ("True",)),
        ("2", ("'2'",)),
        ([], ("none",)),
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
@pytest.mark.parametrize(("value", "kind"), [(0.5, "float"), ([(0.0, 0.0), (1.0, 1.0)], "list")])
def test_what_is_no_curve_is_named(host: Host, clip: Any, node: str, value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=mentions(f"{node}: curve must be a CURVE, got {kind}", "Curve Editor")):
        getattr(host.pack.nodes, node).execute(*texts_of(host, clip, node), curve=value)


@pytest.mark.parametrize("value", [7, ["a face"]], ids=str)
@pytest.mark.parametrize("name", ["prompt", "instead_of"])
def test_a_linked_text_that_is_no_text_is_named(host: Host, clip: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=mentions(f"SEGAConcept: {name} must be a string, got", value)):
        host.pack.nodes.SEGAConcept.execute(clip, "hat", **{name: value})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": 0}, ("count", "[1, 4096]", 0)),
        ({"first": -0.1}, ("first", "[0, 100]", -0.1)),
        ({"last": math.nan}, ("last", "[0, 100]", "nan")),
        ({"share": 1.5}, ("share", "[0, 1]", 1.5)),
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
        host.pack.nodes.SEGAModelPatch.execute(host.eps, (*hundred, host.concept(), host.concept()))


@NO_NUMBER
@pytest.mark.parametrize(("name", "value"), [*BAD_SETTINGS, *BAD_SAMPLINGS])
def test_the_sampling_nodes_name_their_bad_input(host: Host, name: str, value: Any) -> None:
    passes = Passes(host.eps)
    with pytest.raises(ValueError, match=mentions(f"SEGASampler: {name} must be", repr(value))):
        host.sega(host.concept(), model=passes.model, **{name: value})
    if (name, value) in BAD_SETTINGS:
        with pytest.raises(ValueError, match=mentions(f"SEGAModelPatch: {name} must be", repr(value))):
            host.patched(host.concept(), **{name: value})
    assert not passes.labels


def test_a_run_after_a_refused_one_is_as_before(host: Host) -> None:
    expected = host.sega(host.concept())
    with pytest.raises(ValueError, match="width"):
        host.sega(replace(host.concept(), conditioning=host.conditioning(1, width=48)))
    assert torch.equal(host.sega(host.concept()), expected)


def failing(model: Any, from_call: int) -> Any:
    """Return a MODEL whose network gives NaN from one of its calls on."""
    import comfy.patcher_extension

    calls = []

    def network(executor: Callable[..., torch.Tensor], x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(len(calls))
        return executor(x, *args, **kwargs) * (math.nan if calls[-1] >= from_call else 1.0)

    model = model.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "broken", network)
    return model


@pytest.mark.parametrize("call", [0, 1], ids=["from the first step on", "before the concept acts"])
def test_a_model_that_gives_nan_without_concepts_is_named_and_they_are_not(host: Host, call: int) -> None:
    reason = r"^SEGASampler: the latent has become NaN or infinite; the model's own"
    with pytest.raises(ValueError, match=reason) as error:
        host.sega(host.concept(start_percent=0.6), model=failing(host.eps, call), steps=5)
    assert "lower the concepts'" not in str(error.value)


def test_concepts_that_are_too_strong_are_named(host: Host) -> None:
    with pytest.raises(ValueError, match=r"^SEGASampler: the latent has become NaN or infinite; lower the concepts'"):
        host.sega(host.concept(guidance_scale=1e38), steps=5)
