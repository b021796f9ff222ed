"""What the nodes hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..sega_core import Concept

MAX_CONCEPTS = 100

SegaConcept = io.Custom("SEGA_CONCEPT")
SegaConceptStack = io.Custom("SEGA_CONCEPT_STACK")


@dataclass(frozen=True)
class EncodedConcept:
    """A concept and its text, encoded as the host's CONDITIONING."""

    concept: Concept
    conditioning: list[Any]
    text: str


def as_stack(concepts: EncodedConcept | tuple[EncodedConcept, ...] | None, node_id: str) -> tuple[EncodedConcept, ...]:
    """Return the concepts of a SEGA_CONCEPT, a SEGA_CONCEPT_STACK or an unconnected input, in order.

    Raises:
        ValueError: there are more than 100.
    """
    if concepts is None:
        return ()
    stack = concepts if isinstance(concepts, tuple) else (concepts,)
    if len(stack) > MAX_CONCEPTS:
        raise ValueError(f"{node_id}: concepts must be at most {MAX_CONCEPTS}, got {len(stack)}")
    return stack
