"""Guidance from another run, added to this one's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parts import packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ...sega_core import GuidanceVectors


class SuppliedGuidance:
    """Guidance vectors, and the step they have reached in a sampling.

    Args:
        vectors: of the other run.
        shapes: of this run's latents, (B, C, *spatial) for each part.
        node_id: for errors.
    """

    def __init__(self, vectors: GuidanceVectors, shapes: Sequence[tuple[int, ...]], node_id: str) -> None:
        self.vectors = vectors
        self.shapes = shapes
        self.node_id = node_id
        self._step = 0

    def at(self, sigma: float, x: Tensor) -> Tensor | None:
        """Return the guidance at a noise level, in the shape of `x`; None if the other run has none.

        Raises:
            ValueError: the sampler has changed the size of the latents.
        """
        step = self.vectors.step_at(sigma, self._step)
        if step is None:
            return None
        self._step = step
        parts = [guidance[step].to(x.device) for guidance in self.vectors.guidance]
        if len(parts) == 1 and parts[0].shape[1:] != x.shape[1:]:
            raise ValueError(
                f"{self.node_id}: guidance must be for latents of shape {tuple(x.shape)}, got "
                f"{tuple(parts[0].shape)}; this sampler changes their size"
            )
        return packed([part.expand(shape[0], *part.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)])
