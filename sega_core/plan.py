"""Which step a sigma belongs to, and which concept passes a step needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .concept import Concept, Settings

# Samplers reach a step's sigma through logarithms and exponentials.
_RELATIVE_TOLERANCE = 1e-4
# Rounding between a schedule's and a percentage's value of one noise level.
_SAME_LEVEL = 1e-5
# Bisections of the whole range that find a progress to seven digits.
_HALVINGS = 24


@dataclass(frozen=True)
class Window:
    """When a concept acts, in steps of a schedule.

    Args:
        warmup_steps: the first step at which it acts.
        cooldown_steps: the first later step at which it no longer acts; None is never.
    """

    warmup_steps: int
    cooldown_steps: int | None


def window(sigmas: Sequence[float], first: float, last: float) -> Window:
    """Return the steps of a schedule from one noise level (included) to another (excluded).

    A schedule that rises has one window too: from its first step between the levels to its last. If no step lies
    between the levels, the window starts after the last step.
    """
    within = [
        step
        for step, sigma in enumerate(sigmas[:-1])
        if sigma <= first * (1 + _SAME_LEVEL) and (last <= 0 or sigma > last * (1 + _SAME_LEVEL))
    ]
    if not within:
        return Window(max(0, len(sigmas) - 1), None)
    return Window(within[0], None if within[-1] == len(sigmas) - 2 else within[-1] + 1)


def progress_of(sigma: float, percent_to_sigma: Callable[[float], float]) -> float:
    """Return the progress of a sampling at a noise level, in [0, 1].

    Args:
        sigma: the noise level.
        percent_to_sigma: the model's noise level at a progress; decreasing.
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if percent_to_sigma(middle) > sigma else (low, middle)
    return high


def step_of_sigma(sigma: float, sigmas: Sequence[float], before: int = 0) -> int:
    """Return the sampling step that an evaluation at `sigma` belongs to.

    Step i covers sigmas[i] (included) to sigmas[i + 1] (excluded), so the intermediate evaluations of second-order and
    SDE samplers belong to the step they are made for.

    Args:
        sigma: noise level of the evaluation.
        sigmas: the schedule, one more entry than steps; it falls, or rises in part or throughout (restarts, inversion).
        before: the step of the previous evaluation. If several steps cover sigma, the next one from here on is
            returned, or else the last one.

    Returns:
        A step in [0, len(sigmas) - 2]; if none covers sigma, the one that starts nearest to it.
    """
    step = covering_step(sigma, sigmas, before)
    if step is not None:
        return step
    starts = [abs(start - sigma) for start in sigmas[:-1]]
    return starts.index(min(starts))


def covering_step(sigma: float, sigmas: Sequence[float], before: int = 0) -> int | None:
    """Return the step that covers `sigma`, as `step_of_sigma` does; None if no step does."""
    covering = [step for step in range(len(sigmas) - 1) if _covers(sigmas[step], sigmas[step + 1], sigma)]
    return next((step for step in covering if step >= before), covering[-1] if covering else None)


def _covers(first: float, after: float, sigma: float) -> bool:
    if after <= first:
        return after * (1 + _RELATIVE_TOLERANCE) < sigma <= first * (1 + _RELATIVE_TOLERANCE)
    return first * (1 - _RELATIVE_TOLERANCE) <= sigma < after * (1 - _RELATIVE_TOLERANCE)


def passes_needed(concepts: Sequence[Concept], settings: Settings, steps: int) -> list[tuple[int, ...]]:
    """Return, for each step, the indices of the concepts whose guidance can change this or a later output.

    Skipping the others gives a bit-identical result, or nearly the same with a `warmup_tolerance` above 0.
    """
    return [
        tuple(c for c, concept in enumerate(concepts) if _is_needed(concept, concepts, settings, step, steps))
        for step in range(steps)
    ]


def passes_due(
    needed: Sequence[tuple[int, ...]], concepts: Sequence[Concept], reuse_steps: int
) -> list[tuple[int, ...]]:
    """Return, for each step, which of the needed concepts to evaluate when guidance may be reused.

    Guidance changes fast when a concept starts, then ever more slowly: it is reused for as many steps as have passed
    since the warm-up, up to `reuse_steps`.
    """
    due: list[tuple[int, ...]] = []
    following: dict[int, int] = {}
    for step, candidates in enumerate(needed):
        due.append(tuple(c for c in candidates if following.get(c, 0) <= step))
        for c in due[-1]:
            following[c] = step + min(reuse_steps, max(1, step - concepts[c].warmup_steps))
    return due


def _is_needed(concept: Concept, concepts: Sequence[Concept], settings: Settings, step: int, steps: int) -> bool:
    if concept.is_off or concept.is_cooled(step):
        return False
    if concept.is_warm(step):
        return True
    # A concept that is not warm yet reaches the image only through the momentum, at a later step that uses it.
    if settings.momentum_scale == 0:
        return False
    independent = settings.mode == "independent"
    used = concept.warmup_steps if independent else max(other.warmup_steps for other in concepts)
    if used >= steps:
        return False
    tolerance = settings.warmup_tolerance
    return tolerance == 0 or _share_of_momentum(step, used, settings) > tolerance


def _share_of_momentum(step: int, used: int, settings: Settings) -> float:
    """Return a step's share of the momentum that is first used at step `used`.

    Follows the momentum update (equations 9 and 10), assuming guidance of the same size at all steps.
    """
    ratio, age = settings.momentum_kept, used - 1 - step
    if ratio > 1:
        # The first steps count most; counting from there keeps the numbers small.
        ratio, age = 1 / ratio, step
    whole = used if ratio == 1 else (1 - ratio**used) / (1 - ratio)
    return ratio**age / whole
