"""The guidance alone: the core against the same part of diffusers' pipeline, on the same estimates.

The pipeline runs as it is, around a network that has its answer ready and a scheduler that does nothing. What is timed
is all that it does between the two: from the batch of estimates to the one that the scheduler gets.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sega_core import Comparison, Concept, GuidanceRun, Settings, keep_largest

from . import reference
from .timing import now, spread

# A video's frames stand one below the other: the pipeline knows pictures alone. Every channel has the same elements.
SIZES = {"SD1.5": (1, 4, 64, 64), "SDXL": (1, 4, 128, 128), "video": (1, 16, 21 * 60, 104)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CONCEPTS = (1, 2, 4, 8, 16)
CFG, STEPS = 7.0, 3
# Small tensors take turns more often: other work on the machine weighs more there.
ROUNDS = {"SD1.5": 15, "SDXL": 9, "video": 2}
THRESHOLDS = (0.5, 0.9, 0.975)
CONCEPT = Concept(warmup_steps=0)


def measure(device: torch.device, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each size, number of concepts and type of number."""
    rows = []
    for size, count, dtype in product(list(SIZES)[: 1 if quick else None], CONCEPTS, DTYPES):
        figures = _compare(estimates_of(SIZES[size], count, DTYPES[dtype], device), count, ROUNDS[size])
        rows.append({"size": size, "concepts": count, "dtype": dtype, **figures})
        say(f"{size}, {count} concepts, {dtype}: {figures['ratio']:.1f} times as fast")
    return rows


def estimates_of(shape: tuple[int, ...], count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what a network gives for the two prompts and some concepts, in one batch."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(((2 + count) * shape[0], *shape[1:]), generator=generator).to(device, dtype)


def _compare(estimates: Tensor, count: int, rounds: int) -> dict[str, Any]:
    pipeline = Pipeline(estimates, count)
    first, second = [], []
    # One round more, which warms both up.
    for _ in range(rounds + 1):
        first.append(pipeline.run())
        seconds, prediction = _run_core(estimates, count)
        second.append(seconds)
    times = spread(first[1:], second[1:])
    theirs = pipeline.scheduler.prediction
    assert theirs is not None
    return {
        "reference_seconds": times["first_seconds"] / STEPS,
        "our_seconds": times["second_seconds"] / STEPS,
        **{key: times[key] for key in ("ratio", "low", "high")},
        "difference": float((prediction.double() - theirs.double()).norm() / theirs.double().norm()),
    }


@torch.inference_mode()
def _run_core(estimates: Tensor, count: int) -> tuple[float, Tensor]:
    run = new_run(count)
    start = now()
    prediction = guide(run, estimates)
    return now() - start, prediction


def new_run(count: int) -> GuidanceRun:
    return GuidanceRun((CONCEPT,) * count, Settings(), STEPS)


def guide(run: GuidanceRun, estimates: Tensor) -> Tensor:
    """Return what the last step predicts; the estimates are the negative prompt's, the positive's and the concepts'."""
    for step in range(STEPS):
        negative, positive, *concepts = estimates.chunk(2 + len(run.concepts))
        guidance = run.guidance(step, {c: Comparison(concepts[c] - negative) for c in run.needed(step)})
        prediction = negative + CFG * (positive - negative)
        if guidance is not None:
            prediction = (prediction + guidance).to(prediction.dtype)
    return prediction


class Pipeline:
    """diffusers' pipeline, of whose every step the part that guides is timed."""

    def __init__(self, estimates: Tensor, count: int) -> None:
        self.count = count
        self.noise = torch.zeros_like(estimates[:1])
        network = _Network(estimates)
        self.scheduler = _Scheduler(network)
        embeddings = torch.zeros((2 + count, 1, 1), device=estimates.device)
        self.pipeline = reference.make_pipeline(network, self.scheduler, embeddings)

    def run(self) -> float:
        """Return the seconds of all steps."""
        self.scheduler.seconds = 0.0
        reference.sample(self.pipeline, self.noise, STEPS, CFG, (CONCEPT,) * self.count, Settings())
        return self.scheduler.seconds


class _Network(nn.Module):
    """Answers with estimates that were made before."""

    def __init__(self, estimates: Tensor) -> None:
        super().__init__()
        self.estimates = estimates
        self.config = SimpleNamespace(in_channels=estimates.shape[1])
        self.answered = 0.0

    @property
    def device(self) -> torch.device:
        return self.estimates.device

    def forward(self, latents: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> SimpleNamespace:
        self.answered = now()
        return SimpleNamespace(sample=self.estimates)


class _Scheduler:
    """Leaves the latents as they are and adds up the time since the network's answers."""

    init_noise_sigma = 1.0

    def __init__(self, network: _Network) -> None:
        self.network = network
        self.timesteps = torch.zeros(0)
        self.seconds = 0.0
        self.prediction: Tensor | None = None

    def set_timesteps(self, steps: int, device: torch.device) -> None:
        self.timesteps = torch.arange(steps, device=device)

    def scale_model_input(self, latents: Tensor, t: Tensor) -> Tensor:
        return latents

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor) -> SimpleNamespace:
        self.seconds += now() - self.network.answered
        self.prediction = prediction
        return SimpleNamespace(prev_sample=latents)


def exactness(device: torch.device, quick: bool) -> list[dict[str, Any]]:
    """Return how many elements the core's threshold and a full quantile judge differently."""
    rows = []
    for size, dtype in product(list(SIZES)[: 1 if quick else None], DTYPES):
        negative, _, concept = estimates_of(SIZES[size], 1, DTYPES[dtype], device).float().chunk(3)
        psi = (concept - negative) * CONCEPT.factor
        counts = [compare_thresholds(psi, threshold) for threshold in THRESHOLDS]
        differ, rounded = (sum(column) for column in zip(*counts, strict=True))
        elements = psi.numel() * len(THRESHOLDS)
        rows.append({"size": size, "dtype": dtype, "elements": elements, "differ": differ, "rounded": rounded})
    return rows


def compare_thresholds(psi: Tensor, threshold: float) -> tuple[int, int]:
    """Return how many elements `keep_largest` and torch.quantile judge differently, and how many of them by rounding.

    Where the interpolated quantile lies very near to the number below it, torch.quantile gives that number itself.
    """
    magnitude = psi.abs().flatten(2)
    quantile = torch.quantile(magnitude, threshold, dim=2, keepdim=True)
    kept = keep_largest(psi.clone(), threshold).flatten(2) != 0
    differ = kept != ((magnitude >= quantile) & (magnitude != 0))
    rounded = differ & (magnitude == quantile)
    return int(differ.sum()), int(rounded.sum())
