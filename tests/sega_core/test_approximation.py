"""Guidance that is used again, and warm-up passes that are left out: what they save and how far off they may be."""

from __future__ import annotations

import pytest
import torch

from sega_core import Concept, GuidanceRun, Settings, passes_needed
from support.core import compared, feed, noise
from support.devices import ELSEWHERE, NoCopies

MODES = ["reference", "independent"]
STEPS = 12


def passes(concepts: list[Concept], settings: Settings) -> list[tuple[int, ...]]:
    """Run all steps; return which estimates each of them asked for."""
    run, asked = GuidanceRun(concepts, settings, STEPS), []
    for step in range(STEPS):
        asked.append(run.needed(step))
        run.guidance(step, {c: compared(noise(1, 2, 4, 4, seed=step)) for c in asked[-1]})
    return asked


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("reuse", "first", "second"),
    [
        (1, list(range(12)), [2, 3, 4, 5, 6]),
        (3, [0, 1, 2, 4, 7, 10], [2, 3, 4, 6]),
        (100, [0, 1, 2, 4, 8], [2, 3, 4, 6]),
    ],
)
def test_concepts_are_evaluated_ever_more_seldom(reuse: int, first: list[int], second: list[int], mode: str) -> None:
    concepts = [Concept(warmup_steps=0), Concept(warmup_steps=2, cooldown_steps=7)]
    asked = passes(concepts, Settings(momentum_scale=0, mode=mode, reuse_steps=reuse))
    assert [step for step in range(STEPS) if 0 in asked[step]] == first
    assert [step for step in range(STEPS) if 1 in asked[step]] == second


@pytest.mark.parametrize("mode", MODES)
def test_a_concept_is_evaluated_anew_when_it_begins_to_act(mode: str) -> None:
    # In the warm-up only the momentum asks for it.
    asked = passes([Concept(warmup_steps=4)], Settings(mode=mode, reuse_steps=4))
    assert [step for step in range(STEPS) if asked[step]] == [0, 1, 2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize("mode", MODES)
def test_guidance_that_does_not_change_loses_nothing_when_it_is_used_again(mode: str) -> None:
    concepts = [Concept(warmup_steps=1), Concept(warmup_steps=3, cooldown_steps=9, weight=0.5)]
    differences = [[noise(2, 3, 6, 6, seed=c) for c in range(2)]] * STEPS
    exact = feed(concepts, Settings(mode=mode), differences)
    again = feed(concepts, Settings(mode=mode, reuse_steps=4), differences)
    for got, want in zip(again, exact, strict=True):
        assert got is want is None or torch.equal(got, want)


def test_the_steps_between_use_the_guidance_of_the_evaluation_before() -> None:
    concepts, differences = [Concept(warmup_steps=2)], [[noise(1, 2, 6, 6, seed=step)] for step in range(8)]
    exact = feed(concepts, Settings(momentum_scale=0), differences)
    again = feed(concepts, Settings(momentum_scale=0, reuse_steps=2), differences)
    assert again[:2] == [None, None]
    assert all(torch.equal(again[step], exact[source]) for step, source in enumerate([2, 3, 4, 4, 6, 6], 2))


def test_guidance_is_not_used_again_in_another_size() -> None:
    run = GuidanceRun([Concept(warmup_steps=0)], Settings(momentum_scale=0, reuse_steps=4), STEPS)
    for step in range(3):
        run.guidance(step, {0: compared(noise(1, 2, 4, 4))})
    assert run.needed(3) == ()
    run.forget()
    assert run.needed(3) == (0,)


@pytest.mark.parametrize("mode", MODES)
def test_a_step_taken_again_is_evaluated_again_where_it_is_due(mode: str) -> None:
    run = GuidanceRun([Concept(warmup_steps=0)], Settings(mode=mode, reuse_steps=2), STEPS)
    for step, due in [(0, (0,)), (0, (0,)), (1, (0,)), (2, (0,)), (3, ()), (4, (0,)), (3, ()), (4, (0,))]:
        assert run.needed(step) == due
        assert run.guidance(step, {c: compared(noise(1, 2, 4, 4)) for c in due}) is not None


@pytest.mark.parametrize(("tolerance", "first"), [(0.0, 0), (0.01, 2), (0.1, 5), (0.3, 7), (0.6, 8), (1.0, 8)], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_the_tolerance_leaves_out_the_first_passes_of_the_warm_up(mode: str, tolerance: float, first: int) -> None:
    # With the reference's momentum a pass counts 0.46 times as much as the one after it.
    settings = Settings(mode=mode, warmup_tolerance=tolerance)
    needed = passes_needed([Concept(warmup_steps=8)], settings, STEPS)
    assert needed == [()] * first + [(0,)] * (STEPS - first)


@pytest.mark.parametrize("mode", MODES)
def test_a_long_warm_up_with_momentum_that_grows_is_planned(mode: str) -> None:
    # Each step leaves ten times as much of the momentum, so the first passes are nearly all of it.
    for tolerance, asked in [(0.0, range(4000)), (0.05, range(2)), (1.0, range(0))]:
        settings = Settings(momentum_scale=10.0, momentum_beta=0.0, mode=mode, warmup_tolerance=tolerance)
        needed = passes_needed([Concept(warmup_steps=4000)], settings, 4001)
        assert [step for step, concepts in enumerate(needed) if concepts] == [*asked, 4000]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tolerance", [0.06, 0.2, 0.6])
def test_the_momentum_lacks_no_more_than_the_shares_that_were_left_out(mode: str, tolerance: float) -> None:
    concepts, differences = [Concept(warmup_steps=6, threshold=0)], [[torch.ones(1, 1, 2, 2)]] * STEPS
    exact = feed(concepts, Settings(momentum_scale=0.5, mode=mode), differences)
    saved = feed(concepts, Settings(momentum_scale=0.5, mode=mode, warmup_tolerance=tolerance), differences)
    alone = feed(concepts, Settings(momentum_scale=0, mode=mode), differences)
    shares = torch.tensor([0.7**age for age in range(5, -1, -1)])
    shares /= shares.sum()
    lacking = shares[shares <= tolerance].sum()
    assert lacking > 0
    momentum = exact[6] - alone[6]
    torch.testing.assert_close(exact[6] - saved[6], lacking * momentum, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(mode="independent"), Settings(momentum_scale=0, reuse_steps=2)],
    ids=["reference", "independent", "reuse"],
)
def test_a_run_never_waits_for_its_device(settings: Settings) -> None:
    concepts = [
        Concept(warmup_steps=c, threshold_over=over, attention_threshold=attention)
        for c, (over, attention) in enumerate([("channel", 0.0), ("space", 0.5), ("channel", 0.9)])
    ]
    latents = torch.empty(2, 4, 8, 8, device=ELSEWHERE)
    mask, attention = latents[:1, :1], torch.empty(2, 4, 4, device=ELSEWHERE)
    made_of = [compared(latents), compared(latents, mask, attention), compared(latents, attention=attention)]
    run = GuidanceRun(concepts, settings, STEPS)
    with NoCopies():
        for step in range(STEPS):
            guidance = run.guidance(step, {c: made_of[c] for c in run.needed(step)})
            assert guidance is None or guidance.device == ELSEWHERE
