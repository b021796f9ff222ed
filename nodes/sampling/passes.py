"""What is evaluated for the concepts: the conds that the guider has for each, and those they are compared with."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal

from .concept_conds import check_text_is_used

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfy.samplers import CFGGuider

    from .host_types import Conds

Prompt = Literal["negative", "positive"]

# Where the two prompts stand in the host's `cond_or_uncond`.
PROMPT_INDEX: dict[Prompt, int] = {"positive": 0, "negative": 1}

# What the guider's conds know one of a concept's lists by: the sampling's own key, the concept, the text.
ConceptKey = tuple[str, int, int]


class ConceptPasses:
    """The conds of a sampling's concepts, as the host has encoded them.

    Args:
        guider: the host's; has a list of conds for each key.
        keys: of the concepts' lists.
        baseline: the prompt that the concepts are compared with.
    """

    def __init__(self, guider: CFGGuider, keys: Sequence[ConceptKey], baseline: Prompt) -> None:
        self.guider = guider
        self.keys = keys
        self.baseline = baseline
        self._baseline_again: Conds | None = None

    def of(self, concepts: Sequence[int]) -> list[tuple[int, Conds]]:
        """Return the lists to evaluate for some concepts, each with its concept's index."""
        return [(key[1], self.guider.conds[key]) for key in self.keys if key[1] in concepts]

    @property
    def compared(self) -> Conds:
        """The list of the prompt that the concepts are compared with."""
        return self.guider.conds[self.baseline]

    @property
    def label(self) -> int:
        """The host's number of that prompt, for calls that do not hold it."""
        return PROMPT_INDEX[self.baseline]

    def found_in(self, conds: Sequence[Conds | None]) -> tuple[int, Conds] | None:
        """Return that prompt, or another pack's copy of it, with its place in a call; None where it is not there."""
        known = [entry.get("uuid") for entry in self.compared]
        for place, entries in enumerate(conds):
            if entries is not None and [entry.get("uuid") for entry in entries] == known:
                return place, entries
        return None

    def changed_alike(self, conds: Conds, compared: Conds) -> Conds:
        """Return a concept's list with what another pack has changed in its copy of the compared prompt.

        AnimateDiff-Evolved gives the copy the images that some of its motion models start from.
        """
        if compared is self.compared:
            return conds
        changed = []
        for entry, before, after in zip(conds, self.compared, compared, strict=True):
            old, new = before["model_conds"], after["model_conds"]
            added = {key: value for key, value in new.items() if value is not old.get(key)}
            changed.append({**entry, "model_conds": {**entry["model_conds"], **added}})
        return changed

    def compared_again(self) -> Conds:
        """Return that prompt for a second evaluation in a step.

        EasyCache knows a cond by its uuid, and takes a second evaluation in a step for the first of the next.
        """
        if self._baseline_again is None:
            self._baseline_again = [{**entry, "uuid": uuid.uuid4()} for entry in self.compared]
        return self._baseline_again

    def check(self, names: Sequence[str]) -> None:
        """Refuse concepts that cannot act.

        Raises:
            ValueError: names the concept.
        """
        for key in self.keys:
            check_text_is_used(self.guider.conds[key], self.compared, names[key[1]])
