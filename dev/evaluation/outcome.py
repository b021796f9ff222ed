"""What edits did to each face: done or not, the other attributes kept or not, the background changed by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..demo.faces import ATTRIBUTES
from ..demo.measure import Edit
from . import statistics
from .regions import background
from .studio import Faces

# A pixel counts as unchanged when no channel changed by more than this, of 255.
TOLERANCE = 8
# What the prompts name; the other attributes are left to the noise.
NAMED = ("hair", "skin", "background")


@dataclass(frozen=True)
class Outcome:
    """What edits did to the faces that lacked what was to be added and had what was to be removed.

    Args:
        eligible: (N,), these faces among all.
        each: (edits, F), which of the edits succeeded; this and the rest is of the F eligible faces.
        kept: per attribute that no edit is about, (F,), whether it stayed.
        change: (F,), the mean change of a channel of a pixel of the background, of 255; (0,) where an edit has no
            background.
        unchanged: likewise, the share of the background's pixels that changed by no more than TOLERANCE.
    """

    eligible: NDArray[np.bool_]
    each: NDArray[np.bool_]
    kept: dict[str, NDArray[np.bool_]]
    change: NDArray[np.float64]
    unchanged: NDArray[np.float64]

    @property
    def done(self) -> NDArray[np.bool_]:
        """Whether all edits succeeded, (F,)."""
        return self.each.all(0)

    @property
    def isolation(self) -> NDArray[np.float64]:
        """Per face the share of the other attributes that stayed, (F,)."""
        return np.mean(list(self.kept.values()), axis=0)

    def figures(self) -> dict[str, Any]:
        """Return the figures with their intervals, as plain values."""
        kept = {name: statistics.share(int(stayed.sum()), len(stayed)) for name, stayed in self.kept.items()}
        worst = min(kept, key=lambda name: kept[name].value)
        of_background = {"background change": self.change, "background unchanged": self.unchanged}
        return {
            "faces": len(self.done),
            "success": asdict(statistics.share(int(self.done.sum()), len(self.done))),
            "each": [asdict(statistics.share(int(done.sum()), len(done))) for done in self.each],
            "isolation": asdict(statistics.mean(self.isolation)),
            "named kept": asdict(
                statistics.mean(np.mean([self.kept[name] for name in NAMED if name in self.kept], axis=0))
            ),
            "kept": {name: asdict(estimate) for name, estimate in kept.items()},
            "worst": worst,
            **{name: asdict(statistics.mean(values)) for name, values in of_background.items() if len(values)},
        }


def compare(edits: Sequence[Edit], before: Faces, after: Faces) -> Outcome:
    """Return what edits did.

    Raises:
        ValueError: no face could show them.
    """
    edited = {edit.attribute for edit in edits}
    eligible = np.all([_is(edit, before) != (edit.direction == "add") for edit in edits], axis=0)
    if not eligible.any():
        raise ValueError(f"no face could show {', '.join(f'{edit.direction} {edit.text}' for edit in edits)}")
    each = np.stack([_is(edit, after) == (edit.direction == "add") for edit in edits])
    kept = {name: (before.judged[name] == after.judged[name])[eligible] for name in ATTRIBUTES if name not in edited}
    difference = np.abs(after.images[eligible].astype(np.int16) - before.images[eligible].astype(np.int16))
    outside = difference[:, background(edited)]
    if not outside.size:
        return Outcome(eligible, each[:, eligible], kept, np.zeros(0), np.zeros(0))
    unchanged = (outside.max(-1) <= TOLERANCE).mean(1)
    return Outcome(eligible, each[:, eligible], kept, outside.mean((1, 2)), unchanged)


def _is(edit: Edit, faces: Faces) -> NDArray[np.bool_]:
    """Return which faces have the value that the edit is about."""
    return faces.judged[edit.attribute] == edit.index
