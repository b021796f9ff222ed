"""The ways' figures, and ours against each other way on the same faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import statistics
from .edits import Task
from .statistics import Estimate
from .verdict import ATTRIBUTES, COMPOSITION, PIXELS, Verdict
from .ways import OURS

SUCCESS = "success"
# With fewer faces a bootstrap interval is too narrow.
FEWEST = 20
MEASURES = (SUCCESS, ATTRIBUTES, COMPOSITION, PIXELS)


@dataclass(frozen=True)
class Trial:
    """What one way made of one task."""

    task: Task
    way: str
    verdict: Verdict

    def of(self, faces: slice) -> Trial:
        """Return the trial of a part of the faces."""
        return Trial(self.task, self.way, self.verdict.of(faces))


def figures(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return the figures of each edit and way."""
    return [
        {"group": trial.task.group, "edit": trial.task.name, "way": trial.way, **_figures([trial])} for trial in trials
    ]


def figures_of_groups(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the figures of each group and way."""
    keys = dict.fromkeys((trial.task.group, trial.way) for trial in trials)
    return [
        {
            "group": group,
            "way": way,
            **_figures([each for each in trials if (each.task.group, each.way) == (group, way)]),
        }
        for group, way in keys
    ]


def comparisons(trials: Sequence[Trial], pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return for each group, pair of ways (one of ours and another) and measure what ours has more.

    What fewer than FEWEST faces show is left out.
    """
    groups, rows = dict.fromkeys(trial.task.group for trial in trials), []
    verdicts = {(trial.way, trial.task): trial.verdict for trial in trials}
    for group, (ours, other), measure in product(groups, pairs, MEASURES):
        gains = [
            gain(measure, verdicts[ours, task], verdict)
            for (way, task), verdict in verdicts.items()
            if (way, task.group) == (other, group)
        ]
        estimate = statistics.mean(gains)
        if estimate and estimate["faces"] >= FEWEST:
            rows.append({"group": group, "ours": ours, "way": other, "measure": measure, **estimate})
    return rows


def gain(measure: str, ours: Verdict, other: Verdict) -> NDArray[np.float64]:
    """Return what ours has more on each face, (N,): success where there could be one, the rest where both succeeded."""
    if measure == SUCCESS:
        return np.where(ours.eligible, ours.done * 1.0 - other.done, np.nan)
    return np.where(ours.succeeded & other.succeeded, ours.kept[measure] - other.kept[measure], np.nan)


def outcome(row: Mapping[str, float]) -> str:
    """Say whether ours is better or worse by more than the interval."""
    if row["low"] > 0:
        return "win"
    return "loss" if row["high"] < 0 else "draw"


def opponent(row: Mapping[str, str]) -> str:
    """Return what a comparison is with, and which of ours it is of if that is not the usual one."""
    return row["way"] if row["ours"] == OURS else f"{row['way']} ({row['ours']})"


def _figures(trials: Sequence[Trial]) -> dict[str, Estimate | None]:
    """Return the success, and of the faces on which it came what was kept and by how many pixels the head moved."""
    verdicts = [trial.verdict for trial in trials]
    success = statistics.share([np.where(each.eligible, each.done, np.nan) for each in verdicts])
    kept = {
        name: statistics.mean([np.where(each.succeeded, each.kept[name], np.nan) for each in verdicts])
        for name in verdicts[0].kept
    }
    moved = statistics.mean([np.where(each.succeeded, each.moved, np.nan) for each in verdicts])
    return {SUCCESS: success, **kept, "head": moved}
