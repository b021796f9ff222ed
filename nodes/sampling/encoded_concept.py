"""A concept as the samplers are given it: its settings and its texts, encoded by the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ...sega_core import ConceptSettings


@dataclass(frozen=True)
class EncodedConcept:
    """A concept and the two texts that it is the difference of, encoded as the host's CONDITIONING.

    Args:
        settings: of the concept.
        conditioning: the text with the concept.
        instead_of: the text without it; None is the negative prompt.
        name: what the concept is called.
        mask: the host's MASK, (N, H, W) or (H, W), in [0, 1]: where the concept may act; None is everywhere.
        token_positions: where the concept's words stand in `conditioning`; None where they are not known.
        curve: the host's CURVE: a factor of the strength from the start of the concept to its end; None is 1.
        strengths: a factor of the strength for each image of a batch, in turn; none is 1.
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
    """Return what a concept is called in errors."""
    return f"{node_id}: concepts: concept {index + 1} ({concepts[index].name!r})"
