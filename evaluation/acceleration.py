"""What the approximate acceleration costs: passes of the UNet against success and isolation, four concepts at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from . import statistics
from .outcome import compare
from .recipe import ADDS, edited, plain
from .studio import Studio

# Of CFG alone, per face and step.
PLAIN_PASSES = 2
# The concepts' values and the sampler's settings of each way; the first is the exact one.
WAYS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "every pass": ({}, {}),
    "momentum off": ({}, {"momentum_scale": 0.0}),
    **{f"reuse {steps}": ({}, {"reuse_steps": steps}) for steps in (2, 3, 4, 8)},
    **{f"tolerance {tolerance:g}": ({}, {"warmup_tolerance": tolerance}) for tolerance in (0.05, 0.2)},
    **{f"cool-down {steps}": ({"cooldown_steps": steps}, {}) for steps in (16, 13, 10)},
    "reuse 2, cool-down 16": ({"cooldown_steps": 16}, {"reuse_steps": 2}),
    "reuse 3, cool-down 13": ({"cooldown_steps": 13}, {"reuse_steps": 3}),
    **{f"reuse {steps}, momentum off": ({}, {"reuse_steps": steps, "momentum_scale": 0.0}) for steps in (2, 3, 8)},
    **{
        f"reuse {steps}, cool-down {last}, momentum off": (
            {"cooldown_steps": last},
            {"reuse_steps": steps, "momentum_scale": 0.0},
        )
        for steps, last in ((2, 11), (3, 13), (4, 15), (8, 19))
    },
    "reuse 8, tolerance 1": ({}, {"reuse_steps": 8, "warmup_tolerance": 1.0}),
    **{
        f"reuse {steps}, cool-down {last}, tolerance 1": (
            {"cooldown_steps": last},
            {"reuse_steps": steps, "warmup_tolerance": 1.0},
        )
        for steps, last in ((4, 15), (8, 19))
    },
}


def acceleration(studio: Studio) -> dict[str, Any]:
    """Return the passes, success and isolation of each way, and what it loses against every pass, paired by face."""
    before = studio.draw(plain(*ADDS))
    full = compare(ADDS, before, studio.draw(edited(*ADDS)))
    rows = []
    for name, (values, shared) in WAYS.items():
        after = studio.draw(edited(*ADDS, settings=shared, **values))
        outcome = compare(ADDS, before, after)
        each, kept = outcome.each.mean(0), outcome.isolation
        rows.append(
            {
                "way": name,
                "passes": after.passes,
                "cost": after.passes / PLAIN_PASSES,
                **outcome.figures(),
                "mean success": asdict(statistics.mean(each)),
                "success lost": asdict(statistics.mean(full.each.mean(0) - each)),
                "isolation lost": asdict(statistics.mean(full.isolation - kept)),
            }
        )
    return {"ways": rows}
