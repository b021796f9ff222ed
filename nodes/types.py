"""What the nodes hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..sega_core import Concept

MAX_CONCEPTS = 100

NOT_RECORDED = (
    "guidance must come from a SEGA Sampler that made a step with this output connected, got None; change its seed or "
    "another input to run it again"
)

SegaConcept = io.Custom("SEGA_CONCEPT")
SegaConceptStack = io.Custom("SEGA_CONCEPT_STACK")
SegaGuidance = io.Custom("SEGA_GUIDANCE")


@dataclass(frozen=True)
class EncodedConcept:
    """A concept and its text, encoded as the host's CONDITIONING.

    Args:
        concept: the settings.
        conditioning: the host's.
        text: what the concept is called.
        mask: the host's MASK, (N, H, W) or (H, W), in [0, 1]: where the concept may act; None is everywhere.
        words: the places of the text's words in the embedding; None where they are not known.
    """

    concept: Concept
    conditioning: list[Any]
    text: str
    mask: Tensor | None = None
    words: tuple[int, ...] | None = None


def concept_name(node_id: str, concepts: Sequence[EncodedConcept], index: int) -> str:
    """Return what a concept is called in errors."""
    return f"{node_id}: concepts: concept {index + 1} ({concepts[index].text!r})"


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
