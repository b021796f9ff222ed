"""What an edit did, as figures: how often it succeeds and how often the other attributes stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

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
    def index(self) -> int:
        return ATTRIBUTES[self.attribute].index(self.value)

    def could_and_did(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return which faces could show the edit and which of all faces it leaves as asked, both (B,).

        The judged attributes, each (B,) of value indices, are arrays or tensors.

        Raises:
            ValueError: no face could show it.
        """
        had, has = (judged[self.attribute] == self.index for judged in (before, after))
        could, did = (~had, has) if self.direction == "add" else (had, ~has)
        if not could.any():
            state = "lacks" if self.direction == "add" else "has"
            raise ValueError(f"no face {state} {self.value!r} ({self.attribute}) before the edit")
        return could, did


ADDS = (
    Edit("glasses", "add", "glasses", "yes"),
    Edit("hat", "add", "hat", "yes"),
    Edit("beard", "add", "beard", "yes"),
    Edit("smiling", "add", "mouth", "smiling"),
)
REMOVES = tuple(replace(edit, direction="remove") for edit in ADDS)
EDITS = ADDS + REMOVES


@dataclass(frozen=True)
class Figures:
    """The figures of one edit.

    Args:
        faces: faces that lacked (add) or had (remove) the concept before the edit.
        success: share of them that have (lack) it afterwards.
        kept: per other attribute, the share of these faces on which it stays.
    """

    faces: int
    success: float
    kept: dict[str, float]

    @property
    def kept_on_average(self) -> float:
        return sum(self.kept.values()) / len(self.kept)


def measure(edit: Edit, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Figures:
    """Compare the judged attributes, each (B,) of value indices, before and after an edit.

    Raises:
        ValueError: no face could show the edit.
    """
    could, did = edit.could_and_did(before, after)
    kept = {
        name: (before[name] == after[name])[could].float().mean().item()
        for name in ATTRIBUTES
        if name != edit.attribute
    }
    return Figures(int(could.sum()), did[could].float().mean().item(), kept)


def change_outside(
    before: Sequence[Image.Image], after: Sequence[Image.Image], box: tuple[int, int, int, int]
) -> float:
    """Return how much pictures changed outside a box (left, top, right, bottom), of 255, per pixel and channel."""
    left, top, right, bottom = box
    change = np.stack([np.abs(np.asarray(a, float) - np.asarray(b, float)) for a, b in zip(after, before, strict=True)])
    outside = np.ones(change.shape[1:3], bool)
    outside[top:bottom, left:right] = False
    return float(change[:, outside].mean())


def figures_table(rows: Sequence[tuple[Edit, Figures]]) -> str:
    """Return the figures as a Markdown table."""
    cells = []
    for edit, figures in rows:
        kept = [f"{figures.kept[name]:.0%}" if name in figures.kept else "" for name in ATTRIBUTES]
        means = (f"{figures.success:.1%}", f"{figures.kept_on_average:.1%}")
        cells.append((f"{edit.direction} {edit.text}", figures.faces, *means, *kept))
    return table(("edit", "faces", "success", "others kept", *(f"{name} kept" for name in ATTRIBUTES)), cells)
