"""SEGA inside ComfyUI's sampling: what a patched MODEL carries, and what a guider is given when it samples.

A patched MODEL carries nothing but a `SemanticGuidance`, an immutable OUTER_SAMPLE wrapper. When a guider samples, the
wrapper gives the guider's own conds one list per concept and text, so that the host encodes, areas, hooks and
memory-plans them as it does the prompts, and starts a `SamplingRun` with each way through the schedule
(`GuidedSampling`). All are gone when the sampling ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import comfy.model_sampling
from comfy.patcher_extension import WrappersMP

from ...sega_core import GuidanceVectors, Settings, Space, recorded
from .encoded_concept import EncodedConcept, concept_name
from .guided import GuidedSampling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from comfy.model_patcher import ModelPatcher
    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider
    from torch import Tensor

Baseline = Literal["auto", "negative", "positive"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


def patch_model(
    model: ModelPatcher,
    concepts: Sequence[EncodedConcept],
    settings: Settings,
    baseline: Baseline,
    node_id: str,
    guidance: GuidanceVectors | None = None,
    record: Callable[[GuidanceVectors], None] | None = None,
) -> ModelPatcher:
    """Return a clone of the host's MODEL that samples with semantic guidance.

    Args:
        model: ModelPatcher; not changed.
        concepts: none leaves the sampling as it is.
        settings: what the concepts share.
        baseline: the estimate that the concepts are compared with; "auto" is the negative prompt's where the sampling
            uses it and the positive prompt's where it does not (cfg 1).
        node_id: named in errors.
        guidance: of another run, added to that of the concepts.
        record: is given what the concepts did, when a sampling is over; None records nothing.

    Raises:
        ValueError: baseline is none of these.
    """
    if baseline not in BASELINES:
        raise ValueError(f"{node_id}: baseline must be one of {', '.join(BASELINES)}, got {baseline!r}")
    patched = model.clone()
    if concepts or guidance is not None or record is not None:
        wrapper = SemanticGuidance(tuple(concepts), settings, baseline, node_id, guidance, record)
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "sega", wrapper)
    return patched


@dataclass(frozen=True)
class SemanticGuidance:
    """The OUTER_SAMPLE wrapper: samples with the concepts, leaves nothing behind."""

    concepts: tuple[EncodedConcept, ...]
    settings: Settings
    baseline: Baseline
    node_id: str
    supplied: GuidanceVectors | None
    record: Callable[[GuidanceVectors], None] | None

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
        # The host packs latents of several parts (video and sound) into one row; each part is guided by itself.
        shapes = [tuple(shape) for shape in kwargs.get("latent_shapes") or [noise.shape]]
        space = _space(guider.model_patcher)
        if self.supplied is not None:
            self._check_supplied(self.supplied, shapes, space)
        sampling = GuidedSampling(self, guider, shapes, sigmas.tolist())
        out = sampling.sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs)
        if self.record is not None and len(sigmas) > 1:
            texts = [encoded.text for encoded in self.concepts]
            settings = [encoded.concept for encoded in self.concepts]
            self.record(recorded(sampling.recorders(), space, settings, texts, self.settings))
        return out

    @property
    def names(self) -> list[str]:
        """What the concepts are called in errors."""
        return [concept_name(self.node_id, self.concepts, index) for index in range(len(self.concepts))]

    def _check_supplied(self, supplied: GuidanceVectors, shapes: Sequence[tuple[int, ...]], space: str) -> None:
        if supplied.space != space:
            raise ValueError(
                f"{self.node_id}: guidance was recorded with a model that predicts {supplied.space}, this one predicts "
                f"{space}; record it with a model of the same kind"
            )
        fits = len(supplied.shapes) == len(shapes) and all(
            theirs in (ours, (1, *ours[1:])) for theirs, ours in zip(supplied.shapes, shapes, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{self.node_id}: guidance must be for latents of shape {_named(shapes)}, got "
                f"{_named(supplied.shapes)}; record it at the same size and number of images"
            )


def _named(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(shape) for shape in shapes)


def _space(patcher: ModelPatcher) -> Space:
    """Return what (x - x0) / sigma is for a model: in flow models noise and image change places linearly."""
    flows = isinstance(patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST)
    return "velocity" if flows else "noise"
