"""The paper's properties (arXiv 2301.12247, section 4) besides strength: isolation, robustness, uniqueness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..demo.measure import Edit
from ..demo.run import EDITS
from . import statistics
from .outcome import compare
from .recipe import ADDS, OTHER_SEED, SEED, THIRD_SEED, Recipe, edit_named, edited, name_of, plain, prompt_for
from .studio import Studio

MIXED = (
    (edit_named("add", "hat"), edit_named("remove", "glasses")),
    (edit_named("add", "glasses"), edit_named("remove", "hat")),
    (edit_named("add", "smiling"), edit_named("remove", "beard")),
    (edit_named("remove", "glasses"), edit_named("remove", "beard")),
)
FORMS = ("a face, {look}", "{look}, a face", "a face, {hair}", "a face", "a face, neutral, {look}")


def properties(studio: Studio) -> dict[str, Any]:
    """Return the figures of all properties."""
    groups = [group for size in (2, 3, 4) for group in combinations(ADDS, size)]
    groups += MIXED
    return {
        "edits": [_group(studio, group) for group in groups],
        "prompts": [_form(studio, form, edit) for form in FORMS for edit in EDITS if _fits(form, edit)],
        "seeds": [_seeds(studio, edit) for edit in EDITS],
        "uniqueness": [_uniqueness(studio, edit) for edit in ADDS],
    }


def _group(studio: Studio, edits: Sequence[Edit]) -> dict[str, Any]:
    recipe = edited(*edits)
    after = studio.draw(recipe)
    outcome = compare(edits, studio.draw(plain(*edits)), after)
    return {"edit": name_of(*edits), "count": len(edits), **outcome.figures(), "passes": after.passes}


def _fits(form: str, edit: Edit) -> bool:
    """Leave out edits of a mouth that the prompt names."""
    return edit.attribute != "mouth" or "neutral" not in form


def _form(studio: Studio, form: str, edit: Edit) -> dict[str, Any]:
    prompt = prompt_for(edit, form=form)
    looks = (0, 1)
    before, after = (studio.draw(recipe.changed(prompt=prompt, looks=looks)) for recipe in (plain(edit), edited(edit)))
    return {"form": form, "edit": name_of(edit), **compare([edit], before, after).figures()}


def _seeds(studio: Studio, edit: Edit) -> dict[str, Any]:
    outcomes = [
        compare([edit], studio.draw(plain(edit, seed=seed)), studio.draw(edited(edit, seed=seed)))
        for seed in (SEED, OTHER_SEED, THIRD_SEED)
    ]
    return {"edit": name_of(edit), "seeds": [outcome.figures() for outcome in outcomes]}


def _uniqueness(studio: Studio, edit: Edit) -> dict[str, Any]:
    """Use the guidance of one run in others: with another prompt and the same noise, and with other noise."""
    source = edited(edit)
    elsewhere = source.changed(prompt="a face, {other}")
    other_noise = source.changed(seed=OTHER_SEED)

    def borrowed(to: Recipe, guidance_of: Recipe) -> dict[str, Any]:
        before = studio.draw(to)
        return compare([edit], before, studio.draw(to.changed(guidance_of=guidance_of))).figures()

    prompt = Recipe("a face, {other}")
    return {
        "edit": name_of(edit),
        "own": compare([edit], studio.draw(plain(edit)), studio.draw(source)).figures(),
        "other prompt": borrowed(prompt, source),
        "other noise": borrowed(plain(edit), other_noise),
        "cosine to other prompt": asdict(statistics.mean(_cosines(studio, source, elsewhere))),
        "cosine to other noise": asdict(statistics.mean(_cosines(studio, source, other_noise))),
    }


def _cosines(studio: Studio, one: Recipe, two: Recipe) -> NDArray[np.float64]:
    """Return for each face the cosine between the guidance of two runs, over all steps."""
    cosines = []
    for look in one.looks:
        first, second = (studio.guidance(recipe, look).guidance[0].movedim(1, 0).flatten(1) for recipe in (one, two))
        cosines.append(torch.cosine_similarity(first, second))
    return torch.cat(cosines).double().numpy()
