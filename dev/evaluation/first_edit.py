"""The first edit: default values alone, at any number of steps and cfg, on two models, and what the strength does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..demo.measure import EDITS, Edit
from . import statistics
from .recipe import Recipe, edited, plain, with_changed_prompt
from .studio import Studio, compare

# Steps and cfg.
CONDITIONS = ((4, 3.5), (8, 3.5), (20, 3.5), (50, 3.5), (8, 8.0), (20, 8.0), (50, 8.0), (20, 1.0))
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STRONG = 4.0
# What the judge looks at and what it takes the place of.
REPLACEMENTS = (
    (Edit("ginger hair", "add", "hair", "ginger"), "black hair"),
    (Edit("purple background", "add", "background", "purple"), "blue background"),
    (Edit("frowning", "add", "mouth", "frowning"), "smiling"),
)
# A pixel is nearly black or white when all its channels are this near to the end of their range.
NEARLY = 8


def first_edit(studio: Studio) -> dict[str, Any]:
    """Return the figures of edits of generated pictures."""
    return {
        "together": [row for edit in EDITS for row in _together(studio, edit)],
        "replacements": [_replacement(studio, edit, instead_of) for edit, instead_of in REPLACEMENTS],
        "strength": [_strength(studio, edit) for edit in EDITS],
        "strong": _strong(studio),
        "conditions": [
            row for edit in EDITS for steps, cfg in CONDITIONS for row in _condition(studio, edit, steps, cfg)
        ],
    }


def _condition(studio: Studio, edit: Edit, steps: int, cfg: float) -> Iterator[dict[str, Any]]:
    """Yield the edit with and without the prompt connected, and what changing the prompt does instead."""
    drawn: dict[str, Any] = {"steps": steps, "cfg": cfg}
    before = studio.draw(plain(edit, **drawn))
    recipes = {
        "prompt connected": edited(edit, **drawn),
        "text alone": edited(edit, is_connected=False, **drawn),
        "changed prompt": with_changed_prompt(edit, **drawn),
    }
    for way, recipe in recipes.items():
        figures = statistics.figures(compare(edit, before, studio.draw(recipe)))
        yield {"edit": edit.name, **drawn, "way": way, **figures}


def _together(studio: Studio, edit: Edit) -> Iterator[dict[str, Any]]:
    """Yield the edit on the second model, with open prompts, against the changed prompt on the same faces."""
    recipes = (plain(edit), edited(edit), with_changed_prompt(edit))
    drawn = [studio.draw(replace(recipe.with_open_prompt(), model="together")) for recipe in recipes]
    ours, changed = (compare(edit, drawn[0], after) for after in drawn[1:])
    gain = statistics.mean(ours.isolation - changed.isolation)
    for way, outcome in (("ours", ours), ("changed prompt", changed)):
        yield {"edit": edit.name, "way": way, **statistics.figures(outcome), "gain": gain}


def _replacement(studio: Studio, edit: Edit, instead_of: str) -> dict[str, Any]:
    """Return an edit that puts one thing in the place of another that the prompt names."""
    prompt = f"a face, {instead_of}"
    before = studio.draw(Recipe(prompt))
    after = studio.draw(Recipe(prompt, edit.concept(instead_of=instead_of)))
    changed = studio.draw(Recipe(f"a face, {edit.text}"))
    return {
        "edit": f"{edit.text} instead of {instead_of}",
        **statistics.figures(compare(edit, before, after)),
        "changed prompt": statistics.figures(compare(edit, before, changed)),
    }


def _strength(studio: Studio, edit: Edit) -> dict[str, Any]:
    """Return how the attribute's probability follows the strength."""
    before = studio.draw(plain(edit))
    drawn = [before, *(studio.draw(edited(edit, strength)) for strength in STRENGTHS[1:])]
    outcomes = [compare(edit, before, after) for after in drawn]
    rows = outcomes[0].eligible
    chances = np.stack([faces.chances[edit.attribute][rows, edit.index] for faces in drawn])
    towards = chances if edit.direction == "add" else 1 - chances
    correlations = [statistics.rank_correlation(STRENGTHS, face) for face in towards.T]
    return {
        "edit": edit.name,
        "strengths": STRENGTHS,
        "chance": [statistics.mean(row) for row in chances],
        "success": [statistics.share(outcome.done) for outcome in outcomes],
        "rank correlation": statistics.mean(correlations),
        "of the means": statistics.rank_correlation(STRENGTHS, towards.mean(1)),
    }


def _strong(studio: Studio) -> dict[str, Any]:
    """Return what a strength far above the default does to the edits and to the look of the pictures."""
    ways = {"strong": partial(edited, strength=STRONG), "changed prompt": with_changed_prompt}
    return {way: _edits_and_looks(studio, recipe_of) for way, recipe_of in ways.items()}


def _edits_and_looks(studio: Studio, recipe_of: Callable[[Edit], Recipe]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    looks: dict[str, list[Any]] = {name: [] for name in MEASURES}
    for edit in EDITS:
        before, after = studio.draw(plain(edit)), studio.draw(recipe_of(edit))
        outcome = compare(edit, before, after)
        rows.append({"edit": edit.name, **statistics.figures(outcome)})
        pair = [faces.images[outcome.eligible].astype(np.float64) for faces in (after, before)]
        for name, measure in MEASURES.items():
            looks[name].append([measure(images) for images in pair])
    return {"edits": rows, **{name: _ratio(np.concatenate(pairs, axis=1)) for name, pairs in looks.items()}}


def _nearly_black_or_white(images: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((images <= NEARLY).all(-1) | (images >= 255 - NEARLY).all(-1)).mean((1, 2))


def _saturation(images: NDArray[np.float64]) -> NDArray[np.float64]:
    high, low = images.max(-1), images.min(-1)
    return ((high - low) / np.maximum(high, 1)).mean((1, 2))


def _contrast(images: NDArray[np.float64]) -> NDArray[np.float64]:
    return (images @ (0.2126, 0.7152, 0.0722)).std((1, 2))


MEASURES = {"nearly black or white": _nearly_black_or_white, "saturation": _saturation, "contrast": _contrast}


def _ratio(pair: NDArray[np.float64]) -> dict[str, float]:
    """Return the edited pictures' mean against the plain ones', with its interval over the faces."""
    samples = pair[:, statistics.resampled(pair.shape[1])].mean(-1)
    edited_mean, plain_mean = pair.mean(1)
    return statistics.with_samples(edited_mean / plain_mean, samples[0] / samples[1])
