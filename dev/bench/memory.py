"""How much memory SEGA takes: the core alone, and in the host compared with the same passes without it.

The profiler sees every allocation and release of PyTorch's, inside its operations too, so the figures are exact and
the same on every run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, product
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sega_core import Comparison, Concept, GuidanceRun, Settings

from .scenarios import Scenario

if TYPE_CHECKING:
    from .twins import Twin

FLOAT_BYTES = 4
MODES = ("reference", "independent")
MOMENTA = (0.1, 0.0)
CONCEPTS = (1, 4, 16)
SHAPE = (1, 4, 64, 64)
STEPS = 6
CONCEPT = Concept(warmup_steps=2)


def allocated(work: Callable[[], Any]) -> tuple[int, int]:
    """Do some work on the CPU; return the most bytes that it held beyond what was there before, and what it keeps."""
    gc.collect()
    # What waits to be collected would be more or less, as it happens.
    gc.disable()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            work()
            gc.collect()
    finally:
        gc.enable()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = list(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))
    return max(held, default=0), held[-1] if held else 0


def core_memory(concepts: Sequence[Concept], settings: Settings, shape: Sequence[int], steps: int) -> tuple[float, int]:
    """Return what the core holds over a run at most, in latents (B, C, *spatial), and what it leaves behind, in bytes.

    What it is given is there before: the differences stand where the host's estimates were.
    """
    generator = torch.Generator().manual_seed(0)
    given = [Comparison(difference) for difference in torch.randn((len(concepts), *shape), generator=generator)]

    def sample() -> None:
        run = GuidanceRun(concepts, settings, steps)
        for step in range(steps):
            run.guidance(step, {c: given[c] for c in run.needed(step)})

    peak, kept = allocated(sample)
    return peak / (FLOAT_BYTES * prod(shape)), kept


def measure(twin: Twin, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each mode, momentum and number of concepts, in latents."""
    rows = []
    for mode, momentum, count in product(MODES, MOMENTA, CONCEPTS):
        scenario = Scenario("", (CONCEPT,) * count, Settings(momentum_scale=momentum, mode=mode), STEPS)
        core, core_kept = core_memory(scenario.concepts, scenario.settings, SHAPE, STEPS)
        host, host_kept = in_host(twin, scenario)
        row = {"mode": mode, "momentum": momentum, "concepts": count, "core": core, "host": host}
        rows.append({**row, "kept": max(core_kept, host_kept)})
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
    (peak, kept), (peak_without, kept_without) = (
        allocated(partial(twin.sample_host, model, scenario.steps, noise)) for model in (guided, unguided)
    )
    return (peak - peak_without) / (FLOAT_BYTES * noise.numel()), kept - kept_without
