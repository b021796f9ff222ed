"""What is drawn: everything that decides about the pictures, as plain values, so that each is drawn once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from demo.measure import Edit
from demo.run import EDITS

# Settings are searched on other faces than those that are reported; the demo has others again.
SEED, OTHER_SEED, THIRD_SEED, SEARCH_SEED = 1000, 2000, 3000, 5000

# What the searches found, on faces of other noise.
RECOMMENDED: dict[tuple[str, str], dict[str, Any]] = {
    ("add", "glasses"): {"guidance_scale": 16.0, "threshold": 0.95, "warmup_steps": 4},
    ("add", "hat"): {"guidance_scale": 8.0, "threshold": 0.9, "warmup_steps": 3},
    ("add", "beard"): {"guidance_scale": 8.0, "threshold": 0.9, "warmup_steps": 5},
    ("add", "smiling"): {"guidance_scale": 8.0, "threshold": 0.9, "warmup_steps": 3},
    ("remove", "glasses"): {
        "guidance_scale": 8.0,
        "threshold": 0.0,
        "attention_threshold": 0.7,
        "warmup_steps": 0,
        "cooldown_steps": 8,
    },
    ("remove", "hat"): {
        "guidance_scale": 8.0,
        "threshold": 0.7,
        "threshold_over": "space",
        "warmup_steps": 0,
        "cooldown_steps": 8,
    },
    ("remove", "beard"): {"guidance_scale": 16.0, "threshold": 0.95, "warmup_steps": 0},
    ("remove", "smiling"): {"guidance_scale": 10.0, "threshold": 0.85, "warmup_steps": 1, "cooldown_steps": 10},
}

# As the shipped workflows have them.
SETTINGS: dict[str, Any] = {"momentum_scale": 0.1, "momentum_beta": 0.4, "mode": "independent", "baseline": "auto"}

Way = Literal["nodes", "perpneg", "diffusers"]


@dataclass(frozen=True)
class Recipe:
    """How to draw faces.

    Args:
        prompt: with the places {look}, {hair}, {skin} and {background} for the four looks of the demo, and {other} for
            the next look.
        negative: the negative prompt.
        concepts: each a SEGAConcept node's values; the text may have the same places.
        settings: a SEGASampler node's settings, where they are not SETTINGS.
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
    settings: Mapping[str, Any] = field(default_factory=dict)
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


def plain(*edits: Edit, seed: int = SEED) -> Recipe:
    """Return the picture before the edits."""
    return Recipe(prompt_for(*edits), seed=seed)


def edited(*edits: Edit, seed: int = SEED, settings: Mapping[str, Any] | None = None, **values: Any) -> Recipe:
    """Return the picture with the edits at the recommended settings, with other values for all concepts where given."""
    concepts = tuple(
        {"text": edit.text, "direction": edit.direction, **RECOMMENDED[edit.direction, edit.text], **values}
        for edit in edits
    )
    return Recipe(prompt_for(*edits), concepts=concepts, settings=settings or {}, seed=seed)


def edit_named(direction: str, text: str) -> Edit:
    return next(edit for edit in EDITS if (edit.direction, edit.text) == (direction, text))


def name_of(*edits: Edit) -> str:
    """Return how the report calls edits: "+ hat", "- glasses"."""
    return " ".join(("+ " if edit.direction == "add" else "- ") + edit.text for edit in edits)


ADDS = tuple(edit for edit in EDITS if edit.direction == "add")
REMOVES = tuple(edit for edit in EDITS if edit.direction == "remove")
