"""What guides the latents: the core's run, and for latents of several parts one run for each.

The host packs parts, such as video and sound, into one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import comfy.utils

from ...sega_core import Comparison

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ...sega_core import Run
    from .attention import ConceptAttention
    from .masks import ConceptMasks


class GuidedParts:
    """The runs of a sampling, one for each part of its latents.

    Args:
        runs: of the core; all have the same concepts.
        shapes: of the parts, (B, C, *spatial).
        masks: the concepts'; they are of the picture, which is the first part.
        attention: what is known of where the picture looks at the concepts' words.
        node_id: named in errors.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        shapes: Sequence[tuple[int, ...]],
        masks: ConceptMasks,
        attention: ConceptAttention,
        node_id: str,
    ) -> None:
        self.runs = runs
        self.shapes = shapes
        self.masks = masks
        self.attention = attention
        self.node_id = node_id
        self._size: tuple[int, ...] | None = None

    def needed(self, step: int) -> tuple[int, ...]:
        """Return the indices of the concepts whose estimates `guidance` wants at this step."""
        return self.runs[0].needed(step)

    def fit(self, size: tuple[int, ...]) -> None:
        """Drop momentum and reused guidance where the sampler has resized the latents.

        Raises:
            ValueError: they are recorded, and a record is of one size.
        """
        if self._size not in (None, size):
            if self.runs[0].recorder is not None:
                raise ValueError(
                    f"{self.node_id}: guidance cannot be recorded where the latents change size, from {self._size} to "
                    f"{size}; do not connect this output"
                )
            for run in self.runs:
                run.forget()
        self._size = size

    def comparisons(
        self, compared: Mapping[int, tuple[Tensor, Tensor] | None], divisor: Tensor
    ) -> list[dict[int, Comparison | None]]:
        """Return what each part's guidance is made of.

        Args:
            compared: per concept that was evaluated, its estimate and the one it is compared with, as the host packs
                them; None where none of its texts acts.
            divisor: (B,), what turns the difference of two estimates into one of noise or velocity.
        """
        out: list[dict[int, Comparison | None]] = [{} for _ in self.runs]
        for c, pair in compared.items():
            if pair is None:
                for of_part in out:
                    of_part[c] = None
                continue
            parts = zip(*(comfy.utils.unpack_latents(latents, self.shapes) for latents in pair), strict=True)
            for part, (estimate, baseline) in enumerate(parts):
                mask = self.masks.of(c, estimate) if part == 0 else None
                by = divisor.view(-1, *[1] * (estimate.ndim - 1))
                out[part][c] = Comparison(estimate, baseline, by, mask, self.attention.of(c))
        return out

    def guidance(
        self, step: int, sigma: float, comparisons: Sequence[Mapping[int, Comparison | None]]
    ) -> list[Tensor | None]:
        """Return the guidance of each part, (B, C, *spatial), or None for each.

        Args:
            step: of the sampling.
            sigma: noise level.
            comparisons: of each part.
        """
        return [run.guidance(step, of_part, sigma) for run, of_part in zip(self.runs, comparisons, strict=True)]


def packed(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return the parts of latents as the host samples them; None where there are none."""
    return parts[0] if len(parts) == 1 or parts[0] is None else comfy.utils.pack_latents(parts)[0]
