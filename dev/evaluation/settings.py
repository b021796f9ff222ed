"""Each setting by itself: what it does to success and isolation while the others have their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from . import statistics
from .outcome import Outcome, compare
from .recipe import ADDS, edit_named, edited, plain
from .studio import Studio

# Half of the faces, and half of the edits: what settings do shows in the mean.
LOOKS = (0, 2)
SAMPLE = (
    edit_named("add", "glasses"),
    edit_named("add", "smiling"),
    edit_named("remove", "hat"),
    edit_named("remove", "beard"),
)

OF_CONCEPTS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "threshold, of the energy": tuple({"threshold": value} for value in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)),
    "threshold, per channel": tuple(
        {"threshold": value, "threshold_over": "channel"} for value in (0.5, 0.8, 0.9, 0.95, 0.98)
    ),
    "threshold, over space": tuple(
        {"threshold": value, "threshold_over": "space"} for value in (0.5, 0.8, 0.9, 0.95, 0.98)
    ),
    "attention_threshold": tuple({"attention_threshold": value} for value in (0.0, 0.5, 0.7, 0.9)),
    "start_percent": tuple({"start_percent": value} for value in (0.0, 0.1, 0.2, 0.35)),
    "end_percent": tuple({"end_percent": value} for value in (0.45, 0.6, 0.8, 1.0)),
}
OF_SAMPLER: dict[str, tuple[Mapping[str, Any], ...]] = {
    "momentum_scale": tuple({"momentum_scale": value} for value in (0.0, 0.1, 0.3, 0.6)),
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
        before = studio.draw(plain(edit, looks=LOOKS))
        recipe = edited(edit, values=values, settings=shared, looks=LOOKS)
        outcomes.append(compare([edit], before, studio.draw(recipe)))
    return {"setting": name, "value": {**values, **shared}[name.split(",")[0]], **pooled(outcomes)}


def _mode(studio: Studio, mode: str) -> dict[str, Any]:
    outcomes = []
    for edits in SEVERAL:
        before = studio.draw(plain(*edits, looks=LOOKS))
        after = studio.draw(edited(*edits, settings={"mode": mode}, looks=LOOKS))
        outcomes.append(compare(edits, before, after))
    return {"mode": mode, **pooled(outcomes)}


def pooled(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the figures over the faces of several edits."""
    done = np.concatenate([outcome.done for outcome in outcomes])
    return {
        "faces": len(done),
        "success": asdict(statistics.share(int(done.sum()), len(done))),
        "isolation": asdict(statistics.mean(np.concatenate([outcome.isolation for outcome in outcomes]))),
        "background change": asdict(statistics.mean(np.concatenate([outcome.change for outcome in outcomes]))),
    }
