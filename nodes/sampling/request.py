"""What a patched MODEL carries into sampling."""

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
    """Concepts and their shared settings.

    Args:
        concepts: none samples as usual.
        settings: what the concepts share.
        node_id: for errors.
        supplied: guidance from another run, added to the concepts'.
        record: called with the recorded guidance after each sampling; None turns recording off.
    """

    concepts: tuple[EncodedConcept, ...]
    settings: Settings
    node_id: str
    supplied: GuidanceVectors | None = None
    record: Callable[[GuidanceVectors], None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to add and nothing to record."""
        return not self.concepts and self.supplied is None and self.record is None

    @property
    def names(self) -> list[str]:
        """The concepts' names for errors."""
        return [concept_name(self.node_id, self.concepts, index) for index in range(len(self.concepts))]
