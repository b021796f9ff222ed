"""SEGA inside ComfyUI's sampling: what a patched MODEL carries, and what a guider is given when it samples.

A patched MODEL carries nothing but a `SemanticGuidance`, an immutable OUTER_SAMPLE wrapper. When a guider samples, the
wrapper gives the guider's own conds one list per concept, so that the host encodes, areas, hooks and memory-plans
them as it does the prompts, and puts the functions of a `SamplingRun` into the options that the guider made for this
run. All are gone when the sampling ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import comfy.model_patcher
import comfy.model_sampling
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..sega_core import GuidanceVectors, Recorder, Run, Settings, recorded
from .attention_maps import check_attention
from .concept_conditioning import concept_conds
from .sampling_run import PROMPT_INDEX, ConceptKey, Prompt, SamplingRun, uses_host_cfg
from .types import EncodedConcept, concept_name

Baseline = Literal["auto", "negative", "positive"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


def patch_model(
    model: Any,
    concepts: Sequence[EncodedConcept],
    settings: Settings,
    baseline: Baseline,
    node_id: str,
    guidance: GuidanceVectors | None = None,
    record: Callable[[GuidanceVectors], None] | None = None,
) -> Any:
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

    def __call__(self, executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Tensor, *args, **kwargs):
        guider = executor.class_obj
        # The host packs latents of several parts (video and sound) into one row; each part is guided by itself.
        shapes = [tuple(shape) for shape in kwargs.get("latent_shapes") or [noise.shape]]
        schedule = sigmas.tolist()
        concepts = [encoded.concept for encoded in self.concepts]
        recorders = [Recorder(shape, schedule, len(concepts)) for shape in shapes] if self.record else []
        runs = [
            Run(concepts, self.settings, len(schedule) - 1, recorders[part] if recorders else None)
            for part in range(len(shapes))
        ]
        space = _space(guider.model_patcher)
        if self.supplied is not None:
            self._check_supplied(self.supplied, shapes, space)
        if len(schedule) < 2 or (runs[0].needs_no_pass and self.supplied is None):
            out = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        else:
            sampling = self._sampling(guider, runs, shapes, schedule)
            out = sampling.sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs)
            if not out.isfinite().all():
                raise ValueError(
                    f"{self.node_id}: the latent has become NaN or infinite; lower the concepts' guidance_scale or "
                    "weight, momentum_scale or cfg, and look whether the model gives an image without concepts"
                )
        if self.record is not None and len(schedule) > 1:
            texts = [encoded.text for encoded in self.concepts]
            self.record(recorded(recorders, space, concepts, texts, self.settings))
        return out

    def _sampling(
        self, guider: Any, runs: Sequence[Run], shapes: Sequence[tuple[int, ...]], schedule: list[float]
    ) -> SamplingRun:
        lists: dict[ConceptKey, list[dict[str, Any]]] = {}
        # The guidance of another run needs no baseline.
        baseline: Prompt = "positive"
        if not runs[0].needs_no_pass:
            baseline = self._baseline(guider)
            lists = {
                ("sega", id(runs), index, text): conds
                for index in range(len(self.concepts))
                for text, conds in enumerate(self._conds(index, guider, baseline))
            }
        return SamplingRun(guider, self.node_id, self.concepts, lists, baseline, runs, shapes, schedule, self.supplied)

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

    def _baseline(self, guider: Any) -> Prompt:
        prompts = [name for name in PROMPT_INDEX if guider.conds.get(name)]
        if self.baseline != "auto":
            if self.baseline not in prompts:
                raise ValueError(
                    f"{self.node_id}: baseline {self.baseline!r} needs a {self.baseline} prompt, and this guider has "
                    f"none; use {' or '.join(repr(choice) for choice in ['auto', *prompts])}"
                )
            return self.baseline
        if not prompts:
            raise ValueError(
                f"{self.node_id}: baseline 'auto' needs a positive or a negative prompt, and {type(guider).__name__} "
                "has neither; use CFGGuider or KSampler"
            )
        keeps_negative = guider.model_options.get("disable_cfg1_optimization", False)
        # With a second model for the negative prompt, cfg 1 leaves it out whatever the options say.
        of_two_models = hasattr(guider, "uncond_model_patcher")
        at_cfg_1 = (uses_host_cfg(guider) or of_two_models) and math.isclose(guider.cfg, 1.0)
        skips_negative = at_cfg_1 and (of_two_models or not keeps_negative)
        return "negative" if prompts == ["negative"] or ("negative" in prompts and not skips_negative) else "positive"

    def _conds(self, index: int, guider: Any, baseline: Prompt) -> list[list[dict[str, Any]]]:
        entries = comfy.sampler_helpers.convert_cond(self.concepts[index].conditioning)
        model, name = guider.model_patcher.model, concept_name(self.node_id, self.concepts, index)
        if self.concepts[index].concept.attention_threshold > 0:
            check_attention(model.diffusion_model, guider.conds[baseline], name)
        return concept_conds(entries, guider.conds[baseline], baseline, model, name)


def _named(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(shape) for shape in shapes)


def _space(patcher: Any) -> Literal["noise", "velocity"]:
    """Return what (x - x0) / sigma is for a model: in flow models noise and image change places linearly."""
    flows = isinstance(patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST)
    return "velocity" if flows else "noise"
