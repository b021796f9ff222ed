"""A concept as the samplers are given it: its settings and its text, encoded by the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ...sega_core import Concept


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
