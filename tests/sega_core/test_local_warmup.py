"""What is added to a part of the picture waits until the composition is settled; all else starts at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sega_core import Concept, ConceptSettings, GuidanceRun, Settings
from support.core import compared, feed, noise

INDEPENDENT = Settings(momentum_scale=0, mode="independent")
WAITS = Concept(threshold=0.2, warmup_steps=0, local_warmup_steps=2, threshold_over="energy")


def linear(percent: float) -> float:
    return 1 - percent


def wait_of(settings: ConceptSettings, steps: int = 20) -> int:
    return settings.concept([1 - step / steps for step in range(steps + 1)], linear).local_warmup_steps


def spot(seed: int = 0) -> Tensor:
    """Return a difference in one corner."""
    difference = torch.zeros(1, 4, 8, 8)
    difference[..., :3, :3] = noise(1, 4, 3, 3, seed=seed)
    return difference


def scene(seed: int = 0) -> Tensor:
    """Return a difference everywhere."""
    return noise(1, 4, 8, 8, seed=seed)


def acts(differences: list[Tensor], concept: Concept = WAITS, settings: Settings = INDEPENDENT) -> list[bool]:
    """Say at which steps the guidance is not zero."""
    out = feed([concept], settings, [[difference] for difference in differences])
    return [guidance is not None and bool(guidance.any()) for guidance in out]


def test_a_spot_waits_and_a_scene_does_not() -> None:
    assert acts([spot(i) for i in range(4)]) == [False, False, True, True]
    assert acts([scene(i) for i in range(4)]) == [True] * 4


def test_the_first_evaluation_decides() -> None:
    assert acts([spot(), scene(), scene()]) == [False, False, True]
    assert acts([scene(), spot(), spot()]) == [True, True, True]


def test_each_image_of_a_batch_decides_for_itself() -> None:
    run = GuidanceRun([WAITS], INDEPENDENT, 3)
    for step, second in enumerate([False, False, True]):
        guidance = run.guidance(step, {0: compared(torch.cat([scene(step), spot(step)]))})
        assert [bool(image.any()) for image in guidance] == [True, second]


def test_without_a_threshold_nothing_is_local() -> None:
    # What does not change at all in most places cannot be told from a spot.
    near_spot = spot() + 1e-6 * scene()
    assert acts([near_spot] * 2, Concept(threshold=0, warmup_steps=0, local_warmup_steps=2)) == [True, True]


def test_a_mask_makes_nothing_local() -> None:
    run, mask = GuidanceRun([WAITS], INDEPENDENT, 3), torch.zeros(1, 1, 8, 8)
    mask[..., :2] = 1
    assert run.guidance(0, {0: compared(scene(), mask)}).any()


def test_what_waits_is_not_lost_where_guidance_is_reused() -> None:
    reusing = Settings(momentum_scale=0, mode="independent", reuse_steps=4)
    assert acts([spot(i) for i in range(6)], settings=reusing) == [False, False, True, True, True, True]


def test_resized_latents_decide_again() -> None:
    run = GuidanceRun([WAITS], INDEPENDENT, 3)
    assert not run.guidance(0, {0: compared(spot())}).any()
    run.forget()
    assert run.guidance(1, {0: compared(noise(1, 4, 16, 16))}).any()


def test_reference_mode_does_not_wait() -> None:
    assert acts([spot()], settings=Settings(momentum_scale=0)) == [True]


@pytest.mark.parametrize(("steps", "waits"), [(1, 0), (4, 0), (5, 1), (8, 1), (10, 2), (20, 4), (50, 10)])
def test_adding_waits_for_a_fifth_of_the_steps(steps: int, waits: int) -> None:
    assert wait_of(ConceptSettings(), steps) == waits


@pytest.mark.parametrize(
    "at_once",
    [{"direction": "remove"}, {"guidance_scale": 5.0}, {"start_percent": 0.05}, {"end_percent": 0.2}],
    ids=str,
)
def test_a_removal_and_what_the_user_times_does_not_wait(at_once: dict[str, float | str]) -> None:
    assert wait_of(ConceptSettings(**at_once)) == 0


def test_a_sampling_that_begins_with_a_settled_composition_does_not_wait() -> None:
    assert ConceptSettings().concept([0.8, 0.6, 0.4, 0.2, 0.1, 0.05, 0.0], linear).local_warmup_steps == 0
