"""What SEGA holds in memory beyond the host's own passes, counted at every allocation.

The profiler sees every allocation and release of PyTorch's, inside its operations too, so the figures are exact and
the same on every run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from sega_core import Comparison, Concept, Run, Settings

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """What a piece of work allocated, beyond what was there when it began.

    Args:
        peak: the most at any time, in bytes.
        kept: at the end, in bytes.
    """

    peak: int
    kept: int


def allocated(work: Callable[[], Any]) -> Memory:
    """Do some work on the CPU, drop what it returns, and return what it allocated."""
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
    return Memory(max(held, default=0), held[-1] if held else 0)


def core_memory(concepts: Sequence[Concept], settings: Settings, shape: Sequence[int], steps: int) -> tuple[float, int]:
    """Return what the core holds over a run at most, in latents, and what it leaves behind, in bytes.

    What it is given is there before: the differences stand where the host's estimates were.

    Args:
        concepts: of the run.
        settings: what they share.
        shape: of the latents, (B, C, *spatial).
        steps: number of sampling steps.
    """
    generator = torch.Generator().manual_seed(0)
    given = [Comparison(difference) for difference in torch.randn((len(concepts), *shape), generator=generator)]

    def sample() -> None:
        run = Run(concepts, settings, steps)
        for step in range(steps):
            run.guidance(step, {c: given[c] for c in run.needed(step)})

    memory = allocated(sample)
    return memory.peak / (FLOAT_BYTES * prod(shape)), memory.kept
