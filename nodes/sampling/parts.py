"""Guides the latents with a run of the core, or with one run for each part of packed latents.

The host packs parts, such as video and sound, into one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import comfy.utils

from ...sega_core import Comparison

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ...sega_core import GuidanceRun
    from .attention import ConceptAttention
    from .masks import ConceptMasks
    from .scales import ConceptScales


class GuidedParts:
    """The runs of a sampling, one for each part of its latents.

    Args:
        runs: of the core; all have the same concepts.
        shapes: of the parts, (B, C, *spatial).
        masks: the concepts'; they apply to the picture, which is the first part.
        scales: factors on the concepts' guidance scales.
        attention: to the concepts' words.
        node_id: for errors.
    """

    def __init__(
        self,
        runs: Sequence[GuidanceRun],
        shapes: Sequence[tuple[int, ...]],
        masks: ConceptMasks,
        scales: ConceptScales,
        attention: ConceptAttention,
        node_id: str,
    ) -> None:
        self.runs = runs
        self.shapes = shapes
        self.masks = masks
        self.scales = scales
        self.attention = attention
        self.node_id = node_id
        self.may_guard = runs[0].settings.mode == "independent"
        self._size: tuple[int, ...] | None = None

    def needed(self, step: int) -> tuple[int, ...]:
        """Return the indices of the concepts whose estimates `guidance` needs at this step."""
        return self.runs[0].needed(step)

    def fit(self, size: tuple[int, ...]) -> None:
        """Drop momentum and reused guidance if the sampler has resized the latents.

        Raises:
            ValueError: the guidance is recorded, and a record has one size.
        """
        if self._size not in (None, size):
            if self.runs[0].recorder is not None:
                raise ValueError(
                    f"{self.node_id}: guidance cannot be recorded: this sampler changes the latents' size from "
                    f"{self._size} to {size}; disconnect this output"
                )
            for run in self.runs:
                run.forget()
        self._size = size

    def comparisons(
        self,
        step: int,
        sigma: float,
        differences: Mapping[int, Tensor | None],
        prompt_scales: Sequence[Tensor | float],
        denoised: Tensor,
    ) -> list[dict[int, Comparison | None]]:
        """Return the inputs to each part's guidance.

        Args:
            step: of the sampling.
            sigma: noise level.
            differences: for each evaluated concept, the difference of its two estimates, in noise or velocity space, as
                the host packs them; None if it does not act.
            prompt_scales: the guider's scale for the positive prompt in each part, a number or (B,).
            denoised: the guider's prediction without the concepts, as the host packs it.
        """
        plain = comfy.utils.unpack_latents(denoised, self.shapes)
        out: list[dict[int, Comparison | None]] = [{} for _ in self.runs]
        for c, whole in differences.items():
            parts = [None] * len(out) if whole is None else comfy.utils.unpack_latents(whole, self.shapes)
            for part, difference in enumerate(parts):
                if difference is None:
                    out[part][c] = None
                    continue
                mask = self.masks.of(c, difference) if part == 0 else None
                scale = self.scales.of(c, step, prompt_scales[part], difference)
                guard = self.scales.guard(c, step, sigma, plain[part]) if self.may_guard else None
                out[part][c] = Comparison(difference, scale, mask, self.attention.of(c), guard)
        return out

    def guidance(
        self,
        step: int,
        sigma: float,
        comparisons: Sequence[Mapping[int, Comparison | None]],
    ) -> list[Tensor | None]:
        """Return the guidance of each part, (B, C, *spatial); None if there is none.

        Args:
            step: of the sampling.
            sigma: noise level.
            comparisons: of each part.
        """
        return [run.guidance(step, made_of, sigma) for run, made_of in zip(self.runs, comparisons, strict=True)]


def packed(parts: Sequence[Tensor]) -> Tensor:
    """Return the parts of latents packed as the host samples them."""
    return parts[0] if len(parts) == 1 else comfy.utils.pack_latents(parts)[0]
