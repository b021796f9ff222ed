"""Random runs of the core, a plain second implementation of the formulas, and what a run is fed with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sega_core import Comparison, Concept, GuidanceRun, Settings

# Per step, each concept's estimate minus that of what it is compared with.
Differences = list[list[Tensor]]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def compared(difference: Tensor, mask: Tensor | None = None, attention: Tensor | None = None) -> Comparison:
    """Return a comparison of an absolute scale."""
    return Comparison(difference, 1.0, mask, attention)


def plain_guidance(concepts: Sequence[Concept], settings: Settings, differences: Differences) -> list[Tensor | None]:
    """Follow the design's formulas literally, every pass at every step."""
    shape = differences[0][0].shape
    shared = torch.zeros(shape)
    own = [torch.zeros(shape) for _ in concepts]
    scale, beta = settings.momentum_scale, settings.momentum_beta
    out: list[Tensor | None] = []
    for i, estimates in enumerate(differences):
        gamma, a = [], []
        for concept, difference in zip(concepts, estimates, strict=True):
            sign = 1 if concept.direction == "add" else -1
            psi = sign * concept.guidance_scale * difference.float()
            limit = torch.quantile(psi.abs().flatten(2), concept.threshold, dim=2)
            limit = limit.view(*limit.shape, *[1] * (psi.ndim - 2))
            gamma.append(torch.where(psi.abs() >= limit, psi, 0))
            cooled = concept.cooldown_steps is not None and i >= concept.cooldown_steps
            a.append(0.0 if cooled else concept.weight)
        warm = [c for c, concept in enumerate(concepts) if i >= concept.warmup_steps]
        if settings.mode == "independent":
            result = torch.zeros(shape)
            for c in range(len(concepts)):
                e = a[c] * gamma[c] + scale * own[c]
                own[c] = beta * own[c] + (1 - beta) * e
                if c in warm and a[c] > 0:
                    result = result + e
            out.append(result)
            continue
        e = sum(a[c] * gamma[c] for c in range(len(concepts))) + scale * shared
        shared = beta * shared + (1 - beta) * e
        total = sum(a[c] for c in warm)
        if len(warm) == len(concepts):
            out.append(e)
        elif total > 0:
            out.append(sum(a[c] / total * gamma[c] for c in warm))
        else:
            out.append(None)
    return out


def random_run(seed: int, mode: str, steps: int = 8) -> tuple[list[Concept], Settings, Differences]:
    """Draw a run with anything the arguments allow, and the differences of every pass."""
    generator = torch.Generator().manual_seed(seed)

    def pick(values: Sequence) -> object:
        return values[int(torch.randint(len(values), (), generator=generator))]

    concepts = []
    for _ in range(1 + seed % 4):
        warmup = pick(range(steps + 2))
        concepts.append(
            Concept(
                direction=pick(["add", "remove"]),
                guidance_scale=pick([0, 1.5, 5.0, 5.0, 12.0]),
                threshold=pick([0, 0.3, 0.8, 0.9, 0.99]),
                warmup_steps=warmup // pick([1, 2, 4]),
                cooldown_steps=pick([None, None, warmup + pick([1, 2, 5])]),
                weight=pick([0, 0.5, 1.0, 1.0, 2.3]),
            )
        )
    settings = Settings(momentum_scale=pick([0, 0.1, 0.7]), momentum_beta=pick([0, 0.4, 0.9]), mode=mode)
    shape = pick([(2, 4, 6, 5), (1, 2, 3, 4, 4), (3, 4, 17)])
    differences = [[torch.randn(shape, generator=generator) for _ in concepts] for _ in range(steps)]
    return concepts, settings, differences


def feed(
    concepts: Sequence[Concept], settings: Settings, differences: Differences, everything: bool = False
) -> list[Tensor | None]:
    """Run all steps on the passes that each step needs, or on all of them."""
    run = GuidanceRun(concepts, settings, len(differences))
    out = []
    for step, estimates in enumerate(differences):
        indices = range(len(concepts)) if everything else run.needed(step)
        out.append(run.guidance(step, {c: compared(estimates[c]) for c in indices}))
    return out
