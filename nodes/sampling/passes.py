"""What is evaluated for the concepts: their lists of conds, and the prompts they are compared with."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .concept_conds import check_text_is_used
from .sides import PROMPT_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfy.samplers import CFGGuider

    from .host_types import Conds
    from .sides import ListKey, Prompt, Sides


@dataclass(frozen=True)
class Place:
    """One list of conds in a model call.

    Args:
        conds: the list; None is an empty place in the guider's own call.
        label: the number that other packs see for it.
        source: the list's key, or its prompt; None if no concept needs it.
        is_own: whether it is part of the guider's own call.
    """

    conds: Conds | None
    label: int
    source: ListKey | Prompt | None
    is_own: bool


class ConceptPasses:
    """The conds of a sampling's concepts, as the host has encoded them.

    Args:
        guider: the host's; holds a list of conds for each key.
        sides: of each concept.
    """

    def __init__(self, guider: CFGGuider, sides: Sequence[Sides]) -> None:
        self.guider = guider
        self.sides = sides
        self._again: dict[Prompt, Conds] = {}

    def call(self, conds: Sequence[Conds | None], concepts: Sequence[int]) -> list[Place]:
        """Return a model call that evaluates conds and whatever else the concepts need.

        Each list goes in front of the prompt it was built from, with that prompt's label. The host batches from the
        end, so prompts come before concepts, and 1s before 0s.
        """
        wanted = [side for c in concepts for side in self.sides[c].compared]
        keys: dict[Prompt, list[ListKey]] = {
            prompt: list(dict.fromkeys(key for side in wanted if side.prompt == prompt for key in side.keys))
            for prompt in PROMPT_INDEX
        }
        compared = {side.prompt for side in wanted if not side.keys}
        found = {prompt: self._found(prompt, conds) for prompt in PROMPT_INDEX}

        def absent(prompt: Prompt) -> Iterator[Place]:
            if found[prompt] is None:
                label = PROMPT_INDEX[prompt]
                yield from (Place(self.guider.conds[key], label, key, False) for key in keys[prompt])
                if prompt in compared:
                    yield Place(self._evaluated_again(prompt), label, prompt, False)

        def asked() -> Iterator[Place]:
            prompt_at = {place: prompt for prompt, place in found.items() if place is not None}
            for place, entries in enumerate(conds):
                prompt = prompt_at.get(place)
                if prompt is not None and entries is not None:
                    for key in keys[prompt]:
                        yield Place(self._changed_alike(self.guider.conds[key], prompt, entries), place, key, False)
                yield Place(entries, place, prompt, True)

        return [*absent("positive"), *asked(), *absent("negative")]

    def stand_for(self, prompt: Prompt, concepts: Sequence[int]) -> bool:
        """Say whether some concepts have lists built from a prompt."""
        return any(side.keys and side.prompt == prompt for c in concepts for side in self.sides[c].compared)

    def by_prompt(self, concepts: Sequence[int]) -> list[list[int]]:
        """Return the concepts that are compared beside each prompt, without prompts that have none."""
        groups = [[c for c in concepts if self.sides[c].text.prompt == prompt] for prompt in PROMPT_INDEX]
        return [group for group in groups if group]

    def _found(self, prompt: Prompt, conds: Sequence[Conds | None]) -> int | None:
        """Return the place of a prompt, or of another pack's copy of it, in a call; None if it is not there."""
        known = [entry.get("uuid") for entry in self.guider.conds.get(prompt) or []]
        for place, entries in enumerate(conds):
            if known and entries is not None and [entry.get("uuid") for entry in entries] == known:
                return place
        return None

    def _changed_alike(self, conds: Conds, prompt: Prompt, copy: Conds) -> Conds:
        """Return a list with the changes another pack made to its copy of the prompt.

        AnimateDiff-Evolved adds the images that some of its motion models start from.
        """
        own = self.guider.conds[prompt]
        if copy is own:
            return conds
        changed = []
        for entry, before, after in zip(conds, own, copy, strict=True):
            old, new = before["model_conds"], after["model_conds"]
            added = {key: value for key, value in new.items() if value is not old.get(key)}
            changed.append({**entry, "model_conds": {**entry["model_conds"], **added}})
        return changed

    def _evaluated_again(self, prompt: Prompt) -> Conds:
        """Return a copy of a prompt for a second evaluation in a step.

        EasyCache tells conds apart by uuid, and would take the second evaluation for the first of the next step.
        """
        if prompt not in self._again:
            self._again[prompt] = [{**entry, "uuid": uuid.uuid4()} for entry in self.guider.conds[prompt]]
        return self._again[prompt]

    def check(self, names: Sequence[str]) -> None:
        """Refuse concepts that have no effect.

        Raises:
            ValueError: names the concept.
        """
        for c, sides in enumerate(self.sides):
            for side in (sides.text, sides.instead_of):
                for key in side.keys:
                    check_text_is_used(self.guider.conds[key], self.guider.conds[side.prompt], names[c])
