"""A run's guidance follows the design's formulas with nothing but the passes that it asks for."""

from __future__ import annotations

import pytest
import torch

from sega_core import Concept, GuidanceRun, Settings, passes_needed
from support.core import compared, feed, noise, plain_guidance, random_run

MODES = ["reference", "independent"]
SEEDS = range(40)


def or_zeros(guidance: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    return torch.zeros(like.shape) if guidance is None else guidance


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_guidance_is_the_formulas(seed: int, mode: str) -> None:
    concepts, settings, differences = random_run(seed, mode)
    expected = plain_guidance(concepts, settings, differences)
    for step, (got, want) in enumerate(zip(feed(concepts, settings, differences), expected, strict=True)):
        like = differences[step][0]
        torch.testing.assert_close(or_zeros(got, like), or_zeros(want, like), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", SEEDS)
def test_passes_left_out_would_not_have_changed_a_bit(seed: int, mode: str) -> None:
    concepts, settings, differences = random_run(seed, mode)
    needed = feed(concepts, settings, differences)
    everything = feed(concepts, settings, differences, everything=True)
    for got, want in zip(needed, everything, strict=True):
        assert torch.equal(or_zeros(got, differences[0][0]), or_zeros(want, differences[0][0]))


def test_the_random_runs_elide_and_edit() -> None:
    runs = [random_run(seed, mode) for seed in SEEDS for mode in MODES]
    passes = sum(len(GuidanceRun(c, s, len(d)).needed(i)) for c, s, d in runs for i in range(len(d)))
    assert 0 < passes < sum(len(c) * len(d) for c, _, d in runs)
    edited = sum(any(g is not None and g.any() for g in feed(*run)) for run in runs)
    assert edited > len(runs) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_independent_concepts_add_up(seed: int) -> None:
    concepts, settings, differences = random_run(seed, "independent")
    joint = feed(concepts, settings, differences)
    alone = [feed([c], settings, [[d[i]] for d in differences]) for i, c in enumerate(concepts)]
    for step, guidance in enumerate(joint):
        like = differences[step][0]
        total = sum(or_zeros(single[step], like) for single in alone)
        torch.testing.assert_close(or_zeros(guidance, like), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [{"weight": 0}, {"cooldown_steps": 1}], ids=str)
def test_warm_concepts_without_a_share_leave_the_partial_phase_alone(first: dict[str, float], mode: str) -> None:
    concepts = [Concept(warmup_steps=0, **first), Concept(warmup_steps=3)]
    out = feed(concepts, Settings(mode=mode), [[noise(1, 2, 4, 4, seed=i)] * 2 for i in range(5)], everything=True)
    acts = [guidance is not None and bool(guidance.any()) for guidance in out]
    assert acts == ["cooldown_steps" in first, False, False, True, True]
    assert all(guidance is None or guidance.isfinite().all() for guidance in out)


def test_the_references_weights_are_shares_while_some_concepts_warm_up() -> None:
    concepts = [Concept(warmup_steps=0, weight=4), Concept(warmup_steps=2)]
    difference = noise(1, 2, 4, 4)
    out = feed(concepts, Settings(momentum_scale=0), [[difference, torch.zeros_like(difference)]] * 3)
    torch.testing.assert_close(out[2], 4 * out[0])


@pytest.mark.parametrize("mode", MODES)
def test_momentum_advances_once_however_often_a_step_is_evaluated(mode: str) -> None:
    concepts, settings = [Concept(warmup_steps=1), Concept(warmup_steps=0)], Settings(momentum_scale=0.5, mode=mode)
    once, thrice = GuidanceRun(concepts, settings, 4), GuidanceRun(concepts, settings, 4)
    for step in range(4):
        final = {c: compared(noise(1, 2, 4, 4, seed=10 * step + c)) for c in range(2)}
        for trial in range(2):
            seed = 100 + 10 * step + 2 * trial
            thrice.guidance(step, {c: compared(noise(1, 2, 4, 4, seed=seed + c)) for c in range(2)})
        assert torch.equal(thrice.guidance(step, final), once.guidance(step, final))


@pytest.mark.parametrize("mode", MODES)
def test_a_step_that_is_not_evaluated_counts_as_one_without_estimates(mode: str) -> None:
    concepts, settings = [Concept(warmup_steps=0, guidance_scale=2)], Settings(momentum_scale=0.5, mode=mode)
    skipping, zero = GuidanceRun(concepts, settings, 5), GuidanceRun(concepts, settings, 5)
    for step in range(5):
        difference = noise(1, 2, 4, 4, seed=step) if step not in (2, 3) else torch.zeros(1, 2, 4, 4)
        want = zero.guidance(step, {0: compared(difference)})
        if step not in (2, 3):
            torch.testing.assert_close(skipping.guidance(step, {0: compared(difference)}), want)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [[0, 1, 2, 1, 2, 3, 2, 3], [0, 1, 0, 1, 2, 3], [0, 0, 2, 1, 2, 3]], ids=str)
def test_a_step_that_is_taken_again_starts_from_its_own_momentum(mode: str, order: list[int]) -> None:
    concepts, settings = [Concept(warmup_steps=0), Concept(warmup_steps=1)], Settings(momentum_scale=0.5, mode=mode)
    back, straight = GuidanceRun(concepts, settings, 4), GuidanceRun(concepts, settings, 4)
    last = {step: place for place, step in enumerate(order)}
    found = {}
    for place, step in enumerate(order):
        found[step] = back.guidance(step, {c: compared(noise(1, 2, 4, 4, seed=2 * place + c)) for c in range(2)})
    for step in range(4):
        want = straight.guidance(step, {c: compared(noise(1, 2, 4, 4, seed=2 * last[step] + c)) for c in range(2)})
        torch.testing.assert_close(found[step], want)


@pytest.mark.parametrize("mode", MODES)
def test_latents_of_another_size_start_without_momentum(mode: str) -> None:
    concepts, settings = [Concept(warmup_steps=0)], Settings(momentum_scale=0.5, mode=mode)
    grown, fresh = GuidanceRun(concepts, settings, 4), GuidanceRun(concepts, settings, 4)
    grown.guidance(0, {0: compared(noise(1, 2, 4, 4))})
    grown.forget()
    larger = noise(1, 2, 8, 8)
    assert torch.equal(grown.guidance(1, {0: compared(larger)}), fresh.guidance(1, {0: compared(larger)}))


def test_half_precision_estimates_give_fp32_guidance() -> None:
    differences = [[noise(1, 2, 6, 6, seed=i).half()] for i in range(3)]
    out = feed([Concept(warmup_steps=0)], Settings(), differences)
    want = feed([Concept(warmup_steps=0)], Settings(), [[d.float()] for (d,) in differences])
    for got, expected in zip(out, want, strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, expected)


def test_two_runs_share_nothing() -> None:
    concepts, settings, differences = random_run(7, "reference")
    other = random_run(11, "reference")
    before = feed(concepts, settings, differences)
    feed(*other)
    for first, second in zip(before, feed(concepts, settings, differences), strict=True):
        assert first is second is None or torch.equal(first, second)


@pytest.mark.parametrize("mode", MODES)
def test_momentum_outlives_a_warm_up_whose_last_passes_are_left_out(mode: str) -> None:
    """With a momentum that grows, the first passes of the warm-up count most, and a tolerance leaves out the others."""
    settings = Settings(momentum_scale=2.0, momentum_beta=0.4, mode=mode, warmup_tolerance=0.15)
    concepts, difference = [Concept(warmup_steps=6, threshold=0.0, guidance_scale=1.0)], torch.ones(1, 1, 2, 2)
    needed = passes_needed(concepts, settings, 8)
    assert needed[0] == (0,) != needed[5]
    with_momentum = feed(concepts, settings, [[difference]] * 8)[6]
    assert with_momentum.mean() > 20


def test_a_concept_whose_text_does_not_act_has_no_share_of_the_weight() -> None:
    difference = noise(1, 2, 4, 4)
    acting, absent, later = Concept(warmup_steps=0), Concept(warmup_steps=0, weight=3.0), Concept(warmup_steps=3)
    alone = GuidanceRun([acting, later], Settings(momentum_scale=0), 4).guidance(0, {0: compared(difference)})
    beside = GuidanceRun([acting, absent, later], Settings(momentum_scale=0), 4).guidance(
        0, {0: compared(difference), 1: None}
    )
    assert torch.equal(alone, beside)
