"""Look for the settings that keep most of the rest while an edit still succeeds, on faces of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from demo.measure import Edit
from demo.run import concept

from .outcome import Outcome, compare
from .recipe import SEARCH_SEED, Recipe, plain, prompt_for
from .studio import Faces, Studio

# What a concept's settings may be; one at a time is changed, in this order.
CHOICES: dict[str, tuple[Any, ...]] = {
    "cooldown_steps": (0, 4, 6, 8, 12),
    "warmup_steps": (0, 1, 2, 3, 4, 6),
    "guidance_scale": (4.0, 6.0, 8.0, 10.0, 12.0, 16.0),
    "threshold_over": ("channel", "space"),
    "attention_threshold": (0.0, 0.7, 0.85),
    "threshold": (0.6, 0.8, 0.85, 0.9, 0.95, 0.98),
}
ROUNDS = 2
WANTED_SUCCESS = 0.98
START = {"threshold_over": "channel", "attention_threshold": 0.0, "cooldown_steps": 0}


def search(studio: Studio, edit: Edit) -> Iterator[tuple[Mapping[str, Any], float, Outcome]]:
    """Change one setting after the other, twice round, and keep what scores better; yield each step to the better."""
    before = studio.draw(plain(edit, seed=SEARCH_SEED))

    def tried(values: Mapping[str, Any]) -> tuple[Mapping[str, Any], float, Outcome]:
        after = studio.draw(Recipe(prompt_for(edit), concepts=(values,), seed=SEARCH_SEED))
        outcome = compare([edit], before, after)
        return values, score(edit, before, after, outcome), outcome

    best = tried(START | concept(edit))
    yield best
    for _ in range(ROUNDS):
        for name, choices in CHOICES.items():
            for value in choices:
                if value == best[0][name] or not _is_valid({**best[0], name: value}):
                    continue
                other = tried({**best[0], name: value})
                if other[1] > best[1]:
                    best = other
                    yield best


def score(edit: Edit, before: Faces, after: Faces, outcome: Outcome) -> float:
    """Return how much is kept, less a fine for missing success.

    Of the kept attributes the classifier's probabilities count, since they vary less than its verdicts.
    """
    rows = np.flatnonzero(outcome.eligible)
    kept = [after.chances[name][rows, before.judged[name][rows]] for name in outcome.kept]
    missing = max(0.0, WANTED_SUCCESS - outcome.done.mean())
    return float(np.mean(kept) - 0.002 * outcome.change.mean() - 2 * missing)


def _is_valid(values: Mapping[str, Any]) -> bool:
    return values["cooldown_steps"] == 0 or values["cooldown_steps"] > values["warmup_steps"]
