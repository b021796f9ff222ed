"""The two sides of a concept, with it and without it: each is one of the guider's prompts, or extra lists of conds.

One side is nearly always a prompt that the guider evaluates anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import comfy.sampler_helpers

from .concept_conds import concept_conds, is_same_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .encoded_concept import EncodedConcept
    from .host_types import Conds


Prompt = Literal["negative", "positive"]

# The prompts' numbers in the host's `cond_or_uncond`.
PROMPT_INDEX: dict[Prompt, int] = {"positive": 0, "negative": 1}

# The key of a list in the guider's conds: the sampling's key and the list's number.
ListKey = tuple[str, int]


@dataclass(frozen=True)
class Side:
    """The source of one of a concept's two estimates.

    Args:
        prompt: the guider's prompt whose areas, masks and ControlNets it uses.
        keys: the lists of conds to evaluate, one for each text of a schedule or combination; empty is the prompt.
    """

    prompt: Prompt
    keys: tuple[ListKey, ...] = ()


@dataclass(frozen=True)
class Sides:
    """A concept's two sides.

    Args:
        text: with the concept.
        instead_of: without it.
    """

    text: Side
    instead_of: Side

    @property
    def compared(self) -> tuple[Side, ...]:
        """The sides to evaluate: both, or none if they are the same."""
        return () if self.text == self.instead_of else (self.text, self.instead_of)


class SideFinder:
    """Finds the sides of a sampling's concepts; equal texts share their lists.

    Args:
        key: of the sampling's entries in the host's dicts.
        prompts: the guider's conds, before sampling.
        model: the host's BaseModel.
    """

    def __init__(self, key: str, prompts: Mapping[str, Conds], model: Any) -> None:
        self.key = key
        self.prompts = prompts
        self.model = model
        # The lists to evaluate besides the prompts, and the prompt of each.
        self.lists: dict[ListKey, Conds] = {}
        self._prompt_of: dict[ListKey, Prompt] = {}

    def sides(self, encoded: EncodedConcept, baseline: Prompt, name: str) -> Sides:
        """Return a concept's sides.

        Args:
            encoded: the concept.
            baseline: the prompt that a bare text is compared with.
            name: of the concept in errors.

        Raises:
            ValueError: the concept is encoded for another model.
        """
        text = comfy.sampler_helpers.convert_cond(encoded.conditioning)
        if encoded.instead_of is None:
            return Sides(self._side(text, baseline, name), Side(baseline))
        instead_of = comfy.sampler_helpers.convert_cond(encoded.instead_of)
        known = [prompt for prompt in PROMPT_INDEX if self.prompts.get(prompt)]
        own = [prompt for prompt in known if any(self._is(texts, prompt) for texts in (text, instead_of))]
        prompt = (own or known)[0]
        return Sides(self._side(text, prompt, name), self._side(instead_of, prompt, name))

    def _side(self, texts: Conds, prompt: Prompt, name: str) -> Side:
        if self._is(texts, prompt):
            return Side(prompt)
        made = concept_conds(texts, self.prompts[prompt], prompt, self.model, name)
        return Side(prompt, tuple(self._key_of(conds, prompt) for conds in made))

    def _is(self, texts: Conds, prompt: Prompt) -> bool:
        """Say whether the texts are those of a prompt."""
        conds = self.prompts[prompt]
        return len(texts) == len(conds) and all(map(is_same_text, texts, conds))

    def _key_of(self, conds: Conds, prompt: Prompt) -> ListKey:
        for key, known in self.lists.items():
            if self._prompt_of[key] == prompt and all(map(is_same_text, conds, known)):
                return key
        key = (self.key, len(self.lists))
        self.lists[key], self._prompt_of[key] = conds, prompt
        return key
