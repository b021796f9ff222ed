"""SEGA inside ComfyUI's sampling: the patched MODEL.

A patched MODEL carries only a `SemanticGuidance`, an immutable OUTER_SAMPLE wrapper. When a guider samples, the wrapper
adds the concepts' texts to the guider's own conds, unless a prompt already has them, so that the host treats them like
the prompts (encoding, areas, hooks, memory). It then starts a `SamplingRun` for each pass over the schedule
(`GuidedSampling`). Everything is removed when the sampling ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import comfy.model_sampling
from comfy.patcher_extension import WrappersMP

from ...sega_core import GuidanceVectors, Space, recorded
from .guided import GuidedSampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider
    from torch import Tensor

    from .request import GuidanceRequest


# The wrapper's key in a MODEL.
_KEY = "sega"


def patch_model(model: ModelPatcher, request: GuidanceRequest) -> ModelPatcher:
    """Return a clone of the host's MODEL that samples with semantic guidance."""
    patched = model.clone()
    if not request.is_empty:
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, SemanticGuidance(request))
    return patched


def is_patched(model: ModelPatcher) -> bool:
    """Say whether a MODEL samples with semantic guidance."""
    return bool(model.get_wrappers(WrappersMP.OUTER_SAMPLE, _KEY))


@dataclass(frozen=True)
class SemanticGuidance:
    """The OUTER_SAMPLE wrapper: samples with the concepts and leaves nothing behind."""

    request: GuidanceRequest

    def __call__(
        self,
        executor: WrapperExecutor,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        guider: CFGGuider = executor.class_obj  # type: ignore[assignment]  # an object, says the host
        # The host packs latents of several parts (video and sound) into one row; each part is guided separately.
        shapes = [tuple(shape) for shape in kwargs.get("latent_shapes") or [noise.shape]]
        space = _space(guider.model_patcher)
        request = self.request
        if request.supplied is not None:
            self._check_supplied(request.supplied, shapes, space)
        sampling = GuidedSampling(request, guider, shapes, sigmas.tolist())
        out = sampling.sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs)
        if request.record is not None and len(sigmas) > 1:
            names = [encoded.name for encoded in request.concepts]
            request.record(recorded(sampling.recorders, space, sampling.concepts, names, request.settings))
        return out

    def _check_supplied(self, supplied: GuidanceVectors, shapes: Sequence[tuple[int, ...]], space: Space) -> None:
        node_id = self.request.node_id
        if supplied.space != space:
            raise ValueError(
                f"{node_id}: guidance was recorded with a model that predicts {supplied.space}, this one predicts "
                f"{space}; record it with a model of the same kind"
            )
        fits = len(supplied.shapes) == len(shapes) and all(
            theirs in (ours, (1, *ours[1:])) for theirs, ours in zip(supplied.shapes, shapes, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{node_id}: guidance must be for latents of shape {_named(shapes)}, got "
                f"{_named(supplied.shapes)}; record it at the same size and number of images"
            )


def _named(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(shape) for shape in shapes)


def _space(patcher: ModelPatcher) -> Space:
    """Return the space of (x - x0) / sigma for a model: velocity for flow models, else noise."""
    flows = isinstance(patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST)
    return "velocity" if flows else "noise"
