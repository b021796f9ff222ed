"""What SEGA holds in memory in the host, beyond the same passes without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sega_core import Concept, Settings

from .memory import FLOAT_BYTES, allocated, core_memory
from .scenarios import Scenario
from .twins import Twin

MODES = ("reference", "independent")
MOMENTA = (0.1, 0.0)
CONCEPTS = (1, 4, 16)
SHAPE = (1, 4, 64, 64)
STEPS = 6
CONCEPT = Concept(warmup_steps=2)
MOST = 3


def measure(twin: Twin, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each mode, momentum and number of concepts, in latents."""
    rows = []
    for mode in MODES:
        for momentum in MOMENTA:
            for count in CONCEPTS:
                scenario = Scenario("", (CONCEPT,) * count, Settings(momentum_scale=momentum, mode=mode), STEPS)
                core, core_kept = core_memory(scenario.concepts, scenario.settings, SHAPE, STEPS)
                host, host_kept = in_host(twin, scenario)
                row = {"mode": mode, "momentum": momentum, "concepts": count, "core": core, "host": host}
                row |= {"target": MOST + count, "kept": max(core_kept, host_kept)}
                # Some single numbers are allocated too.
                most = round(max(core, host), 2)
                rows.append({**row, "met": most <= MOST + count and row["kept"] <= 0})
                say(f"{mode}, momentum {momentum}, {count} concepts: {core:.1f} latents, {host:.1f} in the host")
    return rows


def in_host(twin: Twin, scenario: Scenario) -> tuple[float, int]:
    """Return how much higher the peak of a sampling is than that of its passes alone, in latents, and what stays."""
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    estimates = torch.randn((2 + len(scenario.concepts), *SHAPE[1:]), generator=torch.Generator().manual_seed(1))

    def answer(apply_model: Any, args: dict[str, Any]) -> Tensor:
        return estimates[: len(args["input"])]

    guided, unguided = twin.guided(scenario), twin.unguided(len(scenario.concepts))
    for model in (guided, unguided):
        model.set_model_unet_function_wrapper(answer)
    with_concepts, without = (
        allocated(lambda model=model: twin.sample_host(model, scenario.steps, noise)) for model in (guided, unguided)
    )
    latent = FLOAT_BYTES * noise.numel()
    return (with_concepts.peak - without.peak) / latent, with_concepts.kept - without.kept
