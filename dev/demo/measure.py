"""What an edit did, as figures: how often it succeeds and how often the other attributes stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

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


def measure(edit: Edit, before: dict[str, Tensor], after: dict[str, Tensor]) -> Figures:
    """Compare the judged attributes, each (B,) of value indices, before and after an edit.

    Raises:
        ValueError: no face could show the edit.
    """
    had, has = before[edit.attribute] == edit.index, after[edit.attribute] == edit.index
    eligible, succeeded = (~had, has) if edit.direction == "add" else (had, ~has)
    if not eligible.any():
        state = "lacks" if edit.direction == "add" else "has"
        raise ValueError(f"no face {state} {edit.value!r} ({edit.attribute}) before the edit")
    kept = {
        name: (before[name] == after[name])[eligible].float().mean().item()
        for name in ATTRIBUTES
        if name != edit.attribute
    }
    return Figures(int(eligible.sum()), succeeded[eligible].float().mean().item(), kept)


def change_outside(
    before: Sequence[Image.Image], after: Sequence[Image.Image], box: tuple[int, int, int, int]
) -> float:
    """Return how much pictures changed outside a box (left, top, right, bottom), of 255, per pixel and channel."""
    left, top, right, bottom = box
    change = np.stack([np.abs(np.asarray(a, float) - np.asarray(b, float)) for a, b in zip(after, before, strict=True)])
    outside = np.ones(change.shape[1:3], bool)
    outside[top:bottom, left:right] = False
    return float(change[:, outside].mean())


def table(rows: list[tuple[Edit, Figures]]) -> str:
    """Return the figures as a Markdown table."""
    names = list(ATTRIBUTES)
    header = ["edit", "faces", "success", "others kept", *(f"{name} kept" for name in names)]
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    for edit, figures in rows:
        cells = [f"{edit.direction} {edit.text}", str(figures.faces), f"{figures.success:.1%}"]
        cells += [f"{figures.kept_on_average:.1%}"]
        cells += [f"{figures.kept[name]:.0%}" if name in figures.kept else "" for name in names]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines) + "\n"
