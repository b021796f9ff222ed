"""What a user would do instead, on the same noise: success and isolation of each way, at each of its strengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from ..demo.measure import Edit
from ..demo.run import EDITS
from . import statistics
from .outcome import Outcome, compare
from .recipe import REFERENCE, Recipe, edited, name_of, plain
from .studio import Studio

SHARES = (0.25, 0.5, 0.75)
WEIGHTS = {"add": (0.4, 0.7, 1.3, 1.6), "remove": (0.0, 0.3, 0.6)}
NEGATIVE_WEIGHTS = (0.5, 1.0, 1.5)
PERPNEG_SCALES = (0.5, 1.0, 2.0, 4.0)
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
REFERENCE_SCALES = (4.0, 8.0)
# What diffusers' pipeline knows of a concept's settings, as the paper recommends them.
REFERENCE_VALUES = {"strength": 1.0, "threshold": 0.9, "threshold_over": "channel"}

Way = tuple[str, float, Recipe]


def ways(edit: Edit) -> Iterator[Way]:
    """Yield every other way to make an edit: its name, its strength and how to draw it."""
    removing, text = edit.direction == "remove", edit.text
    # An added word goes to the end, so that averaging meets the same words in the same places.
    without, with_it = "a face, {look}", "a face, WORD, {look}" if removing else "a face, {look}, WORD"
    start, goal = (with_it, without) if removing else (without, with_it)
    start, goal = start.replace("WORD", text), goal.replace("WORD", text)
    yield "changed prompt", 1.0, Recipe(goal)
    for weight in WEIGHTS[edit.direction]:
        yield "weighted word", weight, Recipe(with_it.replace("WORD", f"({text}:{weight})"))
    for share in SHARES:
        yield "averaged prompts", share, Recipe(start, average=(goal, share))
    if removing:
        for weight in NEGATIVE_WEIGHTS:
            yield "negative prompt", weight, Recipe(start, negative=f"({text}:{weight})")
        yield "prompt and negative", 1.0, Recipe(goal, negative=text)
        for scale in PERPNEG_SCALES:
            yield "PerpNeg", scale, Recipe(start, negative=text, way="perpneg", perpneg_scale=scale)
    elif text == "smiling":
        yield "negative prompt", 1.0, Recipe(start, negative="neutral, frowning")
    for scale in REFERENCE_SCALES:
        yield "diffusers' SEGA", scale, reference_recipe(edit, scale)


def reference_recipe(edit: Edit, scale: float) -> Recipe:
    """Return the edit by diffusers' pipeline; ours in its `reference` mode draws the same with way "nodes"."""
    start = 0.0 if edit.direction == "remove" else 0.15
    values = {**REFERENCE_VALUES, "guidance_scale": scale, "start_percent": start}
    return edited(edit, values=values, is_connected=False, settings=REFERENCE, way="diffusers")


def alternatives(studio: Studio) -> dict[str, Any]:
    """Return the figures of every way, and ours at each one's success."""
    rows = [row for edit in EDITS for row in _of_edit(studio, edit)]
    return {"ways": rows, "reference": _agreement(studio)}


def _of_edit(studio: Studio, edit: Edit) -> Iterator[dict[str, Any]]:
    before = studio.draw(plain(edit))
    ours = [compare([edit], before, studio.draw(edited(edit, values={"strength": each}))) for each in STRENGTHS]
    for strength, outcome in zip(STRENGTHS, ours, strict=True):
        yield _row(edit, "ours", strength, outcome)
    default = compare([edit], before, studio.draw(edited(edit)))
    yield _row(edit, "ours", studio.default_strength, default) | {"default": True}
    for way, strength, recipe in ways(edit):
        outcome = compare([edit], before, studio.draw(recipe))
        yield _row(edit, way, strength, outcome) | {"gain": asdict(gain(ours, outcome))}


def _row(edit: Edit, way: str, strength: float, outcome: Outcome) -> dict[str, Any]:
    return {"edit": name_of(edit), "way": way, "strength": strength, **outcome.figures()}


def gain(ours: list[Outcome], other: Outcome) -> statistics.Estimate:
    """Return our isolation less that of another way at the same success, paired by face.

    Ours is interpolated between its strengths, of which 0 changes nothing; where it does not reach the other's success,
    that of its most successful strength counts.
    """
    done = np.stack([np.zeros(len(other.done)), *(outcome.done for outcome in ours)])
    isolation = np.stack([np.ones(len(other.done)), *(outcome.isolation for outcome in ours)])

    def difference(faces: Any) -> float:
        success, kept = done[:, faces].mean(1), isolation[:, faces].mean(1)
        at = min(other.done[faces].mean(), success.max())
        return statistics.at_equal(at, success, kept) - other.isolation[faces].mean()

    samples = [difference(faces) for faces in statistics.resampled(len(other.done))]
    return statistics.with_samples(difference(slice(None)), samples)


def _agreement(studio: Studio) -> dict[str, Any]:
    """Return how far ours in `reference` mode is from diffusers' pipeline, per edit, as relative L2 of the latents."""
    errors = {}
    for edit in EDITS:
        recipe = reference_recipe(edit, 8.0).changed(looks=(0, 1))
        theirs, ours = (studio.latents(each)[0] for each in (recipe, recipe.changed(way="nodes")))
        distance = (theirs - ours).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
        errors[name_of(edit)] = {"median": distance.median().item(), "worst": distance.max().item()}
    return errors
