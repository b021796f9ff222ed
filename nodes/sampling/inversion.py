"""The samplers of an exact inversion: one walks from noise to a given picture, the other repeats the walk.

Both subclass the host's KSAMPLER, so that masks, previews and other packs' wrappers work. Repeating runs the host's own
sampling function with the walk's noise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import comfy.model_sampling
from comfy.k_diffusion import sampling as k_diffusion
from comfy.samplers import KSAMPLER
from torch import Tensor

from ...sega_core import Evaluation, Level, dpmpp_2m_sde_noise, euler_ancestral_noise

if TYPE_CHECKING:
    from comfy.samplers import CFGGuider

    from .host_types import Options

NODE_ID = "SEGAInvert"


@dataclass(frozen=True)
class Stochastic:
    """A sampler that adds noise once per step.

    Args:
        function: the host's.
        noise: solves its update for the noise.
    """

    function: Callable[..., Tensor]
    noise: Callable[[Evaluation, Evaluation | None, Tensor, Level], Tensor]


STOCHASTIC = {
    "euler_ancestral": Stochastic(k_diffusion.sample_euler_ancestral, euler_ancestral_noise),
    "dpmpp_2m_sde": Stochastic(k_diffusion.sample_dpmpp_2m_sde, dpmpp_2m_sde_noise),
}


@dataclass(frozen=True)
class Walk:
    """A sampler's path from noise to a picture; its tensors are on the CPU.

    Args:
        sampler_name: of STOCHASTIC.
        kind: the host's model class and type of prediction.
        cfg: of the guider.
        sigmas: the schedule, one more entry than steps.
        start: the initial noise, (B, C, *spatial).
        noises: the noise of each step but the last, (B, C, *spatial).
        remainder: the picture minus the result of the last step, (B, C, *spatial).
    """

    sampler_name: str
    kind: str
    cfg: float
    sigmas: Tensor
    start: Tensor
    noises: Sequence[Tensor]
    remainder: Tensor


class WalkingSampler(KSAMPLER):
    """Walks from noise to a picture and records the walk.

    The host's own function samples, with the noise that leads to each noisy picture. Its rounding is then part of the
    walk, and repeating the walk is exact, however fast the model amplifies small differences.

    Args:
        sampler_name: of STOCHASTIC.
        noise_of_step: returns the noise on the picture at a step, from 1, in any shape; step 0 uses the sampling's
            own noise.
        finished: called with the walk.
    """

    def __init__(
        self, sampler_name: str, noise_of_step: Callable[[int], Tensor], finished: Callable[[Walk], None]
    ) -> None:
        super().__init__(self._walk)
        self.sampler_name = sampler_name
        self.noise_of_step = noise_of_step
        self.finished = finished

    def _walk(
        self,
        # The host's KSamplerX0Inpaint, whose attributes are set from outside.
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        callback: Callable[[Options], None],
        **options: Any,
    ) -> Tensor:
        guider: CFGGuider = model.inner_model
        picture: Tensor = model.latent_image
        model_sampling: Any = guider.model_patcher.get_model_object("model_sampling")
        flows = isinstance(model_sampling, comfy.model_sampling.CONST)
        # The standard deviation of noise, which some models change.
        unit = getattr(model_sampling, "noise_scale", 1.0)
        sampler = STOCHASTIC[self.sampler_name]
        evaluations: list[Evaluation] = []
        noises: list[Tensor] = []

        def evaluated(step: Options) -> None:
            # A step only needs this evaluation and the one before.
            evaluations[:-1] = []
            evaluations.append(Evaluation(Level(float(step["sigma"]), flows), step["x"], step["denoised"]))
            callback(step)

        def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            *before, now = evaluations
            drawn = self.noise_of_step(len(noises) + 1).to(picture).reshape(picture.shape)
            following = model_sampling.noise_scaling(sigma_next, drawn, picture)
            solved = sampler.noise(now, before[0] if before else None, following, Level(float(sigma_next), flows))
            noises.append((solved / unit).cpu())
            return solved / unit

        out = sampler.function(model, x, sigmas, callback=evaluated, noise_sampler=noise, **options)
        start, remainder = model.noise.cpu(), (picture - out).cpu()
        kind = _kind_of(guider)
        self.finished(Walk(self.sampler_name, kind, guider.cfg, sigmas.cpu(), start, noises, remainder))
        return picture


class RepeatingSampler(KSAMPLER):
    """Repeats a walk, whatever noise it is given; whatever the model predicts differently is the edit."""

    def __init__(self, walk: Walk) -> None:
        super().__init__(self._repeat)
        self.walk = walk

    def sample(
        self,
        model_wrap: CFGGuider,
        sigmas: Tensor,
        extra_args: Options,
        callback: Callable[..., None] | None,
        noise: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Sample as the host does, from the walk's own noise.

        Raises:
            ValueError: the schedule, the model or the size does not match the walk.
        """
        self._check(model_wrap, sigmas, noise)
        start = self.walk.start.to(noise).expand_as(noise)
        return super().sample(model_wrap, sigmas, extra_args, callback, start, *args, **kwargs)

    def _repeat(self, model: Any, x: Tensor, sigmas: Tensor, **options: Any) -> Tensor:
        noises = (noise.to(x) for noise in self.walk.noises)
        sample = STOCHASTIC[self.walk.sampler_name].function
        out = sample(model, x, sigmas, noise_sampler=lambda *_: next(noises), **options)
        return out + self.walk.remainder.to(x)

    def _check(self, guider: CFGGuider, sigmas: Tensor, noise: Tensor) -> None:
        walk = self.walk
        if len(sigmas) > 1 and sigmas[0] < sigmas[-1]:
            raise ValueError(
                f"{NODE_ID}: sigmas must fall, got a schedule that rises from {sigmas[0]:g} to {sigmas[-1]:g}; the "
                "picture is already inverted, so connect this node's sigmas without FlipSigmas"
            )
        if not sigmas.cpu().equal(walk.sigmas):
            raise ValueError(
                f"{NODE_ID}: sigmas must match the inversion, {_named(walk.sigmas)}, got {_named(sigmas)}; "
                "connect this node's sigmas to the sampler"
            )
        if _kind_of(guider) != walk.kind:
            raise ValueError(
                f"{NODE_ID}: model must match the inversion, {walk.kind}, got {_kind_of(guider)}; connect the same "
                "model to both"
            )
        if walk.start.shape[1:] != noise.shape[1:] or walk.start.shape[0] not in (1, noise.shape[0]):
            raise ValueError(
                f"{NODE_ID}: latent_image must match the inversion, {tuple(walk.start.shape)}, got "
                f"{tuple(noise.shape)}; connect this node's latent to the sampler"
            )
        if getattr(guider, "cfg", walk.cfg) != walk.cfg:
            logging.warning(
                "%s: cfg is %g in the sampler but was %g in the inversion; the picture changes even without concepts",
                NODE_ID,
                guider.cfg,
                walk.cfg,
            )


def _kind_of(guider: CFGGuider) -> str:
    model: Any = guider.inner_model
    return f"{type(model).__name__} ({model.model_type.name})"


def _named(sigmas: Tensor) -> str:
    if len(sigmas) < 2:
        return "no steps"
    return f"{len(sigmas) - 1} steps from {sigmas[0]:g} to {sigmas[-1]:g}"
