"""A concept's settings in terms that mean the same for any model, cfg and number of steps.

`ConceptSettings.concept` turns them into the paper's (arXiv 2301.12247).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .concept import Concept, Direction, ThresholdOver
from .plan import Window, window
from .ranges import check_numbers

# Found by search over step counts, cfgs and two models. Strength above 1 makes up for what the threshold cuts off. A
# share of the energy is the one threshold that suits both glasses and a whole background.
STRENGTH, THRESHOLD, START_PERCENT = 1.5, 0.2, 0.0
# Where the composition is settled, as progress and as a share of the steps, whichever comes first: what is added to it
# waits until then. What the prompt asks for is settled by then, too, so a removal cannot wait, nor can a scene.
SETTLED_PERCENT = 0.2


@dataclass(frozen=True)
class ConceptSettings:
    """One concept's settings.

    Args:
        direction: "add" moves the image towards the concept, "remove" away from it.
        strength: in [0, inf), as a multiple of the prompt's own guidance scale (cfg). At 1 the changed prompt's picture
            appears where the concept acts; 0 is off, above 1 exaggerates.
        threshold: the share, in [0, 1), of the concept's guidance to drop, weakest first; `threshold_over` says what
            it is a share of. 0 keeps every element.
        start_percent: sampling progress, in [0, 1], at which the concept starts. It stands for a noise level, so it
            suits any number of steps and any scheduler. 0 is from the start, but where the strength is a multiple of
            cfg, what is added and local waits until the composition is settled (`Concept.local_warmup_steps`).
        end_percent: progress at which it ends, in [0, 1], after `start_percent`; 1 is the end (off).
        weight: weight among the concepts, in [0, inf); 0 is off.
        threshold_over: see `Concept`.
        attention_threshold: see `Concept`; 0 is off.
        guidance_scale: replaces cfg if above 0, in [0, inf): the paper's absolute s_e at strength 1. 0 uses cfg.

    Raises:
        ValueError: names the argument, its range and the value.
    """

    direction: Direction = "add"
    strength: float = STRENGTH
    threshold: float = THRESHOLD
    start_percent: float = START_PERCENT
    end_percent: float = 1.0
    weight: float = 1.0
    threshold_over: ThresholdOver = "energy"
    attention_threshold: float = 0.0
    guidance_scale: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.end_percent <= self.start_percent:
            raise ValueError(
                f"end_percent must be after start_percent ({self.start_percent:g}), got {self.end_percent!r}"
            )
        if self.strength * self.guidance_scale == math.inf:
            raise ValueError(
                f"strength times guidance_scale must be finite, got {self.strength!r} times {self.guidance_scale!r}"
            )
        self._concept(Window(0, None))

    @property
    def is_relative(self) -> bool:
        """Whether the strength is a multiple of cfg."""
        return self.guidance_scale == 0

    def concept(self, sigmas: Sequence[float], percent_to_sigma: Callable[[float], float]) -> Concept:
        """Return the concept for a schedule, in the paper's terms; its scale is a multiple of cfg if relative.

        Args:
            sigmas: the schedule, one more entry than steps.
            percent_to_sigma: the model's noise level at a progress in [0, 1].
        """
        levels = (float(percent_to_sigma(percent)) for percent in (self.start_percent, self.end_percent))
        acts = window(sigmas, *levels)
        if self.start_percent > 0 or self.direction == "remove" or not self.is_relative:
            return self._concept(acts)
        settled = window(sigmas, float(percent_to_sigma(SETTLED_PERCENT)), 0.0).warmup_steps
        wait = min(settled, int(SETTLED_PERCENT * (len(sigmas) - 1)))
        # What would end before it may start does not wait.
        return self._concept(acts, 0 if acts.cooldown_steps is not None and acts.cooldown_steps <= wait else wait)

    def _concept(self, acts: Window, local_warmup_steps: int = 0) -> Concept:
        return Concept(
            direction=self.direction,
            guidance_scale=self.strength * (1 if self.is_relative else self.guidance_scale),
            threshold=self.threshold,
            warmup_steps=acts.warmup_steps,
            cooldown_steps=acts.cooldown_steps,
            weight=self.weight,
            threshold_over=self.threshold_over,
            attention_threshold=self.attention_threshold,
            local_warmup_steps=local_warmup_steps,
        )
