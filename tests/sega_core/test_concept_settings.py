"""What a schedule makes of a concept's settings: the paper's scale and steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sega_core import Concept, ConceptSettings, Settings, passes_needed, progress_of

COUNTS = [1, 2, 3, 4, 7, 10, 20, 33, 50, 100]


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


@pytest.mark.parametrize("direction", ["add", "remove"])
@pytest.mark.parametrize("strength", [0.0, 0.5, 4.0])
def test_in_units_of_cfg_the_scale_is_the_strength(strength: float, direction: str) -> None:
    made = ConceptSettings(direction, strength)
    assert made.is_relative
    concept = made.concept(evenly(4), linear)
    assert concept.factor == (strength if direction == "add" else -strength)
    assert concept.is_off is (strength == 0)


def test_an_absolute_scale_is_multiplied_by_the_strength() -> None:
    for strength, scale in [(0.5, 7.0), (2, 4), (0, 5.0)]:
        made = ConceptSettings(strength=strength, guidance_scale=scale)
        assert not made.is_relative
        assert made.concept(evenly(4), linear).guidance_scale == strength * scale


def test_the_other_settings_mean_the_same_in_both() -> None:
    same = {"direction": "remove", "threshold": 0.3, "weight": 2.5, "threshold_over": "space"}
    same |= {"attention_threshold": 0.7}
    concept = ConceptSettings(**same).concept(evenly(4), linear)
    assert dataclasses.asdict(concept).items() >= same.items()


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
        assert not concept.is_off


# A schedule, the window's start and end, and the steps that act.
RISING, RESTART = [0.001, 0.25, 0.5, 0.75, 1.0], [1.0, 0.5, 0.2, 0.8, 0.4, 0.0]
WINDOWS = [
    # A part of a sampling has its part of the window.
    ([1.0, 0.75, 0.5], 0.25, 0.75, [1]),
    ([0.5, 0.25, 0.0], 0.25, 0.75, [0]),
    ([0.25, 0.125, 0.0], 0.25, 0.75, []),
    ([1.0, 0.9, 0.8], 0.25, 0.75, []),
    # A rising schedule acts at the same levels.
    (RISING, 0.0, 1.0, [0, 1, 2, 3]),
    (RISING, 0.25, 1.0, [0, 1, 2, 3]),
    (RISING, 0.25, 0.75, [2, 3]),
    (RISING, 0.25, 0.9, [1, 2, 3]),
    (RISING, 0.0, 0.5, [3]),
    # One that restarts has one window, from its first step to its last.
    (RESTART, 0.0, 1.0, [0, 1, 2, 3, 4]),
    (RESTART, 0.4, 1.0, [1, 2, 3, 4]),
    (RESTART, 0.0, 0.7, [0, 1, 2, 3, 4]),
    (RESTART, 0.0, 0.55, [0, 1, 2, 3]),
    (RESTART, 0.4, 0.55, [1]),
    (RESTART, 0.75, 0.9, [2]),
    # An end of 1 is never, even where a schedule stops before it.
    ([1.0, 0.8, 0.6, 0.4], 0.0, 1.0, [0, 1, 2]),
]


@pytest.mark.parametrize(("sigmas", "start", "end", "acts"), WINDOWS, ids=str)
def test_a_window_is_the_same_levels_in_any_schedule(
    sigmas: list[float], start: float, end: float, acts: list[int]
) -> None:
    assert acts_at(sigmas, start, end) == acts


@pytest.mark.parametrize("mode", ["reference", "independent"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_window_between_two_steps_needs_no_pass(momentum: float, mode: str) -> None:
    for start, end in [(0.3, 0.45), (0.97, 1.0)]:
        concept = ConceptSettings(start_percent=start, end_percent=end).concept(evenly(4), linear)
        assert acting(concept, 4) == []
        assert not any(passes_needed([concept], Settings(momentum_scale=momentum, mode=mode), 4))


def test_a_schedule_without_steps_makes_a_concept_too() -> None:
    for sigmas in ([], [0.0]):
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


@pytest.mark.parametrize("percent_to_sigma", [linear, exponential])
def test_the_progress_of_a_percents_level_is_the_percent(percent_to_sigma: Callable[[float], float]) -> None:
    for percent in [0.001, 0.1, 0.2, 1 / 3, 0.5, 0.77, 0.999]:
        assert progress_of(percent_to_sigma(percent), percent_to_sigma) == pytest.approx(percent, abs=1e-6)
    # Levels beyond the model's are its beginning and end.
    assert progress_of(1e6, percent_to_sigma) == pytest.approx(0, abs=1e-6)
    assert progress_of(0.0, percent_to_sigma) == pytest.approx(1, abs=1e-6)
