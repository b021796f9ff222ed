"""What is generated: the concepts, what they share and the steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sega_core import Concept, Settings, passes_needed

STEPS = 50


@dataclass(frozen=True)
class Scenario:
    """One edit.

    Args:
        name: in tables.
        concepts: their settings.
        settings: what they share.
        steps: of sampling.
    """

    name: str
    concepts: tuple[Concept, ...]
    settings: Settings = field(default_factory=Settings)
    steps: int = STEPS

    @property
    def passes(self) -> int:
        """The passes of the network that one image needs, the two prompts' included."""
        return 2 * self.steps + sum(map(len, passes_needed(self.concepts, self.settings, self.steps)))

    @property
    def all_passes(self) -> int:
        """The passes of an implementation that leaves none out."""
        return (2 + len(self.concepts)) * self.steps

    def in_steps(self, steps: int) -> Scenario:
        """Return the same edit in other steps, warm-up and cool-down in proportion."""
        concepts = tuple(
            replace(
                concept,
                warmup_steps=_scaled(concept.warmup_steps, self.steps, steps),
                cooldown_steps=concept.cooldown_steps and _scaled(concept.cooldown_steps, self.steps, steps),
            )
            for concept in self.concepts
        )
        return replace(self, concepts=concepts, steps=steps)


def _scaled(step: int, steps: int, to: int) -> int:
    return round(step * to / steps)


def equal_concepts(count: int, **settings: float) -> tuple[Concept, ...]:
    """Return concepts with the reference's defaults, save the settings."""
    return (Concept(**settings),) * count  # type: ignore[arg-type]


NO_MOMENTUM = Settings(momentum_scale=0)

# Every pass is needed: no warm-up, no cool-down, momentum.
EVERY_PASS = tuple(
    Scenario(f"{count} concept{'s' * (count > 1)}", equal_concepts(count, warmup_steps=0)) for count in (1, 2, 4, 8)
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

HALF = equal_concepts(4, cooldown_steps=STEPS // 2)
SAVING = (
    Scenario("momentum off", equal_concepts(4), NO_MOMENTUM),
    Scenario("cool-down at half", HALF),
    Scenario("cool-down at half, momentum off", HALF, NO_MOMENTUM),
)

SCENARIOS = (*EVERY_PASS, FACE, *SAVING)
