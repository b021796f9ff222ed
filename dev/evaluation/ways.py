"""The ways to edit a generated picture: ours, and what people do instead; each turns words into a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..demo.measure import Edit
from .edits import REMOVED, UNSTYLED, Task, changed, prompt_of, rival
from .recipe import Recipe

# The weights that people write for more and for less of a word.
MORE, LESS = 1.5, 0.2
# The default values of diffusers' SemanticStableDiffusionPipeline, in the nodes' terms; its warm-up is 10 of 50 steps.
PUBLISHED = {
    "guidance_scale": 5.0,
    "strength": 1.0,
    "threshold": 0.9,
    "threshold_over": "channel",
    "start_percent": 0.2,
    "end_percent": 1.0,
    "weight": 1.0,
}
PUBLISHED_SETTINGS = {"mode": "reference", "momentum_scale": 0.1, "momentum_beta": 0.4}


@dataclass(frozen=True)
class Wish:
    """An edit of a picture in words: the prompt of the picture, the edits, and the prompt that says them."""

    prompt: str
    edits: tuple[Edit, ...]

    @property
    def changed(self) -> str:
        return changed(self.prompt, self.edits)

    @property
    def removed(self) -> str:
        return ", ".join(edit.text for edit in self.edits if edit.direction == "remove")


def wish_of(task: Task, look: str) -> Wish:
    return Wish(prompt_of(task, look), task.edits)


def plain(wish: Wish) -> Recipe:
    """Return the picture before the edit."""
    return Recipe(wish.prompt)


def ours(wish: Wish) -> Recipe:
    """Return concepts with the prompt connected, and default values."""
    return Recipe(wish.prompt, concepts=tuple(connected(edit, wish.prompt) for edit in wish.edits))


def connected(edit: Edit, prompt: str) -> dict[str, object]:
    """Return the concept of an edit that knows the prompt and, if the prompt names it, what the edit replaces."""
    instead_of = rival(prompt, edit.text) if edit.direction == "add" else ""
    return edit.concept(prompt=prompt, instead_of=instead_of)


def changed_prompt(wish: Wish) -> Recipe:
    return Recipe(wish.changed)


def later_change(wish: Wish) -> Recipe:
    """Return the changed prompt once the first steps have settled the picture."""
    return Recipe(wish.prompt, later=wish.changed)


def weights(wish: Wish) -> Recipe:
    """Return the words of what is added with more weight, and of what is removed with less."""
    # What is removed stays in the prompt, with nearly no weight.
    said = changed(wish.prompt, [edit for edit in wish.edits if edit.direction == "add"])
    factors = {edit.text: MORE if edit.direction == "add" else LESS for edit in wish.edits}
    return Recipe(", ".join(f"({word}:{factors[word]})" if word in factors else word for word in said.split(", ")))


def average(wish: Wish) -> Recipe:
    return Recipe(wish.changed, mixed_with=wish.prompt)


def negative(wish: Wish) -> Recipe:
    """Return the changed prompt with what is removed as the negative prompt."""
    return Recipe(wish.changed, wish.removed)


def perp_neg(wish: Wish) -> Recipe:
    return Recipe(wish.changed, wish.removed, is_perpendicular=True)


def sega(wish: Wish) -> Recipe:
    """Return what diffusers' pipeline does by default: bare words, and its settings."""
    concepts = tuple(edit.concept(**PUBLISHED) for edit in wish.edits)
    return Recipe(wish.prompt, concepts=concepts, settings=PUBLISHED_SETTINGS)


OURS = "ours"
WAYS: Mapping[str, Callable[[Wish], Recipe]] = {
    OURS: ours,
    "changed prompt": changed_prompt,
    "later change": later_change,
    "prompt weights": weights,
    "average": average,
    "negative prompt": negative,
    "PerpNeg": perp_neg,
    "SEGA of diffusers": sega,
}
# These need something for the negative prompt.
REMOVING = ("negative prompt", "PerpNeg")


def ways_of(group: str) -> list[str]:
    """Return the ways that make sense for a group of edits."""
    return [way for way in WAYS if group in (REMOVED, UNSTYLED) or way not in REMOVING]
