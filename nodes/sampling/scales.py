"""What each concept's guidance scale is multiplied by at a step: the prompt's own, a curve's and an image's factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...sega_core import progress_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from .encoded_concept import EncodedConcept


class ConceptScales:
    """The factors of a sampling's concepts.

    Args:
        concepts: of the sampling.
        sigmas: the schedule, one more entry than steps.
        percent_to_sigma: the model's noise level at a progress in [0, 1].
    """

    def __init__(
        self,
        concepts: Sequence[EncodedConcept],
        sigmas: Sequence[float],
        percent_to_sigma: Callable[[float], float],
    ) -> None:
        self.concepts = concepts
        self._curves = [_on_curve(encoded, sigmas, percent_to_sigma) for encoded in concepts]
        # The highest strength of each relative concept at any step, but for the image's factor.
        self._highest = [
            (encoded, encoded.settings.strength * encoded.settings.weight * max(curve or [1]))
            for encoded, curve in zip(concepts, self._curves, strict=True)
            if encoded.settings.is_relative
        ]
        # Made once: each copy from the CPU makes a GPU wait.
        self._of_images: dict[tuple[int, int, torch.device], Tensor] = {}

    def of(self, c: int, step: int, prompt_scale: Tensor | float, latents: Tensor) -> Tensor | float:
        """Return a concept's scale, a number or (B,).

        Args:
            c: the concept.
            step: of the sampling.
            prompt_scale: how strongly the guider draws to the positive prompt, a number or (B,).
            latents: (B, C, *spatial).
        """
        encoded = self.concepts[c]
        scale = prompt_scale if encoded.settings.is_relative else 1.0
        if self._curves[c]:
            scale = scale * self._curves[c][step]
        if encoded.strengths:
            scale = scale * self._of_image(c, latents.shape[0], latents.device)
        return scale

    def exceeding(self, strength: float, batch: int) -> list[bool]:
        """Say for each image whether a concept's relative strength is above this at any step."""
        return [
            any(highest * _in_turn(encoded, image) > strength for encoded, highest in self._highest)
            for image in range(batch)
        ]

    def _of_image(self, c: int, batch: int, device: torch.device) -> Tensor:
        if (c, batch, device) not in self._of_images:
            in_turn = [_in_turn(self.concepts[c], image) for image in range(batch)]
            self._of_images[c, batch, device] = torch.tensor(in_turn, device=device)
        return self._of_images[c, batch, device]


def _in_turn(encoded: EncodedConcept, image: int) -> float:
    return encoded.strengths[image % len(encoded.strengths)] if encoded.strengths else 1.0


def _on_curve(
    encoded: EncodedConcept, sigmas: Sequence[float], percent_to_sigma: Callable[[float], float]
) -> list[float]:
    """Return the curve's factor at each step; nothing where there is no curve."""
    if encoded.curve is None:
        return []
    settings = encoded.settings
    first, last = settings.start_percent, settings.end_percent
    places = [(progress_of(sigma, percent_to_sigma) - first) / (last - first) for sigma in sigmas[:-1]]
    return [float(encoded.curve.interp(min(max(place, 0.0), 1.0))) for place in places]
