"""A step with concepts against the host's own sampling with as many passes.

The host's sampler evaluates the negative prompt once more for each concept, in the one call in which it evaluates the
prompts, and drops what it gets: the cost of these passes and of nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .generation import Plan, noise_of
from .scenarios import Scenario, equal_concepts
from .timing import in_turns
from .twins import Passes, Twin

MOST_RATIO = 1.02
CONCEPTS = (1, 4)
# Per round of whole generations: a difference of 2% needs more of them.
ROUNDS = 3


def measure(plan: Plan, twin: Twin, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each number of concepts, every pass of which is needed."""
    rows = []
    for count in CONCEPTS:
        row = {"network": plan.shape.name, "latents": plan.size, "concepts": count}
        row |= _compare(plan, twin, count)
        say(f"{row['network']}, {count} concepts: {row['ratio']:.3f} times the cost of the passes")
        rows.append(row)
    return rows


def _compare(plan: Plan, twin: Twin, count: int) -> dict[str, Any]:
    steps, noise = plan.steps_all, noise_of(plan.size)
    guided = twin.guided(Scenario("", equal_concepts(count, warmup_steps=0), steps=steps))
    unguided = twin.unguided(count)

    def with_concepts() -> None:
        twin.sample_host(guided, steps, noise)

    def plain() -> None:
        twin.sample_host(unguided, steps, noise)

    with Passes(twin.networks[1]) as passes:
        with_concepts()
        ours = passes.count
        plain()
    if passes.count != 2 * ours:
        raise RuntimeError(f"both must make the same passes, got {ours} and {passes.count - ours}")
    times = in_turns(with_concepts, plain, ROUNDS * plan.rounds).spread()
    return {
        "steps": steps,
        "step_seconds": times["first_seconds"] / steps,
        "passes_seconds": times["second_seconds"] / steps,
        **{key: times[key] for key in ("ratio", "low", "high")},
        "met": times["ratio"] <= MOST_RATIO,
    }
