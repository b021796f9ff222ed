"""What is drawn: everything that decides about the pictures, as plain values, so that each is drawn once.

A recipe that says nothing else is drawn with the nodes' default values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..demo.measure import Edit
from ..demo.run import EDITS
from ..demo.workflows import CFG, STEPS

# Settings are searched on other faces than those that are reported; the demo has others again.
SEED, OTHER_SEED, THIRD_SEED, SEARCH_SEED = 1000, 2000, 3000, 5000

# What the paper's implementation computes.
REFERENCE: dict[str, Any] = {"mode": "reference", "momentum_scale": 0.1, "momentum_beta": 0.4}

Way = Literal["nodes", "perpneg", "diffusers"]
Model = Literal["shipped", "together"]


@dataclass(frozen=True)
class Recipe:
    """How to draw faces.

    Args:
        prompt: with the places {look}, {hair}, {skin} and {background} for the four looks of the demo, and {other} for
            the next look.
        negative: the negative prompt.
        concepts: each a SEGAConcept node's values, where they are not the defaults; texts may have the same places.
        is_connected: whether the concepts know the prompt.
        settings: a SEGASampler node's settings, where they are not the defaults.
        steps: of the sampling.
        cfg: of the sampling.
        sampler: of the sampling.
        model: "shipped", or the one that was trained on with attributes that come together.
        average: another prompt and its share in the conditioning, by the host's ConditioningAverage.
        way: "nodes" is SEGASampler, without concepts the host's sampling; "perpneg" the host's PerpNegGuider;
            "diffusers" the reference's pipeline.
        perpneg_scale: PerpNegGuider's neg_scale.
        guidance_of: a recipe whose guidance is added to this one's.
        seed: of the first look; the others count on.
        looks: which of the four looks.
    """

    prompt: str
    negative: str = ""
    concepts: tuple[Mapping[str, Any], ...] = ()
    is_connected: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    cfg: float = CFG
    sampler: str = "euler"
    model: Model = "shipped"
    average: tuple[str, float] | None = None
    way: Way = "nodes"
    perpneg_scale: float = 1.0
    guidance_of: Recipe | None = None
    seed: int = SEED
    looks: tuple[int, ...] = (0, 1, 2, 3)

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def changed(self, **changes: Any) -> Recipe:
        return replace(self, **changes)


def prompt_for(*edits: Edit, form: str = "a face, {look}") -> str:
    """Return the prompt of the plain picture: what is to be removed is named, as in the demo."""
    removed = [edit.text for edit in edits if edit.direction == "remove"]
    return form.replace("a face", ", ".join(["a face", *removed]))


def plain(*edits: Edit, seed: int = SEED, **changes: Any) -> Recipe:
    """Return the picture before the edits."""
    return Recipe(prompt_for(*edits), seed=seed).changed(**changes)


def edited(*edits: Edit, seed: int = SEED, values: Mapping[str, Any] | None = None, **changes: Any) -> Recipe:
    """Return the picture with the edits, with these values for all concepts and the defaults for the rest."""
    concepts = tuple({"text": edit.text, "direction": edit.direction, **(values or {})} for edit in edits)
    return Recipe(prompt_for(*edits), concepts=concepts, seed=seed).changed(**changes)


def with_changed_prompt(edit: Edit, **changes: Any) -> Recipe:
    """Return what a user would do instead: the prompt that says it."""
    # An added word goes to the end, as a concept's does.
    return Recipe("a face, {look}" if edit.direction == "remove" else f"a face, {{look}}, {edit.text}").changed(
        **changes
    )


def opened(recipe: Recipe) -> Recipe:
    """Return a recipe whose prompt leaves the look open."""
    return recipe.changed(prompt=recipe.prompt.replace(", {look}", ""))


def edit_named(direction: str, text: str) -> Edit:
    return next(edit for edit in EDITS if (edit.direction, edit.text) == (direction, text))


def name_of(*edits: Edit) -> str:
    """Return how the report calls edits: "+ hat", "- glasses"."""
    return " ".join(("+ " if edit.direction == "add" else "- ") + edit.text for edit in edits)


ADDS = tuple(edit for edit in EDITS if edit.direction == "add")
REMOVES = tuple(edit for edit in EDITS if edit.direction == "remove")
