"""One sampling run, and the state it carries from step to step (arXiv 2301.12247, section 3, equations 8 to 10)."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import torch
from torch import Tensor

from .comparison import Comparison
from .concept import Concept, Settings
from .guard import per_sample
from .guidance import concept_guidance, is_covering
from .plan import passes_due, passes_needed
from .recorder import Recorder, magnitude


class GuidanceRun:
    """Turns the concepts' estimates into guidance, step by step, and owns the momentum.

    A step may be evaluated several times (second-order and SDE samplers), even after a later one (samplers that look
    ahead or retry a step). Each evaluation starts from the momentum at the start of its step; the last one sets the
    momentum of the next step.

    Args:
        concepts: the run's concepts, in the order of the indices used below.
        settings: what they share.
        steps: number of sampling steps.
        recorder: records each evaluation; None records nothing.
    """

    def __init__(
        self, concepts: Sequence[Concept], settings: Settings, steps: int, recorder: Recorder | None = None
    ) -> None:
        self.concepts = tuple(concepts)
        self.settings = settings
        self.recorder = recorder
        self._needed = passes_needed(self.concepts, settings, steps)
        self._due = passes_due(self._needed, self.concepts, settings.reuse_steps)
        # Each concept's last guidance, if further steps reuse it.
        self._held: dict[int, Tensor] = {}
        # The first step at which each concept acts if it is local, and whether it is covering instead, (B,).
        independent = settings.mode == "independent"
        self._waits = [concept.local_warmup_steps if independent else 0 for concept in self.concepts]
        self._covering: dict[int, Tensor] = {}
        # The momenta v at the start of each of the last steps and of the next one. Reference mode has one for all
        # concepts; otherwise, concepts with the same start and end share one.
        self._momenta: dict[int, dict[Hashable, Tensor]] = {0: {}}
        self._step = 0

    def needed(self, step: int) -> tuple[int, ...]:
        """Return the indices of the concepts whose estimates `guidance` wants at this step."""
        return tuple(c for c in self._needed[step] if c in self._due[step] or c not in self._held)

    def forget(self) -> None:
        """Forget earlier steps: the latents have changed size."""
        self._momenta = {self._step: {}}
        self._held, self._covering = {}, {}

    def guidance(self, step: int, comparisons: Mapping[int, Comparison | None], sigma: float = 0.0) -> Tensor | None:
        """Return the guidance to add to the CFG estimate, or None if there is none.

        Args:
            step: the sampling step.
            comparisons: for each concept of `needed(step)`, the inputs to its guidance, (B, C, *spatial); None if the
                concept does not act at this noise level.
            sigma: noise level of the evaluation; only the recorder uses it.

        Returns:
            Guidance of the same shape, fp32.
        """
        self._begin(step)
        absent = {c for c, comparison in comparisons.items() if comparison is None}
        independent, weights = self.settings.mode == "independent", self._weights(step, absent)
        # While some concepts warm up, the reference rescales the weights of the others.
        total = 1.0 if independent or self._all_warm(step) else sum(weights)
        magnitudes: dict[int, Tensor] = {}
        # Concepts that share a momentum only count by their sum.
        sums: dict[Hashable, Tensor | None] = {}
        for c, concept in enumerate(self.concepts):
            gamma = None if concept.is_cooled(step) else self._gamma(c, step, comparisons)
            if gamma is None:
                continue
            if step < self._waits[c]:
                gamma = gamma * per_sample(self._covering[c], gamma)
            if self.recorder is not None and weights[c]:
                magnitudes[c] = magnitude(weights[c] / total * gamma)
            key = self._key(concept, step)
            sums[key] = _added(sums.get(key), concept.weight * gamma)
            # Freed before the next one, so that many concepts need no more memory than one.
            del gamma
        guidance = self._independent(step, sums) if independent else self._reference(step, sums, total)
        if self.recorder is not None:
            self.recorder.keep(step, sigma, guidance, magnitudes)
        return guidance

    def _gamma(self, c: int, step: int, comparisons: Mapping[int, Comparison | None]) -> Tensor | None:
        """Return a concept's guidance before weight and momentum, new or held; None if there is none."""
        if c not in comparisons:
            return self._held.get(c) if c in self._needed[step] else None
        comparison = comparisons[c]
        if comparison is None:
            self._held.pop(c, None)
            return None
        gamma = concept_guidance(comparison, self.concepts[c])
        if step < self._waits[c] and c not in self._covering:
            self._covering[c] = is_covering(comparison.difference, self.concepts[c])
        if self.settings.reuse_steps > 1:
            self._held[c] = gamma
        return gamma

    def _key(self, concept: Concept, step: int) -> Hashable:
        """Return the key of the sum that a concept's guidance goes into."""
        if self.settings.mode == "independent":
            # With the same start and end, momenta add up as the guidance does.
            return (concept.warmup_steps, concept.cooldown_steps)
        return concept.is_warm(step)

    def _reference(self, step: int, sums: dict[Hashable, Tensor | None], total: float) -> Tensor | None:
        acting = sums.pop(True, None)
        if self._all_warm(step):
            return self._with_momentum(None, acting)
        guidance = None if acting is None or total == 0 else acting / total
        # The shared momentum includes concepts that are still warming up.
        self._with_momentum(None, _added(acting, sums.pop(False, None)))
        return guidance

    def _independent(self, step: int, sums: dict[Hashable, Tensor | None]) -> Tensor | None:
        acting: Tensor | None = None
        alive = [concept for concept in self.concepts if not concept.is_cooled(step)]
        # A warm-up step without passes has only momentum.
        for concept in alive:
            sums.setdefault(self._key(concept, step), None)
        warm = {self._key(concept, step) for concept in alive if concept.is_warm(step)}
        for key in list(sums):
            with_momentum = self._with_momentum(key, sums.pop(key))
            if key in warm:
                acting = _added(acting, with_momentum)
        return acting

    def _weights(self, step: int, absent: Collection[int]) -> list[float]:
        """Return each concept's weight if it acts at this step, else 0."""
        return [
            concept.weight if concept.is_warm(step) and not concept.is_cooled(step) and c not in absent else 0.0
            for c, concept in enumerate(self.concepts)
        ]

    def _all_warm(self, step: int) -> bool:
        return all(concept.is_warm(step) for concept in self.concepts)

    def _begin(self, step: int) -> None:
        """Go to a step: forward over steps without any estimate, or back to the momenta at its start."""
        for passed in range(max(self._momenta), step):
            self._momenta[passed + 1] = self._decayed(self._momenta[passed])
        # A sampler that goes back more than one step gets the oldest momenta kept.
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
    """Return the sum, in place in the first."""
    if total is None or term is None:
        return term if total is None else total
    return total.add_(term)
