"""What is generated: the concepts, what they share and the steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sega_core import Concept, Settings

STEPS = 50


@dataclass(frozen=True)
class Scenario:
    """One edit: its name in tables, its concepts, what they share, and the sampling steps."""

    name: str
    concepts: tuple[Concept, ...]
    settings: Settings = field(default_factory=Settings)
    steps: int = STEPS

    def in_steps(self, steps: int) -> Scenario:
        """Return the same edit in other steps, warm-up and cool-down in proportion."""
        concepts = tuple(
            replace(
                concept,
                warmup_steps=round(concept.warmup_steps * steps / self.steps),
                cooldown_steps=concept.cooldown_steps and round(concept.cooldown_steps * steps / self.steps),
            )
            for concept in self.concepts
        )
        return replace(self, concepts=concepts, steps=steps)


# Every pass is needed: no warm-up, no cool-down, momentum.
EVERY_PASS = tuple(
    Scenario(f"{count} concept{'s' * (count > 1)}", (Concept(warmup_steps=0),) * count) for count in (1, 2, 4, 8)
)

# The example in the documentation of diffusers' pipeline: four concepts of a face, in its 50 steps.
FACE = Scenario(
    "face example",
    tuple(
        Concept(guidance_scale=scale, threshold=threshold)
        for scale, threshold in ((4, 0.99), (5, 0.975), (5, 0.925), (5.4, 0.96))
    ),
    Settings(momentum_scale=0.3, momentum_beta=0.6),
)

# Some passes can be left out; otherwise the reference's defaults.
FOUR, HALF, NO_MOMENTUM = (Concept(),) * 4, (Concept(cooldown_steps=STEPS // 2),) * 4, Settings(momentum_scale=0)
SAVING = (
    Scenario("momentum off", FOUR, NO_MOMENTUM),
    Scenario("cool-down at half", HALF),
    Scenario("cool-down at half, momentum off", HALF, NO_MOMENTUM),
)
