"""Edits of generated pictures: every task by every way that makes sense for it, from the same noise."""

from __future__ import annotations

from typing import Any

from .comparison import Trial, comparisons, figures, figures_of_groups
from .edits import ADDED, REMOVED, TASKS, Task
from .studio import PROMPTS, Studio
from .verdict import verdict
from .ways import OURS, WAYS, plain, ways_of, wish_of


def ways(studio: Studio) -> dict[str, Any]:
    """Return the figures of the ways on generated pictures."""
    trials = [trial for task in TASKS for trial in _trials(studio, task)]
    details = [trial for trial in trials if trial.task.group in (ADDED, REMOVED)]
    pairs = [(OURS, other) for other in WAYS if other != OURS]
    return {
        "edits": figures(trials),
        "groups": figures_of_groups(trials),
        "comparisons": comparisons(trials, pairs),
        "prompts": [
            {"prompts": kind, **row}
            for kind, faces in _kinds_of_prompts(studio.faces).items()
            for row in comparisons([trial.of(faces) for trial in details], pairs)
        ],
    }


def _kinds_of_prompts(faces: int) -> dict[str, slice]:
    """Return which faces have which kind of prompt: of PROMPTS the first half describes a look."""
    return {"described": slice(faces // 2), "open": slice(faces // 2, None)}


def _trials(studio: Studio, task: Task) -> list[Trial]:
    wishes = [wish_of(task, look) for look in PROMPTS]
    before = studio.draw([plain(wish) for wish in wishes])
    return [
        Trial(task, way, verdict(task.edits, before, studio.draw([WAYS[way](wish) for wish in wishes])))
        for way in ways_of(task.group)
    ]
