"""Each setting by itself: what it does to success and isolation while the others stay as recommended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from demo.run import EDITS

from . import search, statistics
from .outcome import Outcome, compare
from .recipe import ADDS, Recipe, edit_named, edited, name_of, plain, prompt_for
from .studio import Studio

# Half of the faces, and half of the edits: what settings do shows in the mean.
LOOKS = (0, 2)
SAMPLE = (
    edit_named("add", "glasses"),
    edit_named("add", "smiling"),
    edit_named("remove", "hat"),
    edit_named("remove", "beard"),
)

PLAIN_CHANNEL = {"threshold_over": "channel", "attention_threshold": 0.0}
PLAIN_SPACE = {"threshold_over": "space", "attention_threshold": 0.0}
OF_CONCEPTS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "threshold, per channel": tuple({**PLAIN_CHANNEL, "threshold": value} for value in (0.5, 0.7, 0.9, 0.98)),
    "threshold, over space": tuple({**PLAIN_SPACE, "threshold": value} for value in (0.5, 0.7, 0.9, 0.98)),
    "attention_threshold": tuple({"attention_threshold": value} for value in (0.0, 0.5, 0.7, 0.9)),
    "warmup_steps": tuple({"warmup_steps": value} for value in (0, 2, 4, 7)),
    "cooldown_steps": tuple({"cooldown_steps": value} for value in (0, 9, 12, 16)),
}
OF_SAMPLER: dict[str, tuple[Mapping[str, Any], ...]] = {
    "momentum_scale": tuple({"momentum_scale": value} for value in (0.0, 0.1, 0.3, 0.6)),
    "baseline": ({"baseline": "negative"}, {"baseline": "positive"}),
}
SEVERAL = [group for size in (2, 4) for group in combinations(ADDS, size)]


def settings(studio: Studio) -> dict[str, Any]:
    """Return the figures of each value of each setting."""
    rows = []
    for name, choices in OF_CONCEPTS.items():
        rows += [_row(studio, name, values, {}) for values in choices]
    for name, choices in OF_SAMPLER.items():
        rows += [_row(studio, name, {}, values) for values in choices]
    return {"settings": rows, "modes": [_mode(studio, mode) for mode in ("reference", "independent")]}


def _row(studio: Studio, name: str, values: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = []
    for edit in SAMPLE:
        before = studio.draw(plain(edit).changed(looks=LOOKS))
        recipe = edited(edit, settings=shared, **values).changed(looks=LOOKS)
        outcomes.append(compare([edit], before, studio.draw(recipe)))
    return {"setting": name, "value": {**values, **shared}[name.split(",")[0]], **_pooled(outcomes)}


def _mode(studio: Studio, mode: str) -> dict[str, Any]:
    outcomes = []
    for edits in SEVERAL:
        before = studio.draw(plain(*edits).changed(looks=LOOKS))
        after = studio.draw(edited(*edits, settings={"mode": mode}).changed(looks=LOOKS))
        outcomes.append(compare(edits, before, after))
    return {"mode": mode, **_pooled(outcomes)}


def _pooled(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the figures over the faces of several edits."""
    done = np.concatenate([outcome.done for outcome in outcomes])
    return {
        "faces": len(done),
        "success": asdict(statistics.share(int(done.sum()), len(done))),
        "isolation": asdict(statistics.mean(np.concatenate([outcome.isolation for outcome in outcomes]))),
        "background change": asdict(statistics.mean(np.concatenate([outcome.change for outcome in outcomes]))),
    }


def winners(studio: Studio) -> dict[str, Any]:
    """Choose settings on faces of their own; return each edit's best, with its figures on the reported faces."""
    rows = []
    for edit in EDITS:
        values, _, found = max(search.tried(studio, edit), key=lambda each: each[1])
        after = studio.draw(Recipe(prompt_for(edit), concepts=(values,)))
        rows.append(
            {
                "edit": name_of(edit),
                "values": dict(values),
                "search": {"success": float(found.done.mean()), "isolation": float(found.isolation.mean())},
                **compare([edit], studio.draw(plain(edit)), after).figures(),
            }
        )
    return {"winners": rows}
