"""Concepts and settings refuse what they cannot mean, and say which argument, range and value."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from sega_core import Concept, ConceptSettings, Settings

NO_NUMBERS = [True, "0.5", None, math.nan, math.inf, -math.inf]
NO_COUNTS = [-1, 1.0, True, "3", math.nan]

# What each argument must be, and values that it is not.
AMOUNT = "in [0, inf)", [-0.1, *NO_NUMBERS]
BELOW_1 = "in [0, 1)", [-0.01, 1, 1.3, *NO_NUMBERS]
SHARE = "in [0, 1]", [-0.1, 1.01, *NO_NUMBERS]
COUNT = "a whole number of steps, 0 or more", NO_COUNTS
RULES: dict[tuple[type, str], tuple[str, list[Any]]] = {
    (Concept, "guidance_scale"): AMOUNT,
    (Concept, "weight"): AMOUNT,
    (Concept, "threshold"): BELOW_1,
    (Concept, "attention_threshold"): BELOW_1,
    (Concept, "warmup_steps"): COUNT,
    (Concept, "cooldown_steps"): COUNT,
    (Concept, "direction"): ("one of add, remove", ["Add", "", None, 1, ["add"]]),
    (Concept, "threshold_over"): ("one of energy, channel, space", ["", "Space", None, 1]),
    (ConceptSettings, "strength"): AMOUNT,
    (ConceptSettings, "guidance_scale"): AMOUNT,
    (ConceptSettings, "weight"): AMOUNT,
    (ConceptSettings, "start_percent"): SHARE,
    (ConceptSettings, "end_percent"): SHARE,
    (ConceptSettings, "threshold"): BELOW_1,
    (ConceptSettings, "attention_threshold"): BELOW_1,
    (ConceptSettings, "direction"): ("one of add, remove", ["both"]),
    (ConceptSettings, "threshold_over"): ("one of energy, channel, space", ["both"]),
    (Settings, "momentum_scale"): AMOUNT,
    (Settings, "momentum_beta"): BELOW_1,
    (Settings, "mode"): ("one of reference, independent", ["paper"]),
    (Settings, "reuse_steps"): ("a whole number of steps, 1 or more", [0, *NO_COUNTS[1:]]),
    (Settings, "warmup_tolerance"): SHARE,
}


def refused(cls: type, **arguments: object) -> str:
    with pytest.raises(ValueError) as caught:
        cls(**arguments)
    return str(caught.value)


@pytest.mark.parametrize(("cls", "name"), RULES, ids=lambda part: getattr(part, "__name__", part))
def test_what_an_argument_cannot_be_is_named(cls: type, name: str) -> None:
    allowed, values = RULES[cls, name]
    for value in values:
        assert refused(cls, **{name: value}) == f"{name} must be {allowed}, got {value!r}"


@pytest.mark.parametrize(("warmup", "cooldown"), [(10, 10), (1, 0), (0, 0)])
def test_cooldown_comes_after_warmup(warmup: int, cooldown: int) -> None:
    message = refused(Concept, warmup_steps=warmup, cooldown_steps=cooldown)
    assert message == f"cooldown_steps must be after warmup_steps ({warmup}), got {cooldown}"
    assert Concept(warmup_steps=warmup, cooldown_steps=warmup + 1).cooldown_steps == warmup + 1


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.4), (0.0, 0.0), (0.25, 0)])
def test_the_end_comes_after_the_start(start: float, end: float) -> None:
    message = refused(ConceptSettings, start_percent=start, end_percent=end)
    assert message == f"end_percent must be after start_percent ({start:g}), got {end!r}"


def test_a_product_that_is_not_finite_is_refused_at_once() -> None:
    message = "strength times guidance_scale must be finite, got 1e+200 times 1e+200"
    assert refused(ConceptSettings, strength=1e200, guidance_scale=1e200) == message


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (Concept, {"guidance_scale": 0, "threshold": 0, "warmup_steps": 0, "weight": 0}),
        (Concept, {"threshold": 0.999}),
        (ConceptSettings, {"strength": 0, "threshold": 0, "start_percent": 0, "guidance_scale": 0, "weight": 0}),
        (ConceptSettings, {"strength": 100.0, "threshold": 0.999, "start_percent": 0.999, "end_percent": 1.0}),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(cls: type, arguments: dict[str, float]) -> None:
    assert dataclasses.asdict(cls(**arguments)).items() >= arguments.items()


def test_the_defaults_are_the_references() -> None:
    assert dataclasses.asdict(Concept()) == {
        "direction": "add",
        "guidance_scale": 5.0,
        "threshold": 0.9,
        "warmup_steps": 10,
        "cooldown_steps": None,
        "weight": 1.0,
        "threshold_over": "channel",
        "attention_threshold": 0.0,
        "local_warmup_steps": 0,
    }
    assert dataclasses.asdict(Settings()) == {
        "momentum_scale": 0.1,
        "momentum_beta": 0.4,
        "mode": "reference",
        "reuse_steps": 1,
        "warmup_tolerance": 0.0,
    }


@pytest.mark.parametrize("value", [Concept(), ConceptSettings(), Settings()], ids=lambda value: type(value).__name__)
def test_a_built_value_does_not_change(value: object) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, 0)


@pytest.mark.parametrize(("scale", "weight", "off"), [(0, 1, True), (1, 0, True), (1, 1, False)])
def test_scale_0_and_weight_0_are_off(scale: float, weight: float, off: bool) -> None:
    assert Concept(guidance_scale=scale, weight=weight).is_off is off


def test_warm_and_cooled_start_at_their_step() -> None:
    concept = Concept(warmup_steps=2, cooldown_steps=4)
    assert [concept.is_warm(step) for step in range(6)] == [False, False, True, True, True, True]
    assert [concept.is_cooled(step) for step in range(6)] == [False, False, False, False, True, True]
