"""A concept's settings: what they refuse, and the paper's terms that a schedule makes of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sega_core import Concept, ConceptSettings, Settings, passes_needed, progress_of

NOT_FINITE = [math.nan, math.inf, -math.inf]
NO_NUMBERS = [True, "0.5", None]
COUNTS = [1, 2, 3, 4, 7, 8, 10, 20, 33, 50, 100]


def refused(**arguments: object) -> str:
    with pytest.raises(ValueError) as caught:
        ConceptSettings(**arguments)
    return str(caught.value)


def linear(percent: float) -> float:
    """Return the noise level of a flow model, whose progress and noise add up to 1."""
    return 1 - percent


def exponential(percent: float) -> float:
    """Return the noise level of a model like Stable Diffusion; as in the host, its ends stand for any level."""
    return 1e9 if percent <= 0 else 0.0 if percent >= 1 else 14.6 * 500**-percent


def evenly(steps: int) -> list[float]:
    """Return a schedule of the linear model, in the precision that samplers hand it on."""
    return torch.tensor([1 - step / steps for step in range(steps + 1)], dtype=torch.float32).tolist()


def acting(concept: Concept, steps: int) -> list[int]:
    return [step for step in range(steps) if concept.is_warm(step) and not concept.is_cooled(step)]


def acts_at(sigmas: Sequence[float], start: float, end: float) -> list[int]:
    """Return the steps of a schedule of the linear model at which a concept acts."""
    made = ConceptSettings(start_percent=start, end_percent=end).concept(sigmas, linear)
    return acting(made, len(sigmas) - 1)


# What is refused.


@pytest.mark.parametrize("value", [-0.1, -1, *NO_NUMBERS, *NOT_FINITE])
@pytest.mark.parametrize("name", ["strength", "guidance_scale", "weight"])
def test_what_multiplies_is_a_finite_number_from_0(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"{name} must be in [0, inf), got {value!r}"


@pytest.mark.parametrize("value", [-0.01, 1.01, 2, *NO_NUMBERS, *NOT_FINITE])
@pytest.mark.parametrize("name", ["start_percent", "end_percent"])
def test_percents_are_in_0_to_1(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"{name} must be in [0, 1], got {value!r}"


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.4), (0.0, 0.0), (1.0, 1.0), (0.25, 0)])
def test_the_end_comes_after_the_start(start: float, end: float) -> None:
    message = refused(start_percent=start, end_percent=end)
    assert message == f"end_percent must be after start_percent ({start:g}), got {end!r}"


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, *NO_NUMBERS, *NOT_FINITE])
@pytest.mark.parametrize("name", ["threshold", "attention_threshold"])
def test_thresholds_are_below_1(name: str, value: object) -> None:
    assert refused(**{name: value}) == f"{name} must be in [0, 1), got {value!r}"


@pytest.mark.parametrize(
    ("name", "choices"),
    [("direction", "add, remove"), ("threshold_over", "energy, channel, space")],
    ids=["direction", "over"],
)
def test_words_are_of_a_list(name: str, choices: str) -> None:
    assert refused(**{name: "both"}) == f"{name} must be one of {choices}, got 'both'"


def test_a_product_that_is_not_finite_is_refused_at_once() -> None:
    message = "strength times guidance_scale must be finite, got 1e+200 times 1e+200"
    assert refused(strength=1e200, guidance_scale=1e200) == message


@pytest.mark.parametrize(
    "arguments",
    [
        {"strength": 0},
        {"strength": 100.0},
        {"threshold": 0},
        {"threshold": 0.999},
        {"start_percent": 0, "end_percent": 1},
        {"start_percent": 0.999, "end_percent": 1.0},
        {"guidance_scale": 0},
        {"weight": 0},
    ],
    ids=str,
)
def test_the_ends_of_the_ranges_are_allowed(arguments: dict[str, float]) -> None:
    assert dataclasses.asdict(ConceptSettings(**arguments)).items() >= arguments.items()


def test_settings_do_not_change() -> None:
    for field in dataclasses.fields(ConceptSettings):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(ConceptSettings(), field.name, 0)


def test_by_default_a_concept_acts_to_the_end_in_units_of_cfg() -> None:
    made = ConceptSettings()
    assert made.is_relative
    assert made.strength > 0
    concept = made.concept(evenly(20), linear)
    assert not concept.is_off
    assert acting(concept, 20)[-1] == 19
    assert concept.attention_threshold == 0


# The scale.


@pytest.mark.parametrize("direction", ["add", "remove"])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 4.0])
def test_in_units_of_cfg_the_scale_is_the_strength(strength: float, direction: str) -> None:
    made = ConceptSettings(direction, strength)
    assert made.is_relative
    concept = made.concept(evenly(4), linear)
    assert concept.factor == (strength if direction == "add" else -strength)
    assert concept.is_off is (strength == 0)


@pytest.mark.parametrize(("strength", "scale"), [(1.0, 5.0), (0.5, 7.0), (2, 4), (0, 5.0), (1, 0.25)])
def test_an_absolute_scale_is_multiplied_by_the_strength(strength: float, scale: float) -> None:
    made = ConceptSettings(strength=strength, guidance_scale=scale)
    assert not made.is_relative
    assert made.concept(evenly(4), linear).guidance_scale == strength * scale


def test_the_other_settings_mean_the_same_in_both() -> None:
    same = {"direction": "remove", "threshold": 0.3, "weight": 2.5, "threshold_over": "space"}
    same |= {"attention_threshold": 0.7}
    concept = ConceptSettings(**same).concept(evenly(4), linear)
    assert dataclasses.asdict(concept).items() >= same.items()


# When it acts.


@pytest.mark.parametrize("steps", COUNTS)
def test_so_many_steps_of_all_are_that_share_of_the_percents(steps: int) -> None:
    sigmas = evenly(steps)
    for first, last in itertools.combinations(range(steps + 1), 2):
        made = ConceptSettings(start_percent=first / steps, end_percent=last / steps).concept(sigmas, linear)
        assert made.warmup_steps == first
        assert made.cooldown_steps == (last if last < steps else None)


@pytest.mark.parametrize("error", [-3e-6, -1e-7, 1e-7, 3e-6])
def test_a_step_whose_level_is_off_by_rounding_belongs_to_its_percent(error: float) -> None:
    sigmas = [sigma * (1 + error) for sigma in evenly(20)]
    assert acts_at(sigmas, 0.2, 0.7) == list(range(4, 14))


@pytest.mark.parametrize("steps", COUNTS)
def test_from_0_to_1_is_every_step(steps: int) -> None:
    for sigmas in (evenly(steps), [14.6 * sigma for sigma in evenly(steps)]):
        concept = ConceptSettings(start_percent=0, end_percent=1).concept(sigmas, exponential)
        assert (concept.warmup_steps, concept.cooldown_steps) == (0, None)


def test_an_end_of_1_is_never_even_after_a_schedule_that_stops_before_it() -> None:
    assert acts_at([1.0, 0.8, 0.6, 0.4], 0.0, 1.0) == [0, 1, 2]
    concept = ConceptSettings(start_percent=0.3).concept([1.0, 0.8, 0.6, 0.4], linear)
    assert concept.cooldown_steps is None


@pytest.mark.parametrize("steps", [4, 8, 20, 100])
def test_a_window_is_the_same_part_of_any_number_of_steps(steps: int) -> None:
    assert acts_at(evenly(steps), 0.25, 0.5) == list(range(steps // 4, steps // 2))


@pytest.mark.parametrize(
    ("part", "acts"),
    [
        ([1.0, 0.75, 0.5], [1]),
        ([0.5, 0.25, 0.0], [0]),
        ([0.25, 0.125, 0.0], []),
        ([1.0, 0.9, 0.8], []),
    ],
    ids=str,
)
def test_a_part_of_a_sampling_has_its_part_of_the_window(part: list[float], acts: list[int]) -> None:
    assert acts_at(part, 0.25, 0.75) == acts


@pytest.mark.parametrize(
    ("start", "end", "acts"),
    [
        (0.0, 1.0, [0, 1, 2, 3]),
        (0.25, 1.0, [0, 1, 2, 3]),
        (0.25, 0.75, [2, 3]),
        (0.25, 0.9, [1, 2, 3]),
        (0.5, 0.75, [2]),
        (0.0, 0.5, [3]),
    ],
)
def test_a_rising_schedule_acts_at_the_same_levels(start: float, end: float, acts: list[int]) -> None:
    assert acts_at([0.001, 0.25, 0.5, 0.75, 1.0], start, end) == acts


@pytest.mark.parametrize(
    ("start", "end", "acts"),
    [
        (0.0, 1.0, [0, 1, 2, 3, 4]),
        (0.4, 1.0, [1, 2, 3, 4]),
        (0.1, 1.0, [1, 2, 3, 4]),
        (0.0, 0.7, [0, 1, 2, 3, 4]),
        (0.0, 0.55, [0, 1, 2, 3]),
        (0.4, 0.55, [1]),
        (0.75, 0.9, [2]),
    ],
)
def test_a_restart_has_one_window_from_its_first_step_to_its_last(start: float, end: float, acts: list[int]) -> None:
    assert acts_at([1.0, 0.5, 0.2, 0.8, 0.4, 0.0], start, end) == acts


@pytest.mark.parametrize(("start", "end"), [(0.3, 0.45), (0.8, 0.9), (0.97, 1.0)])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_window_between_two_steps_needs_no_pass(start: float, end: float, momentum: float) -> None:
    concept = ConceptSettings(start_percent=start, end_percent=end).concept(evenly(4), linear)
    assert acting(concept, 4) == []
    for mode in ("reference", "independent"):
        assert not any(passes_needed([concept], Settings(momentum_scale=momentum, mode=mode), 4))


@pytest.mark.parametrize("sigmas", [[], [0.0], [1.0]], ids=str)
def test_a_schedule_without_steps_makes_a_concept_too(sigmas: list[float]) -> None:
    assert acting(ConceptSettings().concept(sigmas, linear), 0) == []


levels = st.lists(st.integers(1, 999), min_size=1, max_size=30, unique=True)
# Between two levels, so that no rounding counts.
percents = st.integers(0, 999).map(lambda number: (number + 0.5) / 1000)


@given(levels, st.tuples(percents, percents).filter(lambda pair: pair[0] < pair[1]))
def test_a_step_acts_where_its_level_is_between_the_two(levels: list[int], window: tuple[float, float]) -> None:
    sigmas = [*(level / 1000 for level in sorted(levels, reverse=True)), 0.0]
    start, end = window
    between = [step for step, sigma in enumerate(sigmas[:-1]) if linear(end) < sigma < linear(start)]
    assert acts_at(sigmas, start, end) == between


# The progress at a noise level.


@pytest.mark.parametrize("percent_to_sigma", [linear, exponential])
def test_the_progress_of_a_percents_level_is_the_percent(percent_to_sigma: Callable[[float], float]) -> None:
    for percent in [0.001, 0.1, 0.2, 1 / 3, 0.5, 0.77, 0.999]:
        assert progress_of(percent_to_sigma(percent), percent_to_sigma) == pytest.approx(percent, abs=1e-6)


@pytest.mark.parametrize("percent_to_sigma", [linear, exponential])
def test_levels_beyond_the_models_are_its_beginning_and_end(percent_to_sigma: Callable[[float], float]) -> None:
    assert progress_of(1e6, percent_to_sigma) == pytest.approx(0, abs=1e-6)
    assert progress_of(0.0, percent_to_sigma) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("percent_to_sigma", [linear, exponential])
def test_the_progress_grows_while_the_noise_falls(percent_to_sigma: Callable[[float], float]) -> None:
    progress = [progress_of(sigma, percent_to_sigma) for sigma in (0.99, 0.8, 0.4, 0.1, 0.05)]
    assert progress == sorted(progress)
    assert len(set(progress)) == len(progress)
