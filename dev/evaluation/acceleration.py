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
    **{f"reuse {steps}": ({}, {"reuse_steps": steps}) for steps in (2, 3, 4, 8)},
    **{f"end {percent:.0%}": ({"end_percent": percent}, {}) for percent in (0.8, 0.65, 0.5)},
    **{
        f"reuse {steps}, end {percent:.0%}": ({"end_percent": percent}, {"reuse_steps": steps})
        for steps, percent in ((2, 0.8), (3, 0.65), (4, 0.75))
    },
}


def acceleration(studio: Studio) -> dict[str, Any]:
    """Return the passes, success and isolation of each way, and what it loses against every pass, paired by face."""
    before = studio.draw(plain(*ADDS))
    full = compare(ADDS, before, studio.draw(edited(*ADDS)))
    rows = []
    for name, (values, shared) in WAYS.items():
        after = studio.draw(edited(*ADDS, settings=shared, values=values))
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
