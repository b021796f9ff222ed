"""What a patched MODEL asks of a sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .encoded_concept import concept_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...sega_core import GuidanceVectors, Settings
    from .encoded_concept import EncodedConcept


@dataclass(frozen=True)
class GuidanceRequest:
    """Concepts, and how they are to act.

    Args:
        concepts: none leaves the sampling as it is.
        settings: what the concepts share.
        node_id: named in errors.
        supplied: guidance of another run, added to that of the concepts.
        record: called with the recorded guidance after each sampling; None turns recording off.
    """

    concepts: tuple[EncodedConcept, ...]
    settings: Settings
    node_id: str
    supplied: GuidanceVectors | None = None
    record: Callable[[GuidanceVectors], None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether a sampling with it is the plain one, and nobody wants to know."""
        return not self.concepts and self.supplied is None and self.record is None

    @property
    def names(self) -> list[str]:
        """What the concepts are called in errors."""
        return [concept_name(self.node_id, self.concepts, index) for index in range(len(self.concepts))]
