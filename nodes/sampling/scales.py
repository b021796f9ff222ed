"""Each concept's strength at a step: the prompt's, the curve's and the image's factors, and the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...sega_core import FREE_STRENGTH, Guard, progress_of, room_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .encoded_concept import EncodedConcept


class ConceptScales:
    """The strength factors of a sampling's concepts.

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
        self._curves = [_curve_of(encoded, sigmas, percent_to_sigma) for encoded in concepts]
        # Made once: each copy from the CPU makes a GPU wait.
        self._of_images: dict[tuple[int, int, torch.device], Tensor] = {}

    def of(self, c: int, step: int, prompt_scale: Tensor | float, latents: Tensor) -> Tensor | float:
        """Return the factor on a concept's guidance scale, a number or (B,).

        Args:
            c: the concept.
            step: of the sampling.
            prompt_scale: the guider's scale for the positive prompt, a number or (B,).
            latents: (B, C, *spatial).
        """
        prompts = prompt_scale if self.concepts[c].settings.is_relative else 1.0
        return prompts * self._on_curve(c, step) * self._of_image(c, latents)

    def guard(self, c: int, step: int, sigma: float, plain: Tensor) -> Guard | None:
        """Return the limit on a concept's guidance; None if its strength is absolute, or nowhere above the default.

        Args:
            c: the concept.
            step: of the sampling.
            sigma: noise level.
            plain: the prediction without the concepts, (B, C, *spatial).
        """
        settings, strengths = self.concepts[c].settings, self.concepts[c].strengths
        strength = abs(settings.strength * settings.weight * self._on_curve(c, step))
        if not settings.is_relative or strength * max(strengths, default=1.0) <= FREE_STRENGTH:
            return None
        free = FREE_STRENGTH / (strength * self._of_image(c, plain))
        # The room is divided by the weight, which is applied later.
        return Guard(free.clamp(max=1.0) if isinstance(free, Tensor) else free, room_of(plain, sigma) / settings.weight)

    def _on_curve(self, c: int, step: int) -> float:
        return self._curves[c][step] if self._curves[c] else 1.0

    def _of_image(self, c: int, latents: Tensor) -> Tensor | float:
        """Return a concept's factor for each image, (B,), or one number."""
        strengths, batch, device = self.concepts[c].strengths, latents.shape[0], latents.device
        if not strengths:
            return 1.0
        if (c, batch, device) not in self._of_images:
            in_turn = [strengths[image % len(strengths)] for image in range(batch)]
            self._of_images[c, batch, device] = torch.tensor(in_turn, device=device)
        return self._of_images[c, batch, device]


def _curve_of(
    encoded: EncodedConcept, sigmas: Sequence[float], percent_to_sigma: Callable[[float], float]
) -> list[float]:
    """Return the curve's factor at each step; empty if there is no curve."""
    if encoded.curve is None:
        return []
    settings = encoded.settings
    first, last = settings.start_percent, settings.end_percent
    places = [(progress_of(sigma, percent_to_sigma) - first) / (last - first) for sigma in sigmas[:-1]]
    return [float(encoded.curve.interp(min(max(place, 0.0), 1.0))) for place in places]
