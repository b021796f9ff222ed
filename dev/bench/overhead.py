"""A step with concepts against the host's own sampling with as many passes.

The host's sampler evaluates the negative prompt once more for each concept, in the one call in which it evaluates the
prompts, and drops what it gets: the cost of these passes and of nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .generation import Plan, noise_of
from .scenarios import EVERY_PASS
from .timing import in_turns
from .twins import Twin

SCENARIOS = [scenario for scenario in EVERY_PASS if len(scenario.concepts) in (1, 4)]
# Per round of whole generations: a difference of 2% needs more of them.
ROUNDS = 3


def measure(plan: Plan, twin: Twin, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each number of concepts, every pass of which is needed."""
    rows, steps, noise = [], plan.steps_all, noise_of(plan.size)
    for scenario in SCENARIOS:
        count = len(scenario.concepts)
        models = (twin.guided(scenario.in_steps(steps)), twin.unguided(count))
        passes = []
        for model in models:
            twin.our_calls.clear()
            twin.sample_host(model, steps, noise)
            passes.append(sum(twin.our_calls))
        if passes[0] != passes[1]:
            raise RuntimeError(f"both must make the same passes, got {passes[0]} and {passes[1]}")
        samplings = [partial(twin.sample_host, model, steps, noise) for model in models]
        times = in_turns(*samplings, ROUNDS * plan.rounds)
        row = {
            "network": plan.shape.name,
            "latents": plan.size,
            "concepts": count,
            "steps": steps,
            "step_seconds": times["first_seconds"] / steps,
            "passes_seconds": times["second_seconds"] / steps,
            **{key: times[key] for key in ("ratio", "low", "high")},
        }
        say(f"{row['network']}, {count} concepts: {row['ratio']:.3f} times the cost of the passes")
        rows.append(row)
    return rows
