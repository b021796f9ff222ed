"""One sampling run: what is carried from step to step (arXiv 2301.12247, section 3, equations 8 to 10)."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import torch
from torch import Tensor

from .comparison import Comparison
from .concept import Concept, Settings
from .guidance import concept_guidance
from .plan import passes_due, passes_needed
from .recorder import Recorder, magnitude


class GuidanceRun:
    """Turns the concepts' estimates into guidance, step by step, and owns the momentum.

    A step may be evaluated several times (second-order and SDE samplers), also after a later one (samplers that look
    ahead, or try a step again); each evaluation starts from the momentum that the step began with, and the last one's
    counts for the next step.

    Args:
        concepts: the run's concepts, in the order of the indices used below.
        settings: what they share.
        steps: number of sampling steps.
        recorder: is told what each evaluation gave; None keeps nothing.
    """

    def __init__(
        self, concepts: Sequence[Concept], settings: Settings, steps: int, recorder: Recorder | None = None
    ) -> None:
        self.concepts = tuple(concepts)
        self.settings = settings
        self.recorder = recorder
        self._needed = passes_needed(self.concepts, settings, steps)
        self._due = passes_due(self._needed, self.concepts, settings.reuse_steps)
        # Each concept's guidance as it was last evaluated, where further steps use it.
        self._held: dict[int, Tensor] = {}
        # Momenta v with which each of the last steps began, and what the last one leaves to the next; one for all
        # concepts in reference mode, one for those of the same beginning and end otherwise.
        self._momenta: dict[int, dict[Hashable, Tensor]] = {0: {}}
        self._step = 0

    def needed(self, step: int) -> tuple[int, ...]:
        """Return the indices of the concepts whose estimates `guidance` wants at this step."""
        return tuple(c for c in self._needed[step] if c in self._due[step] or c not in self._held)

    def forget(self) -> None:
        """Forget the steps before: the latents have another size now."""
        self._momenta = {self._step: {}}
        self._held = {}

    def guidance(self, step: int, comparisons: Mapping[int, Comparison | None], sigma: float = 0.0) -> Tensor | None:
        """Return the guidance to add to the CFG estimate, or None where there is none.

        Args:
            step: the sampling step.
            comparisons: for each concept of `needed(step)`, what its guidance is made of, (B, C, *spatial); None where
                the concept has nothing to say at this noise level.
            sigma: noise level of the evaluation; the recorder alone asks for it.

        Returns:
            Guidance of the same shape, fp32.
        """
        self._begin(step)
        absent = {c for c, comparison in comparisons.items() if comparison is None}
        independent, weights = self.settings.mode == "independent", self._weights(step, absent)
        # While some concepts warm up the reference rescales the weights of the others.
        total = 1.0 if independent or self._all_warm(step) else sum(weights)
        magnitudes: dict[int, Tensor] = {}
        # Of concepts that share a momentum from beginning to end, only the sum counts.
        sums: dict[Hashable, Tensor | None] = {}
        for c, concept in enumerate(self.concepts):
            gamma = None if concept.is_cooled(step) else self._gamma(c, step, comparisons)
            if gamma is None:
                continue
            if self.recorder is not None and weights[c]:
                magnitudes[c] = magnitude(weights[c] / total * gamma)
            key = self._key(concept, step)
            sums[key] = _added(sums.get(key), concept.weight * gamma)
            # Gone before the next one comes: all concepts need no more memory than one.
            del gamma
        guidance = self._independent(step, sums) if independent else self._reference(step, sums, total)
        if self.recorder is not None:
            self.recorder.keep(step, sigma, guidance, magnitudes)
        return guidance

    def _gamma(self, c: int, step: int, comparisons: Mapping[int, Comparison | None]) -> Tensor | None:
        """Return a concept's guidance before weight and momentum, evaluated now or held; None where there is none."""
        if c not in comparisons:
            return self._held.get(c) if c in self._needed[step] else None
        comparison = comparisons[c]
        if comparison is None:
            self._held.pop(c, None)
            return None
        gamma = concept_guidance(comparison, self.concepts[c])
        if self.settings.reuse_steps > 1:
            self._held[c] = gamma
        return gamma

    def _key(self, concept: Concept, step: int) -> Hashable:
        """Return what the concepts have in common whose guidance counts by its sum alone."""
        if self.settings.mode == "independent":
            # Momenta of the same beginning and end add up as the guidance does.
            return (concept.warmup_steps, concept.cooldown_steps)
        return concept.is_warm(step)

    def _reference(self, step: int, sums: dict[Hashable, Tensor | None], total: float) -> Tensor | None:
        acting = sums.pop(True, None)
        if self._all_warm(step):
            return self._with_momentum(None, acting)
        guidance = None if acting is None or total == 0 else acting / total
        # The one momentum takes in what still warms up as well.
        self._with_momentum(None, _added(acting, sums.pop(False, None)))
        return guidance

    def _independent(self, step: int, sums: dict[Hashable, Tensor | None]) -> Tensor | None:
        acting: Tensor | None = None
        alive = [concept for concept in self.concepts if not concept.is_cooled(step)]
        # In a warm-up without passes there is momentum alone.
        for concept in alive:
            sums.setdefault(self._key(concept, step), None)
        warm = {self._key(concept, step) for concept in alive if concept.is_warm(step)}
        for key in list(sums):
            with_momentum = self._with_momentum(key, sums.pop(key))
            if key in warm:
                acting = _added(acting, with_momentum)
        return acting

    def _weights(self, step: int, absent: Collection[int]) -> list[float]:
        """Return the weight of each concept that acts at this step, 0 for the others."""
        return [
            concept.weight if concept.is_warm(step) and not concept.is_cooled(step) and c not in absent else 0.0
            for c, concept in enumerate(self.concepts)
        ]

    def _all_warm(self, step: int) -> bool:
        return all(concept.is_warm(step) for concept in self.concepts)

    def _begin(self, step: int) -> None:
        """Go to a step: forth over steps without any estimate, or back to what the step began with."""
        for passed in range(max(self._momenta), step):
            self._momenta[passed + 1] = self._decayed(self._momenta[passed])
        # A sampler that goes back further than to the step before finds the oldest momentum that is kept.
        began = self._momenta.get(step, self._momenta[min(self._momenta)])
        kept = {s: momenta for s, momenta in self._momenta.items() if step - 1 <= s < step}
        self._momenta = {**kept, step: began, step + 1: {}}
        self._step = step

    def _with_momentum(self, key: Hashable, guidance: Tensor | None) -> Tensor | None:
        """Add the momentum to the weighted guidance, in place (equation 9), and update it (equation 10)."""
        scale, beta = self.settings.momentum_scale, self.settings.momentum_beta
        momentum = self._momenta[self._step].get(key)
        if scale == 0:
            return guidance
        if momentum is None:
            if guidance is not None:
                self._momenta[self._step + 1][key] = (1 - beta) * guidance
            return guidance
        guidance = scale * momentum if guidance is None else guidance.add_(momentum, alpha=scale)
        self._momenta[self._step + 1][key] = torch.lerp(guidance, momentum, beta)
        return guidance

    def _decayed(self, momenta: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Return the momenta after a step without any estimate."""
        return {key: self.settings.momentum_kept * momentum for key, momentum in momenta.items()}


def _added(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    """Return the sum, in the memory of the first."""
    if total is None or term is None:
        return term if total is None else total
    return total.add_(term)
