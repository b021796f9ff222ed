"""Exact inversion: the noise that leads a stochastic sampler along a given path.

Edit-friendly inversion (arXiv 2304.06140, section 3) draws every noisy latent of a schedule independently from the
picture, and solves the sampler's own update for the noise between two of them. LEDITS++ (arXiv 2311.16711, section 3.1)
does this with SDE-DPM-Solver++. With this noise the sampler follows the same path back to the picture, at any cfg and
with any prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Level:
    """A noise level: x = signal * x0 + sigma * noise.

    Args:
        sigma: above 0; at most 1 in flow models.
        flows: whether noise replaces the picture (flow models) or is added to it.
    """

    sigma: float
    flows: bool = False

    @property
    def signal(self) -> float:
        return 1.0 - self.sigma if self.flows else 1.0


@dataclass(frozen=True)
class Evaluation:
    """What a sampler knows at a step.

    Args:
        level: the noise level.
        x: (B, C, *spatial).
        denoised: the model's estimate of x0, (B, C, *spatial).
    """

    level: Level
    x: Tensor
    denoised: Tensor


class StandsStill(ValueError):
    """A step adds no noise: its second noise level is not below the first."""


def euler_ancestral_noise(now: Evaluation, before: Evaluation | None, following: Tensor, level: Level) -> Tensor:
    """Return the noise that makes ancestral Euler sampling, eta 1, step to a given latent.

    This is DDPM's step (arXiv 2006.11239, equation 7). In flow models it is k-diffusion's rectified-flow version: step
    down to sigma^2 / sigma_now, scale to the next level's signal, add noise up to the next level.

    Args:
        now: the evaluation at the start of the step.
        before: the previous step's; not used.
        following: the latent at the end of the step, (B, C, *spatial).
        level: its noise level.

    Returns:
        The noise, (B, C, *spatial), of variance 1 if the model is right.

    Raises:
        StandsStill: the step adds no noise.
    """
    down = Level(level.sigma**2 / now.level.sigma, level.flows)
    left, scale = down.sigma / now.level.sigma, level.signal / down.signal
    mean = scale * (left * now.x + (1 - left) * now.denoised)
    return _solved(now, following, level, mean, level.sigma**2 - (scale * down.sigma) ** 2)


def dpmpp_2m_sde_noise(now: Evaluation, before: Evaluation | None, following: Tensor, level: Level) -> Tensor:
    """Return the noise that makes DPM-Solver++(2M) SDE, midpoint, eta 1, step to a given latent.

    This is second-order multistep SDE-DPM-Solver++ (arXiv 2211.01095, equation 19); the first step is first-order.

    Args:
        now: the evaluation at the start of the step.
        before: the previous step's; None at the first step.
        following: the latent at the end of the step, (B, C, *spatial).
        level: its noise level.

    Returns:
        The noise, (B, C, *spatial), of variance 1 if the model is right.

    Raises:
        StandsStill: the step adds no noise.
    """
    h = _log_snr_step(now.level, level)
    denoised = now.denoised
    if before is not None:
        denoised = denoised + 0.5 * h / _log_snr_step(before.level, now.level) * (denoised - before.denoised)
    mean = level.sigma / now.level.sigma * math.exp(-h) * now.x - level.signal * math.expm1(-2 * h) * denoised
    return _solved(now, following, level, mean, -(level.sigma**2) * math.expm1(-2 * h))


def _log_snr_step(now: Level, then: Level) -> float:
    """Return the increase of log(signal / sigma) from one level to another."""
    return math.log(then.signal * now.sigma / (then.sigma * now.signal))


def _solved(now: Evaluation, following: Tensor, level: Level, mean: Tensor, variance: float) -> Tensor:
    if variance <= 0:
        raise StandsStill(f"the step from sigma {now.level.sigma:g} to {level.sigma:g} adds no noise")
    return (following - mean) / math.sqrt(variance)
