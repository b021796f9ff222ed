"""The step that an evaluation belongs to, and the concept passes that a step needs."""

from __future__ import annotations

import itertools

import pytest

from sega_core import Concept, Settings, passes_needed, step_of_sigma

SIGMAS = [14.6, 9.0, 5.0, 2.0, 0.7, 0.0]
STEPS = len(SIGMAS) - 1


def test_each_sigma_of_the_schedule_starts_its_step() -> None:
    assert [step_of_sigma(sigma, SIGMAS) for sigma in SIGMAS[:-1]] == list(range(STEPS))


def test_intermediate_sigmas_belong_to_the_step_they_follow() -> None:
    middles = [(high + low) / 2 for high, low in itertools.pairwise(SIGMAS)]
    assert [step_of_sigma(sigma, SIGMAS) for sigma in middles] == list(range(STEPS))


@pytest.mark.parametrize("error", [-3e-5, 3e-5])
def test_a_sigma_that_is_off_by_rounding_still_starts_its_step(error: float) -> None:
    assert [step_of_sigma(sigma * (1 + error), SIGMAS) for sigma in SIGMAS[:-1]] == list(range(STEPS))


def test_a_sampler_that_looked_ahead_comes_back() -> None:
    assert step_of_sigma(9.0, SIGMAS, 3) == 1


def test_a_sigma_beyond_the_schedule_belongs_to_its_nearest_step() -> None:
    assert step_of_sigma(99.0, SIGMAS) == 0
    assert step_of_sigma(0.0, SIGMAS, 4) == 4
    assert step_of_sigma(1e-9, SIGMAS[:-1]) == STEPS - 2


def test_steps_that_stand_still_count_as_the_last_of_them() -> None:
    assert [step_of_sigma(sigma, [5.0, 5.0, 3.0, 0.0]) for sigma in (5.0, 4.0, 3.0)] == [1, 1, 2]


@pytest.mark.parametrize("evaluated", [[10, 7, 5, 2, 1, 8, 4], [10, 5, 1, 3, 8, 6, 4, 2], [10, 5, 8, 4]], ids=str)
def test_a_restart_counts_on(evaluated: list[float]) -> None:
    sigmas = [10.0, 5.0, 1.0, 8.0, 4.0, 0.0]
    own_step = {10: 0, 7: 0, 5: 1, 2: 1, 1: 2, 3: 2, 8: 3, 6: 3, 4: 4}
    step = 0
    for sigma in evaluated:
        step = step_of_sigma(sigma, sigmas, step)
        assert step == (4 if sigma == 2 and step == 4 else own_step[sigma])


def test_a_flipped_schedule_counts_upwards() -> None:
    sigmas = [0.001, 0.7, 2.0, 5.0]
    assert [step_of_sigma(sigma, sigmas) for sigma in (0.001, 0.3, 0.7, 1.0, 2.0, 4.9)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_what_cannot_change_the_picture_is_free(mode: str) -> None:
    without_momentum, with_momentum = Settings(momentum_scale=0, mode=mode), Settings(mode=mode)
    warming = [Concept(warmup_steps=4), Concept(warmup_steps=2)]
    assert passes_needed(warming, without_momentum, 6) == [(), (), (1,), (1,), (0, 1), (0, 1)]
    # The warm-up feeds the momentum.
    assert passes_needed(warming, with_momentum, 6) == [(0, 1)] * 6
    cooling = [Concept(warmup_steps=0, cooldown_steps=2), Concept(warmup_steps=0)]
    assert passes_needed(cooling, with_momentum, 4) == [(0, 1), (0, 1), (1,), (1,)]
    off = [Concept(warmup_steps=0, guidance_scale=0), Concept(warmup_steps=0, weight=0)]
    assert passes_needed([*off, Concept(warmup_steps=0)], with_momentum, 3) == [(2,)] * 3


def test_a_last_warm_up_that_is_never_reached_leaves_the_momentum_unused() -> None:
    concepts = [Concept(warmup_steps=2), Concept(warmup_steps=6)]
    assert passes_needed(concepts, Settings(), 6) == [(), (), (0,), (0,), (0,), (0,)]


def test_independent_concepts_do_not_wait_for_each_others_warm_up() -> None:
    concepts = [Concept(warmup_steps=2), Concept(warmup_steps=6)]
    assert passes_needed(concepts, Settings(mode="independent"), 6) == [(0,)] * 6


def test_an_off_concepts_warm_up_still_delays_the_shared_momentum() -> None:
    concepts = [Concept(warmup_steps=0, cooldown_steps=3), Concept(warmup_steps=9, weight=0)]
    assert passes_needed(concepts, Settings(), 5) == [(0,), (0,), (0,), (), ()]


def test_the_design_example_runs_160_passes_instead_of_300() -> None:
    concepts = [Concept(warmup_steps=10, cooldown_steps=25)] * 4
    assert 2 * 50 + sum(map(len, passes_needed(concepts, Settings(momentum_scale=0), 50))) == 160


def test_nothing_is_needed_without_concepts_or_steps() -> None:
    assert passes_needed([], Settings(), 3) == [(), (), ()]
    assert passes_needed([Concept()], Settings(), 0) == []
