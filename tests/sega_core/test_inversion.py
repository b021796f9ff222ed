"""Given the noise that is solved for, the schedulers of diffusers step to the latent that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from sega_core import Evaluation, Level, dpmpp_2m_sde_noise, euler_ancestral_noise

SHAPE, STEPS = (2, 4, 8, 8), 8
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading"}
SOLVERS = {"euler_ancestral": euler_ancestral_noise, "dpmpp_2m_sde": dpmpp_2m_sde_noise}
each_solver = pytest.mark.parametrize("solve", list(SOLVERS.values()), ids=list(SOLVERS))


def drawn(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scale(sigma: float) -> float:
    """Return what a latent is divided by where noise and picture together have unit size, as diffusers has them."""
    return (1 + sigma**2) ** 0.5


def test_ddpm_steps_to_the_given_latent() -> None:
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True, steps_offset=1)
    scheduler.set_timesteps(STEPS)
    sigmas = [float(((1 - a) / a) ** 0.5) for a in scheduler.alphas_cumprod[scheduler.timesteps]]
    for step, timestep in enumerate(scheduler.timesteps[:-1]):
        sigma, sigma_next = sigmas[step : step + 2]
        x, denoised, following = drawn(step), drawn(100 + step), drawn(200 + step)
        noise = euler_ancestral_noise(Evaluation(Level(sigma), x, denoised), None, following, Level(sigma_next))
        out = scheduler.step(
            (x - denoised) / sigma, timestep, x / scale(sigma), eta=1.0, variance_noise=noise
        ).prev_sample
        torch.testing.assert_close(out * scale(sigma_next), following, rtol=1e-5, atol=1e-5)


def test_sde_dpm_solver_steps_to_the_given_latent_with_and_without_a_step_before() -> None:
    scheduler = DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="sde-dpmsolver++", solver_order=2, prediction_type="sample", lower_order_final=False
    )
    scheduler.set_timesteps(STEPS)
    before = None
    for step, timestep in enumerate(scheduler.timesteps[:-1]):
        sigma, sigma_next = scheduler.sigmas[step : step + 2].tolist()
        now = Evaluation(Level(sigma), drawn(step), drawn(100 + step))
        following = drawn(200 + step)
        noise = dpmpp_2m_sde_noise(now, before, following, Level(sigma_next))
        out = scheduler.step(now.denoised, timestep, now.x / scale(sigma), variance_noise=noise).prev_sample
        torch.testing.assert_close(out.double() * scale(sigma_next), following, rtol=1e-5, atol=1e-4)
        before = now


@pytest.mark.parametrize(
    ("solve", "flows"),
    [(euler_ancestral_noise, False), (dpmpp_2m_sde_noise, False), (dpmpp_2m_sde_noise, True)],
    ids=["euler_ancestral", "dpmpp_2m_sde", "dpmpp_2m_sde, flow"],
)
def test_where_the_model_knows_the_picture_the_noise_is_that_of_the_exact_reverse_step(
    solve: Callable, flows: bool
) -> None:
    """The posterior of a Gaussian diffusion (arXiv 2006.11239, equation 7), in signal-to-noise ratios."""
    picture, now, there = drawn(1), Level(0.8, flows), Level(0.5, flows)
    x = now.signal * picture + now.sigma * drawn(2)
    kept = there.sigma**2 * now.signal / (now.sigma**2 * there.signal)
    added = (there.sigma**2 - (kept * now.sigma) ** 2) ** 0.5
    following = there.signal * picture + kept * (x - now.signal * picture) + added * drawn(3)
    noise = solve(Evaluation(now, x, picture), None, following, there)
    torch.testing.assert_close(noise, drawn(3), rtol=1e-9, atol=1e-9)


@each_solver
@pytest.mark.parametrize("sigma_next", [1.0, 1.5])
def test_a_step_that_adds_no_noise_is_refused(solve: Callable, sigma_next: float) -> None:
    now = Evaluation(Level(1.0), drawn(1), drawn(2))
    with pytest.raises(ValueError, match=f"the step from sigma 1 to {sigma_next:g} adds no noise"):
        solve(now, None, drawn(3), Level(sigma_next))
