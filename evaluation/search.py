"""Choose each edit's settings among a shortlist, on faces of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from demo.measure import Edit

from .outcome import Outcome, compare
from .recipe import SEARCH_SEED, Recipe, plain, prompt_for
from .studio import Faces, Studio

OFF = {"threshold_over": "channel", "attention_threshold": 0.0, "cooldown_steps": 0}
SHORTLIST: dict[str, tuple[Mapping[str, Any], ...]] = {
    "add": (
        {**OFF, "guidance_scale": 8.0, "threshold": 0.9, "warmup_steps": 3},
        {**OFF, "guidance_scale": 8.0, "threshold": 0.9, "warmup_steps": 5},
        {**OFF, "guidance_scale": 12.0, "threshold": 0.9, "warmup_steps": 3},
        {**OFF, "guidance_scale": 16.0, "threshold": 0.95, "warmup_steps": 4},
        {
            **OFF,
            "guidance_scale": 8.0,
            "threshold": 0.8,
            "threshold_over": "space",
            "attention_threshold": 0.7,
            "warmup_steps": 3,
        },
    ),
    "remove": (
        {**OFF, "guidance_scale": 8.0, "threshold": 0.85, "warmup_steps": 0},
        {**OFF, "guidance_scale": 16.0, "threshold": 0.95, "warmup_steps": 0},
        {**OFF, "guidance_scale": 10.0, "threshold": 0.85, "warmup_steps": 1, "cooldown_steps": 10},
        {**OFF, "guidance_scale": 6.0, "threshold": 0.0, "attention_threshold": 0.85, "warmup_steps": 0},
        {
            **OFF,
            "guidance_scale": 8.0,
            "threshold": 0.0,
            "attention_threshold": 0.7,
            "warmup_steps": 0,
            "cooldown_steps": 8,
        },
    ),
}
WANTED_SUCCESS = 0.98


def tried(studio: Studio, edit: Edit) -> Iterator[tuple[Mapping[str, Any], float, Outcome]]:
    """Yield each of the shortlist, how it scores and what it did."""
    before = studio.draw(plain(edit, seed=SEARCH_SEED))
    for settings in SHORTLIST[edit.direction]:
        values = {"text": edit.text, "direction": edit.direction, **settings}
        after = studio.draw(Recipe(prompt_for(edit), concepts=(values,), seed=SEARCH_SEED))
        outcome = compare([edit], before, after)
        yield values, score(before, after, outcome), outcome


def score(before: Faces, after: Faces, outcome: Outcome) -> float:
    """Return how much is kept, less a fine for missing success.

    Of the kept attributes the classifier's probabilities count, since they vary less than its verdicts.
    """
    rows = np.flatnonzero(outcome.eligible)
    kept = [after.chances[name][rows, before.judged[name][rows]] for name in outcome.kept]
    missing = max(0.0, WANTED_SUCCESS - outcome.done.mean())
    return float(np.mean(kept) - 0.002 * outcome.change.mean() - 2 * missing)
