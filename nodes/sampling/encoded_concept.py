"""A concept as the samplers take it: its settings and its texts, encoded by the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ...sega_core import ConceptSettings


@dataclass(frozen=True)
class EncodedConcept:
    """A concept and the two texts it compares, as the host's CONDITIONING.

    Args:
        settings: of the concept.
        conditioning: the text with the concept.
        instead_of: the text without it; None is the negative prompt.
        name: for errors and pictures.
        mask: the host's MASK, (N, H, W) or (H, W), in [0, 1]: where the concept may act; None is everywhere.
        token_positions: the positions of the concept's words in `conditioning`; None if not known.
        curve: the host's CURVE: a factor on the strength from the concept's start to its end; None is 1.
        strengths: a factor on the strength for each image of a batch, in turn; empty is 1.
    """

    settings: ConceptSettings
    conditioning: list[Any]
    instead_of: list[Any] | None
    name: str
    mask: Tensor | None = None
    token_positions: tuple[int, ...] | None = None
    curve: Any = None
    strengths: tuple[float, ...] = ()


def concept_name(node_id: str, concepts: Sequence[EncodedConcept], index: int) -> str:
    """Return a concept's name for errors."""
    return f"{node_id}: concepts: concept {index + 1} ({concepts[index].name!r})"
