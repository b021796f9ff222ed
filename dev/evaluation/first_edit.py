"""The first edit: default values at other numbers of steps and cfgs, and what the strength does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sega_core.concept_settings import STRENGTH

from . import statistics
from .comparison import Trial, figures
from .edits import Task, tasks_named
from .recipe import Recipe
from .studio import PROMPTS, Studio
from .verdict import Verdict, verdict
from .ways import OURS, ours, plain, wish_of

TASKS = tasks_named("+ glasses", "- hat")
# Steps and cfg.
CONDITIONS = ((4, 3.5), (8, 3.5), (20, 8.0), (20, 1.0))
STRENGTHS = (0.5, 1.0, STRENGTH, 3.0)


def first_edit(studio: Studio) -> dict[str, Any]:
    """Return the figures of ours alone."""
    return {
        "conditions": [row for task in TASKS for row in _conditions(studio, task)],
        "strengths": [row for task in TASKS for row in _strengths(studio, task)],
    }


def _conditions(studio: Studio, task: Task) -> Iterator[dict[str, Any]]:
    for steps, cfg in CONDITIONS:
        found = _verdict(studio, task, steps=steps, cfg=cfg)
        (row,) = figures([Trial(task, OURS, found)])
        yield {"steps": steps, "cfg": cfg, **row}


def _strengths(studio: Studio, task: Task) -> Iterator[dict[str, Any]]:
    for strength in STRENGTHS:
        found = _verdict(studio, task, strength)
        yield {"edit": task.name, "strength": strength, **statistics.share(found.done[found.eligible])}


def _verdict(studio: Studio, task: Task, strength: float = STRENGTH, **drawn: Any) -> Verdict:
    """Return what our concepts do at a strength, when pictures are drawn so."""
    wishes = [wish_of(task, look) for look in PROMPTS]
    before = studio.draw([replace(plain(wish), **drawn) for wish in wishes])
    after = studio.draw([replace(_as_strong(ours(wish), strength), **drawn) for wish in wishes])
    return verdict(task.edits, before, after)


def _as_strong(recipe: Recipe, strength: float) -> Recipe:
    return replace(recipe, concepts=tuple({**concept, "strength": strength} for concept in recipe.concepts))
