"""What an edit did, as figures: how often it succeeds and how often the other attributes stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..report import table
from .faces import ATTRIBUTES


@dataclass(frozen=True)
class Edit:
    """An edit of one attribute and the value that it should leave.

    Args:
        text: the concept's text.
        direction: "add" or "remove".
        attribute: the attribute it is about.
        value: the concept's value of the attribute: adding should lead to it, removing away from it.
    """

    text: str
    direction: str
    attribute: str
    value: str

    @property
    def name(self) -> str:
        """What reports call it: "+ hat", "- glasses"."""
        return ("+ " if self.direction == "add" else "- ") + self.text

    def is_done(self, judged: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Return on which faces, (N,), the judged attributes are as the edit should leave them."""
        has = np.asarray(judged[self.attribute]) == ATTRIBUTES[self.attribute].index(self.value)
        return has if self.direction == "add" else ~has

    def concept(self, **values: Any) -> dict[str, Any]:
        """Return a concept node's values; what they do not name has its default."""
        return {"text": self.text, "direction": self.direction, **values}


ADDS = (
    Edit("glasses", "add", "glasses", "yes"),
    Edit("hat", "add", "hat", "yes"),
    Edit("beard", "add", "beard", "yes"),
    Edit("smiling", "add", "mouth", "smiling"),
)
REMOVES = tuple(replace(edit, direction="remove") for edit in ADDS)


@dataclass(frozen=True)
class Outcome:
    """What an edit did to the faces that lacked what was to be added, or had what was to be removed.

    Args:
        eligible: (N,), these faces among all.
        done: (F,), whether the edit succeeded; this and the rest is of the F eligible faces.
        stayed: per other attribute, (F,), whether it did.
    """

    eligible: NDArray[np.bool_]
    done: NDArray[np.bool_]
    stayed: Mapping[str, NDArray[np.bool_]]

    @property
    def faces(self) -> int:
        return len(self.done)

    @property
    def success(self) -> float:
        return float(self.done.mean())

    @property
    def kept(self) -> dict[str, float]:
        """Per other attribute, the share of the faces on which it stayed."""
        return {name: float(stayed.mean()) for name, stayed in self.stayed.items()}

    @property
    def isolation(self) -> NDArray[np.float64]:
        """Per face the share of the other attributes that stayed, (F,)."""
        return np.mean(list(self.stayed.values()), axis=0)

    @property
    def kept_on_average(self) -> float:
        return float(self.isolation.mean())


def measure(edits: Sequence[Edit], before: Mapping[str, ArrayLike], after: Mapping[str, ArrayLike]) -> Outcome:
    """Compare the judged attributes, each (N,) of value indices, before and after edits made together.

    They succeed on a face where all of them do.

    Raises:
        ValueError: no face could show the edits.
    """
    was, done = (np.all([edit.is_done(judged) for edit in edits], axis=0) for judged in (before, after))
    eligible = ~was
    if not eligible.any():
        states = (("lacks" if edit.direction == "add" else "has", edit) for edit in edits)
        lacking = " or ".join(f"{state} {edit.value!r} ({edit.attribute})" for state, edit in states)
        raise ValueError(f"no face {lacking} before the edit")
    others = [name for name in ATTRIBUTES if name not in {edit.attribute for edit in edits}]
    stayed = {name: (np.asarray(before[name]) == np.asarray(after[name]))[eligible] for name in others}
    return Outcome(eligible, done[eligible], stayed)


def figures_table(rows: Sequence[tuple[Edit, Outcome]]) -> str:
    """Return the figures as a Markdown table."""
    cells = []
    for edit, outcome in rows:
        kept = [f"{outcome.kept[name]:.0%}" if name in outcome.kept else "" for name in ATTRIBUTES]
        means = (f"{outcome.success:.1%}", f"{outcome.kept_on_average:.1%}")
        cells.append((f"{edit.direction} {edit.text}", outcome.faces, *means, *kept))
    return table(("edit", "faces", "success", "others kept", *(f"{name} kept" for name in ATTRIBUTES)), cells)
