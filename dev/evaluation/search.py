"""Choose the default values: candidates on two models, at several numbers of steps and cfgs, on faces of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from ..demo.measure import Edit
from ..demo.run import EDITS
from .outcome import Outcome, compare
from .recipe import SEARCH_SEED, Recipe, edited, opened, plain, with_changed_prompt
from .settings import pooled
from .studio import Studio

THRESHOLDS = (("energy", 0.1), ("energy", 0.2), ("energy", 0.3), ("channel", 0.8), ("channel", 0.9), ("channel", 0.95))
CANDIDATES: tuple[Mapping[str, Any], ...] = tuple(
    {"strength": strength, "threshold": threshold, "threshold_over": over, "start_percent": start}
    for strength, (over, threshold), start in product((1.0, 1.5, 2.0), THRESHOLDS, (0.0, 0.1, 0.2))
)
# On the shipped model; on the other one the prompts are open.
CONDITIONS: tuple[Mapping[str, Any], ...] = (
    {"steps": 20},
    {"steps": 8},
    {"steps": 50},
    {"steps": 4},
    {"steps": 20, "cfg": 8.0},
    {"steps": 20, "cfg": 1.0},
    {"steps": 20, "sampler": "dpmpp_2m"},
)


def search(studio: Studio) -> dict[str, Any]:
    """Return what each candidate does, and what changing the prompt does instead."""
    rows = []
    for values in (None, *CANDIDATES):
        for name, changes in _places():
            for direction in ("add", "remove"):
                edits = [edit for edit in EDITS if edit.direction == direction]
                outcomes = [_outcome(studio, edit, values, changes) for edit in edits]
                rows.append(
                    {
                        "values": dict(values or {}),
                        "where": name,
                        "direction": direction,
                        **pooled(outcomes),
                        "least success": min(float(outcome.done.mean()) for outcome in outcomes),
                        "least isolation": min(float(outcome.isolation.mean()) for outcome in outcomes),
                    }
                )
    return {"candidates": rows}


def _places() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for changes in CONDITIONS:
        yield ", ".join(f"{name} {value}" for name, value in changes.items()), changes
    yield "second model, open prompts", {"model": "together", "looks": (0,)}


def _outcome(studio: Studio, edit: Edit, values: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> Outcome:
    """Return what candidate values do; without any, what the changed prompt does."""
    before = plain(edit, seed=SEARCH_SEED, **changes)
    after = (
        with_changed_prompt(edit, seed=SEARCH_SEED, **changes)
        if values is None
        else edited(edit, seed=SEARCH_SEED, values=values, **changes)
    )
    drawn: Sequence[Recipe] = (before, after)
    if changes.get("model") == "together":
        drawn = [opened(recipe) for recipe in drawn]
    return compare([edit], *map(studio.draw, drawn))
