"""When things happen: the step of a sigma, and the concept passes that a step needs."""

from __future__ import annotations

from collections.abc import Sequence

from .concept import Concept, Settings

# Samplers reach a step's sigma through logarithms and exponentials.
_RELATIVE_TOLERANCE = 1e-4


def step_of_sigma(sigma: float, sigmas: Sequence[float], start: int = 0) -> int:
    """Return the sampling step that an evaluation at `sigma` belongs to.

    Step i covers the way from sigmas[i], included, to sigmas[i + 1], excluded, so that the intermediate evaluations of
    second-order and SDE samplers belong to the step they are made for.

    Args:
        sigma: noise level of the evaluation.
        sigmas: the schedule, one more entry than steps; falling, or rising (restarts, inversion) in part or as a whole.
        start: the step of the evaluation before; steps never go back.

    Returns:
        A step in [start, len(sigmas) - 2]; `start` where no later step covers sigma.
    """
    for step in range(start, len(sigmas) - 1):
        first, after = sigmas[step], sigmas[step + 1]
        if after <= first:
            covered = after * (1 + _RELATIVE_TOLERANCE) < sigma <= first * (1 + _RELATIVE_TOLERANCE)
        else:
            covered = first * (1 - _RELATIVE_TOLERANCE) <= sigma < after * (1 - _RELATIVE_TOLERANCE)
        if covered:
            return step
    return start


def passes_needed(concepts: Sequence[Concept], settings: Settings, steps: int) -> list[tuple[int, ...]]:
    """Return, for each step, the indices of the concepts whose estimates can change this or a later output.

    Leaving out the others gives the same result to the bit.
    """
    return [
        tuple(c for c, concept in enumerate(concepts) if _is_needed(concept, concepts, settings, step, steps))
        for step in range(steps)
    ]


def _is_needed(concept: Concept, concepts: Sequence[Concept], settings: Settings, step: int, steps: int) -> bool:
    if concept.is_off or concept.is_cooled(step):
        return False
    if concept.is_warm(step):
        return True
    # A concept that is not warm yet reaches the image through the momentum alone, and only at a later step that
    # uses the momentum.
    if settings.momentum_scale == 0:
        return False
    if settings.mode == "independent":
        return concept.warmup_steps < steps
    return max(other.warmup_steps for other in concepts) < steps
