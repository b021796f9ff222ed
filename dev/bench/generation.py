"""A whole generation: ours in the host against diffusers' pipeline, on the same weights, steps and embeddings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..host import in_process
from .scenarios import EVERY_PASS, FACE, SAVING, Scenario
from .timing import in_turns
from .twins import SD15, TINY, Shape, Twin

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Plan:
    """What is generated with a network, `rounds` times each, in latents with sides of `size`.

    Edits that need every pass take `steps_all` steps, those whose passes can be left out `steps`.
    """

    shape: Shape
    size: int
    steps: int
    steps_all: int
    rounds: int

    def scenarios(self) -> list[Scenario]:
        return [
            *(scenario.in_steps(self.steps_all) for scenario in (*EVERY_PASS, FACE)),
            *(scenario.in_steps(self.steps) for scenario in SAVING),
        ]


def plans(device: torch.device, quick: bool) -> list[Plan]:
    """Return what a machine can do in minutes; a GPU does the real sizes."""
    if device.type == "cuda":
        return [Plan(TINY, 64, 50, 50, 5), Plan(SD15, 64, 50, 50, 5)]
    if quick:
        return [Plan(TINY, 16, 10, 5, 1)]
    # With smaller latents a large network mostly waits for its weights, and a pass less saves nothing.
    return [Plan(TINY, 32, 50, 10, 3), Plan(SD15, 24, 5, 2, 1)]


def measure(plan: Plan, twin: Twin, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each edit."""
    noise = noise_of(plan.size)
    warm_up = plan.scenarios()[0].in_steps(1)
    twin.sample_reference(warm_up, noise)
    twin.sample_ours(warm_up, noise)
    rows = []
    for scenario in plan.scenarios():
        row = {"network": plan.shape.name, "latents": plan.size, "steps": scenario.steps, "edit": scenario.name}
        row |= _compare(twin, scenario, noise, plan.rounds)
        say(f"{row['network']}, {row['edit']}: {row['ratio']:.2f} times as fast, {row['passes_ratio']:.2f} expected")
        rows.append(row)
    return rows


def noise_of(size: int) -> Tensor:
    return torch.randn((1, 4, size, size), generator=torch.Generator().manual_seed(0))


def _compare(twin: Twin, scenario: Scenario, noise: Tensor, rounds: int) -> dict[str, Any]:
    made: tuple[list[Tensor], list[Tensor]] = ([], [])
    both_calls = (twin.reference_calls, twin.our_calls)
    for calls in both_calls:
        calls.clear()
    times = in_turns(
        lambda: made[0].append(twin.sample_reference(scenario, noise)),
        lambda: made[1].append(twin.sample_ours(scenario, noise)),
        rounds,
    )
    passes = [sum(calls) // rounds for calls in both_calls]
    theirs, own = (latents[-1].cpu().double() for latents in made)
    return {
        "reference_seconds": times["first_seconds"],
        "our_seconds": times["second_seconds"],
        **{key: times[key] for key in ("ratio", "low", "high")},
        "reference_passes": passes[0],
        "our_passes": passes[1],
        "passes_ratio": passes[0] / passes[1],
        "difference": float((own - theirs).norm() / theirs.norm()),
    }


def measure_memory(plan: Plan, twin: Twin | None) -> dict[str, Any]:
    """Return what either needs at most beyond the weights, in bytes, for the face example.

    Args:
        twin: on a GPU, whose allocator counts; None on the CPU, where each samples in a process of its own.
    """
    both = ("sample_reference", "sample_ours")
    theirs, own = (_alone(plan, who) if twin is None else _on_gpu(plan, twin, who) for who in both)
    row = {"network": plan.shape.name, "latents": plan.size, "edit": FACE.name, "steps": plan.steps}
    return {**row, "reference_bytes": theirs, "our_bytes": own, "ratio": theirs / own}


def _on_gpu(plan: Plan, twin: Twin, who: str) -> int:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    getattr(twin, who)(FACE.in_steps(plan.steps), noise_of(plan.size))
    return torch.cuda.max_memory_allocated() - before


def _alone(plan: Plan, who: str) -> int:
    command = [sys.executable, "-m", "dev.bench.generation", plan.shape.name, str(plan.size), str(plan.steps), who]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _peak_here(name: str, size: str, steps: str, who: str) -> int:
    """Sample once in this process; return how much its memory grew at most."""
    in_process.start_host()
    (shape,) = (shape for shape in (TINY, SD15) if shape.name == name)
    twin = Twin(shape, torch.device("cpu"), torch.float32)
    # What is loaded at the first sampling is no part of the sampling.
    getattr(twin, who)(FACE.in_steps(1), noise_of(int(size)))
    CLEAR_REFS.write_text("5")
    before = _kilobytes("VmRSS")
    getattr(twin, who)(FACE.in_steps(int(steps)), noise_of(int(size)))
    return (_kilobytes("VmHWM") - before) * 1024


def _kilobytes(what: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    sys.stdout.write(f"{_peak_here(*sys.argv[1:])}\n")
