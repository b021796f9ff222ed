"""What an edit did to each face: whether it succeeded, and what it kept of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..demo.composition import NAMES, USUAL
from ..demo.measure import Edit, measure
from .places import places
from .studio import Faces

ATTRIBUTES, COMPOSITION, PIXELS = "attributes", "composition", "pixels"
# A number of the composition is kept if it moves by less than one face usually differs from another.
TOLERANCE = np.array([USUAL[name][1] for name in NAMES])
# A pixel is kept if no channel changes by more than this, of 255: about what one sees.
VISIBLE = 16


@dataclass(frozen=True)
class Verdict:
    """What an edit did to N faces.

    Args:
        eligible: (N,), which faces could show it: those that were not as they should be after it.
        done: (N,), on which it succeeded.
        kept: (N,) each, the shares of the other attributes, of the composition's numbers and of the pixels outside the
            edit's place that were kept; NaN for the pixels where the edit has no place of its own, and for the
            attributes where a face is not eligible.
        moved: (N,), by how many pixels the head moved.
    """

    eligible: NDArray[np.bool_]
    done: NDArray[np.bool_]
    kept: Mapping[str, NDArray[np.float64]]
    moved: NDArray[np.float64]

    @property
    def succeeded(self) -> NDArray[np.bool_]:
        return self.eligible & self.done

    def of(self, faces: slice) -> Verdict:
        """Return the verdict on a part of the faces."""
        kept = {name: shares[faces] for name, shares in self.kept.items()}
        return Verdict(self.eligible[faces], self.done[faces], kept, self.moved[faces])


def verdict(edits: Sequence[Edit], before: Faces, after: Faces) -> Verdict:
    """Compare the faces before and after the edits."""
    outcome = measure(edits, before.values, after.values)
    done, attributes = outcome.eligible.copy(), np.full(len(outcome.eligible), np.nan)
    done[outcome.eligible], attributes[outcome.eligible] = outcome.done, outcome.isolation
    change = np.abs(after.compositions - before.compositions)
    kept = {
        ATTRIBUTES: attributes,
        COMPOSITION: (change < TOLERANCE).mean(1),
        PIXELS: _pixels_kept([edit.attribute for edit in edits], before, after),
    }
    x, y = NAMES.index("x"), NAMES.index("y")
    return Verdict(outcome.eligible, done, kept, np.hypot(change[:, x], change[:, y]))


def _pixels_kept(attributes: Sequence[str], before: Faces, after: Faces) -> NDArray[np.float64]:
    inside = places(attributes, before.compositions)
    if inside is None:
        return np.full(len(before.images), np.nan)
    same = (np.abs(before.images.astype(int) - after.images) <= VISIBLE).all(-1)
    return (same & ~inside).sum((1, 2)) / (~inside).sum((1, 2))
