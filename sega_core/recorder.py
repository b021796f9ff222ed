"""Records what the concepts of a run added, for its guidance vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .concept import Concept, Settings
from .vectors import GuidanceVectors, Space


class Recorder:
    """Records the guidance of one part of the latents during a run, on the CPU.

    Args:
        shape: of the latents, (B, C, *spatial).
        sigmas: the schedule.
        concepts: the number of concepts.
    """

    def __init__(self, shape: Sequence[int], sigmas: Sequence[float], concepts: int) -> None:
        self.shape = tuple(shape)
        self.sigmas = tuple(sigmas)
        self.concepts = concepts
        self._kept: dict[int, _Kept] = {}

    def keep(self, step: int, sigma: float, guidance: Tensor | None, magnitudes: Mapping[int, Tensor]) -> None:
        """Keep a step's evaluation nearest to its own noise level; of several, the last.

        Args:
            step: the sampling step.
            sigma: noise level of the evaluation.
            guidance: what was added, (B, C, *spatial); None is nothing.
            magnitudes: for each concept that acted, the `magnitude` of its share, (B, *spatial).

        Raises:
            ValueError: the latents have changed size.
        """
        distance = abs(sigma - self.sigmas[step])
        if step in self._kept and self._kept[step].distance < distance:
            return
        if guidance is not None and tuple(guidance.shape) != self.shape:
            raise ValueError(
                f"guidance cannot be recorded: the latents changed size from {self.shape} to {tuple(guidance.shape)}"
            )
        # One copy for all concepts: each copy makes a GPU wait.
        kept = dict(zip(magnitudes, torch.stack(list(magnitudes.values())).cpu(), strict=True)) if magnitudes else {}
        self._kept[step] = _Kept(distance, None if guidance is None else guidance.float().cpu(), kept)

    def guidance(self) -> Tensor:
        """Return the guidance of all steps, (steps, B, C, *spatial); 0 if there was none."""
        out = torch.zeros((len(self.sigmas) - 1, *self.shape))
        for step, kept in self._kept.items():
            if kept.guidance is not None:
                out[step] = kept.guidance
        return out

    def activity(self) -> Tensor:
        """Return where each concept acted, (concepts, B, *spatial)."""
        out = torch.zeros((self.concepts, self.shape[0], *self.shape[2:]))
        for kept in self._kept.values():
            for c, share in kept.magnitudes.items():
                out[c] += share / (len(self.sigmas) - 1)
        return out

    def magnitudes(self) -> Tensor:
        """Return how strongly each concept acted, (steps, concepts)."""
        out = torch.zeros((len(self.sigmas) - 1, self.concepts))
        for step, kept in self._kept.items():
            for c, share in kept.magnitudes.items():
                out[step, c] = share.mean()
        return out


@dataclass(frozen=True)
class _Kept:
    """One evaluation, on the CPU, and its distance from the step's own noise level."""

    distance: float
    guidance: Tensor | None
    magnitudes: dict[int, Tensor]


def magnitude(share: Tensor) -> Tensor:
    """Return how strongly a concept's share of the guidance, (B, C, *spatial), acts at each place, (B, *spatial)."""
    return share.abs().mean(1)


def recorded(
    recorders: Sequence[Recorder], space: Space, concepts: Sequence[Concept], texts: Sequence[str], settings: Settings
) -> GuidanceVectors:
    """Return what a run's recorders, one for each part of its latents, have kept."""
    return GuidanceVectors(
        guidance=tuple(recorder.guidance() for recorder in recorders),
        activity=tuple(recorder.activity() for recorder in recorders),
        magnitudes=torch.stack([recorder.magnitudes() for recorder in recorders]).mean(0),
        sigmas=recorders[0].sigmas,
        space=space,
        concepts=tuple(concepts),
        texts=tuple(texts),
        settings=settings,
    )
