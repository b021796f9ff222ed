"""The concepts' masks, at the size of the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import comfy.utils

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .encoded_concept import EncodedConcept


class ConceptMasks:
    """The masks of a sampling's concepts, resized once for each size of the latents.

    Args:
        concepts: of the sampling.
        names: of the concepts, for errors.
    """

    def __init__(self, concepts: Sequence[EncodedConcept], names: Sequence[str]) -> None:
        self.concepts = concepts
        self.names = names
        self._resized: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def of(self, index: int, latents: Tensor) -> Tensor | None:
        """Return a concept's mask for latents (B, C, *spatial), (B, 1, *spatial); None if it has none.

        Raises:
            ValueError: the latents are not images.
        """
        mask = self.concepts[index].mask
        if mask is None:
            return None
        if latents.ndim < 4:
            raise ValueError(f"{self.names[index]}: mask must not be connected: this model's latents are not images")
        shape = (latents.shape[0], 1, *latents.shape[2:])
        if (index, shape) not in self._resized:
            self._resized[index, shape] = comfy.utils.reshape_mask(mask.float(), shape).to(latents.device)
        return self._resized[index, shape]
