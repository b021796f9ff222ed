"""Concepts and settings refuse what they cannot mean, and say which argument, range and value."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from sega_core import Concept, Settings

NOT_FINITE = [math.nan, math.inf, -math.inf]


def refused(cls: type, **arguments: object) -> str:
    with pytest.raises(ValueError) as caught:
        cls(**arguments)
    return str(caught.value)


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
    }
    assert dataclasses.asdict(Settings()) == {
        "momentum_scale": 0.1,
        "momentum_beta": 0.4,
        "mode": "reference",
        "reuse_steps": 1,
        "warmup_tolerance": 0.0,
    }


@pytest.mark.parametrize("value", [-0.1, True, "5", None, *NOT_FINITE])
def test_guidance_scale_is_a_finite_number_from_0(value: object) -> None:
    assert refused(Concept, guidance_scale=value) == f"guidance_scale must be in [0, inf), got {value!r}"


@pytest.mark.parametrize("value", [-0.01, 1, 1.0, 1.3, False, "0.9", None, *NOT_FINITE])
def test_threshold_is_in_0_to_1(value: object) -> None:
    assert refused(Concept, threshold=value) == f"threshold must be in [0, 1), got {value!r}"


@pytest.mark.parametrize("value", [-1, -0.5, True, "1", None, *NOT_FINITE])
def test_weight_is_a_finite_number_from_0(value: object) -> None:
    assert refused(Concept, weight=value) == f"weight must be in [0, inf), got {value!r}"


@pytest.mark.parametrize("value", [-1, 1.0, 2.5, True, "3", None, *NOT_FINITE])
def test_warmup_is_a_whole_number_of_steps(value: object) -> None:
    expected = f"warmup_steps must be a whole number of steps, 0 or more, got {value!r}"
    assert refused(Concept, warmup_steps=value) == expected


@pytest.mark.parametrize("value", [-1, 20.0, True, "30", *NOT_FINITE])
def test_cooldown_is_a_whole_number_of_steps(value: object) -> None:
    expected = f"cooldown_steps must be a whole number of steps, 0 or more, got {value!r}"
    assert refused(Concept, cooldown_steps=value) == expected


@pytest.mark.parametrize(("warmup", "cooldown"), [(10, 10), (10, 9), (1, 0), (0, 0)])
def test_cooldown_comes_after_warmup(warmup: int, cooldown: int) -> None:
    message = refused(Concept, warmup_steps=warmup, cooldown_steps=cooldown)
    assert message == f"cooldown_steps must be after warmup_steps ({warmup}), got {cooldown}"


def test_cooldown_may_follow_warmup_at_once() -> None:
    assert Concept(warmup_steps=3, cooldown_steps=4).cooldown_steps == 4


@pytest.mark.parametrize("value", ["Add", "", None, 1, ["add"]])
def test_direction_is_add_or_remove(value: object) -> None:
    assert refused(Concept, direction=value) == f"direction must be one of add, remove, got {value!r}"


@pytest.mark.parametrize("value", [-0.1, True, "1", *NOT_FINITE])
def test_momentum_scale_is_a_finite_number_from_0(value: object) -> None:
    assert refused(Settings, momentum_scale=value) == f"momentum_scale must be in [0, inf), got {value!r}"


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, True, "0.4", *NOT_FINITE])
def test_momentum_beta_is_in_0_to_1(value: object) -> None:
    assert refused(Settings, momentum_beta=value) == f"momentum_beta must be in [0, 1), got {value!r}"


def test_mode_is_one_of_two() -> None:
    assert refused(Settings, mode="paper") == "mode must be one of reference, independent, got 'paper'"


@pytest.mark.parametrize("value", [Concept(), Settings()], ids=["Concept", "Settings"])
def test_a_built_value_does_not_change(value: object) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, 0)


@pytest.mark.parametrize(
    "arguments",
    [{"guidance_scale": 0}, {"threshold": 0}, {"threshold": 0.999}, {"warmup_steps": 0}, {"weight": 0}],
    ids=str,
)
def test_the_ends_of_the_ranges_are_allowed(arguments: dict[str, float]) -> None:
    assert dataclasses.asdict(Concept(**arguments)).items() >= arguments.items()


def test_equal_concepts_are_equal_and_hash_alike() -> None:
    assert hash(Concept(weight=2)) == hash(Concept(weight=2.0))


def test_direction_signs_the_scale() -> None:
    assert (Concept(guidance_scale=3).factor, Concept(direction="remove", guidance_scale=3).factor) == (3, -3)


@pytest.mark.parametrize(("scale", "weight", "off"), [(0, 1, True), (1, 0, True), (1, 1, False)])
def test_scale_0_and_weight_0_are_off(scale: float, weight: float, off: bool) -> None:
    assert Concept(guidance_scale=scale, weight=weight).is_off is off


def test_warm_and_cooled_start_at_their_step() -> None:
    concept = Concept(warmup_steps=2, cooldown_steps=4)
    assert [concept.is_warm(step) for step in range(6)] == [False, False, True, True, True, True]
    assert [concept.is_cooled(step) for step in range(6)] == [False, False, False, False, True, True]


def test_the_table_of_names_lists_every_argument() -> None:
    import sega_core.concept

    names = {field.name for cls in (Concept, Settings) for field in dataclasses.fields(cls)} - {"mode"}
    assert names <= set(re.findall(r"^\| (\w+)", sega_core.concept.__doc__, re.MULTILINE))
