"""What is drawn: everything that determines a picture, as plain values, so that each is drawn once.

A recipe that says nothing else is drawn with the nodes' default values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..demo.measure import Edit
from ..demo.workflows import CFG, STEPS


@dataclass(frozen=True)
class Recipe:
    """How to draw faces.

    Args:
        prompt: with the place {look} for the four looks of the demo.
        concept: a SEGAConcept node's values, where they are not the defaults.
        is_connected: whether the concept knows the prompt.
        steps: of the sampling.
        cfg: of the sampling.
        model: "shipped", or the one that was trained on with attributes that come together.
    """

    prompt: str
    concept: Mapping[str, Any] | None = None
    is_connected: bool = True
    steps: int = STEPS
    cfg: float = CFG
    model: Literal["shipped", "together"] = "shipped"

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def with_open_prompt(self) -> Recipe:
        """Return the recipe with a prompt that leaves the look open."""
        return replace(self, prompt=self.prompt.replace(", {look}", ""))


def plain(edit: Edit, **changes: Any) -> Recipe:
    """Return the picture before an edit: the prompt names what is to be removed, as in the demo."""
    return Recipe("a face, {look}" if edit.direction == "add" else f"a face, {edit.text}, {{look}}", **changes)


def edited(edit: Edit, strength: float | None = None, **changes: Any) -> Recipe:
    """Return the picture with the edit, at the default strength or another."""
    concept = edit.concept() if strength is None else edit.concept(strength=strength)
    return replace(plain(edit), concept=concept, **changes)


def with_changed_prompt(edit: Edit, **changes: Any) -> Recipe:
    """Return what a user would do instead: the prompt that says it."""
    # An added word goes to the end, as a concept's does.
    return Recipe("a face, {look}" if edit.direction == "remove" else f"a face, {{look}}, {edit.text}", **changes)
