"""What an edit did to each face: done or not, the other attributes kept or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..demo.faces import ATTRIBUTES
from ..demo.measure import Edit
from . import statistics
from .studio import Faces


@dataclass(frozen=True)
class Outcome:
    """What an edit did to the faces that lacked what was to be added, or had what was to be removed.

    Args:
        eligible: (N,), these faces among all.
        done: (F,), whether the edit succeeded; this and the rest is of the F eligible faces.
        kept: per other attribute, (F,), whether it stayed.
    """

    eligible: NDArray[np.bool_]
    done: NDArray[np.bool_]
    kept: dict[str, NDArray[np.bool_]]

    @property
    def isolation(self) -> NDArray[np.float64]:
        """Per face the share of the other attributes that stayed, (F,)."""
        return np.mean(list(self.kept.values()), axis=0)

    def figures(self) -> dict[str, Any]:
        """Return the figures with their intervals, as plain values."""
        return {
            "faces": len(self.done),
            "success": asdict(statistics.share(self.done)),
            "isolation": asdict(statistics.mean(self.isolation)),
            "kept": {name: asdict(statistics.share(stayed)) for name, stayed in self.kept.items()},
        }


def compare(edit: Edit, before: Faces, after: Faces) -> Outcome:
    """Return what an edit did.

    Raises:
        ValueError: no face could show it.
    """
    could, did = edit.could_and_did(before.judged, after.judged)
    names = [name for name in ATTRIBUTES if name != edit.attribute]
    return Outcome(could, did[could], {name: (before.judged[name] == after.judged[name])[could] for name in names})
