"""One sampling run: what is carried from step to step (arXiv 2301.12247, section 3, equations 8 to 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from .concept import Concept, Settings
from .guidance import concept_guidance
from .plan import passes_needed
from .vectors import Recorder


class Run:
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
        # Momenta v with which each of the last steps began, and what the last one leaves to the next; one for all
        # concepts in reference mode, one each otherwise.
        self._momenta: dict[int, dict[int, Tensor]] = {0: {}}
        self._step = 0

    @property
    def needs_no_pass(self) -> bool:
        """Whether no step needs any estimate: the run is then the plain sampler's."""
        return not any(self._needed)

    def needed(self, step: int) -> tuple[int, ...]:
        """Return the indices of the concepts whose estimates `guidance` wants at this step."""
        return self._needed[step]

    def forget_momentum(self) -> None:
        """Start the momentum anew: the latents have another size now."""
        self._momenta = {self._step: {}}

    def guidance(
        self,
        step: int,
        differences: Mapping[int, Tensor],
        masks: Mapping[int, Tensor] | None = None,
        attention: Mapping[int, Tensor] | None = None,
        sigma: float = 0.0,
    ) -> Tensor | None:
        """Return the guidance to add to the CFG estimate, or None where there is none.

        Args:
            step: the sampling step.
            differences: per concept of `needed(step)`, its estimate minus the baseline's, (B, C, *spatial), in noise
                or velocity space.
            masks: per concept that has one, where the user wants the edit, (B or 1, 1, *spatial), in [0, 1].
            attention: per concept that asks for it, the cross-attention to its words, (B, h, w).
            sigma: noise level of the evaluation; the recorder alone asks for it.

        Returns:
            Guidance of the same shape, fp32.
        """
        self._begin(step)
        masks, attention = masks or {}, attention or {}
        gammas = {
            c: concept_guidance(difference, self.concepts[c], masks.get(c), attention.get(c))
            for c, difference in differences.items()
        }
        weights = self._weights(step)
        independent = self.settings.mode == "independent"
        guidance = self._independent(gammas, weights) if independent else self._reference(step, gammas, weights)
        if self.recorder is not None:
            shares = {c: weights[c] * gamma for c, gamma in gammas.items() if weights[c]}
            self.recorder.keep(step, sigma, guidance, shares)
        return guidance

    def _weights(self, step: int) -> list[float]:
        """Return what each concept's guidance is multiplied by at this step; 0 where it does not act (equation 8)."""
        acting = [concept.is_warm(step) and not concept.is_cooled(step) for concept in self.concepts]
        weights = [concept.weight if acts else 0.0 for concept, acts in zip(self.concepts, acting, strict=True)]
        total = sum(weights)
        if self.settings.mode == "independent" or total == 0 or self._all_warm(step):
            return weights
        return [weight / total for weight in weights]

    def _all_warm(self, step: int) -> bool:
        return all(concept.is_warm(step) for concept in self.concepts)

    def _begin(self, step: int) -> None:
        """Go to a step: forth over steps without any estimate, or back to what the step began with."""
        for passed in range(max(self._momenta), step):
            self._momenta[passed + 1] = self._decayed(self._momenta[passed])
        # A sampler that goes back further than to the step before finds the oldest momentum that is kept.
        began = self._momenta.get(step, self._momenta[min(self._momenta)])
        kept = {s: momenta for s, momenta in self._momenta.items() if step - 1 <= s < step}
        self._momenta = {**kept, step: began, step + 1: self._decayed(began)}
        self._step = step

    def _reference(self, step: int, gammas: Mapping[int, Tensor], weights: Sequence[float]) -> Tensor | None:
        # The one momentum takes in what still warms up as well.
        uncooled = {c: gamma for c, gamma in gammas.items() if not self.concepts[c].is_cooled(step)}
        with_momentum = self._with_momentum(0, _sum(self.concepts[c].weight * g for c, g in uncooled.items()))
        if self._all_warm(step):
            return with_momentum
        return _sum(weights[c] * gamma for c, gamma in gammas.items() if weights[c])

    def _independent(self, gammas: Mapping[int, Tensor], weights: Sequence[float]) -> Tensor | None:
        active: list[Tensor] = []
        for c, gamma in gammas.items():
            with_momentum = self._with_momentum(c, self.concepts[c].weight * gamma)
            if with_momentum is not None and weights[c]:
                active.append(with_momentum)
        return _sum(active)

    def _with_momentum(self, key: int, guidance: Tensor | None) -> Tensor | None:
        """Add the momentum to the weighted guidance (equation 9) and update it (equation 10)."""
        scale, beta = self.settings.momentum_scale, self.settings.momentum_beta
        if scale == 0:
            return guidance
        momentum = self._momenta[self._step].get(key)
        if momentum is not None:
            guidance = scale * momentum if guidance is None else guidance + scale * momentum
        if guidance is None:
            return None
        kept = (1 - beta) * guidance
        self._momenta[self._step + 1][key] = kept if momentum is None else beta * momentum + kept
        return guidance

    def _decayed(self, momenta: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the momenta after a step without any estimate; what an evaluation of the step overwrites."""
        factor = self.settings.momentum_beta + (1 - self.settings.momentum_beta) * self.settings.momentum_scale
        return {key: factor * momentum for key, momentum in momenta.items()}


def _sum(terms: Iterable[Tensor]) -> Tensor | None:
    total: Tensor | None = None
    for term in terms:
        total = term if total is None else total + term
    return total
