"""SEGA inside ComfyUI's sampling: the only module that touches the host's sampling API, besides `prompt_labels`.

A patched MODEL carries nothing but a `SemanticGuidance`, an immutable OUTER_SAMPLE wrapper. When a guider samples, the
wrapper gives the guider's own conds one list per concept, so that the host encodes, areas, hooks and memory-plans
them as it does the prompts, and puts the functions of a `_SamplingRun` into the options that the guider made for this
run. All are gone when the sampling ends.
"""

from __future__ import annotations

import math
import uuid
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

from ..sega_core import GuidanceVectors, Recorder, Run, Settings, recorded, step_of_sigma
from .attention_maps import AttentionMaps, check_attention
from .concept_conditioning import check_text_is_used, concept_conds
from .prompt_labels import show_as_prompt
from .types import EncodedConcept

Baseline = Literal["auto", "negative", "positive"]
Prompt = Literal["negative", "positive"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

# Where the two prompts stand in the host's `cond_or_uncond`.
_PROMPT_INDEX = {"positive": 0, "negative": 1}


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
        space = _space(guider.model_patcher.model)
        if self.supplied is not None:
            self._check_supplied(self.supplied, shapes, space)
        if runs[0].needs_no_pass and self.supplied is None:
            out = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        else:
            sampling = _SamplingRun(guider, self, runs, shapes, schedule)
            out = sampling.sample(executor, noise, latent_image, sampler, sigmas, *args, **kwargs)
        if self.record is not None and len(schedule) > 1:
            texts = [encoded.text for encoded in self.concepts]
            self.record(recorded(recorders, space, concepts, texts, self.settings))
        return out

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

    def baseline_of(self, guider: Any) -> Prompt:
        """Return which prompt the concepts are compared with."""
        prompts = [name for name in _PROMPT_INDEX if guider.conds.get(name)]
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
        at_cfg_1 = (_uses_host_cfg(guider) or of_two_models) and math.isclose(guider.cfg, 1.0)
        skips_negative = at_cfg_1 and (of_two_models or not keeps_negative)
        return "negative" if prompts == ["negative"] or ("negative" in prompts and not skips_negative) else "positive"

    def conds_of(self, index: int, guider: Any, baseline: Prompt) -> list[list[dict[str, Any]]]:
        """Return a concept's conds, a list for each of its texts."""
        entries = comfy.sampler_helpers.convert_cond(self.concepts[index].conditioning)
        model, name = guider.model_patcher.model, self.name_of(index)
        if self.concepts[index].concept.attention_threshold > 0:
            check_attention(model.diffusion_model, guider.conds[baseline], name)
        return concept_conds(entries, guider.conds[baseline], baseline, model, name)

    def name_of(self, index: int) -> str:
        """Return what a concept is called in errors."""
        return f"{self.node_id}: concepts: concept {index + 1} ({self.concepts[index].text!r})"


class _SamplingRun:
    """The functions that the host calls at each evaluation, and what they carry from one to the other."""

    def __init__(
        self,
        guider: Any,
        asked: SemanticGuidance,
        runs: Sequence[Run],
        shapes: Sequence[tuple[int, ...]],
        schedule: list[float],
    ) -> None:
        self.guider = guider
        self.asked = asked
        self.runs = runs
        self.shapes = shapes
        self.schedule = schedule
        # Guidance of another run needs no baseline.
        self.baseline: Prompt = "positive" if runs[0].needs_no_pass else asked.baseline_of(guider)
        # (_, this run, concept, text) for each list that is evaluated, as the guider's conds know it.
        self.lists: dict[tuple[str, int, int, int], list[dict[str, Any]]] = {}
        self.step = 0
        self.supplied_step = 0
        self.took_part = False
        self.checked = False
        self.baseline_again: list[dict[str, Any]] | None = None
        self.size: Any = None
        self.masks: dict[int, Tensor] = {}
        # What the words of each concept were last seen to attend to: caches leave out the network now and then.
        self.attention: dict[int, Tensor] = {}
        # While a prediction is under way: the latents it is made at, the concepts it needs, what is known already.
        self.x: Tensor | None = None
        self.needed: tuple[int, ...] = ()
        self.differences: dict[int, Tensor] | None = None
        self.seen_baseline: Tensor | None = None

    def sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Sample with the concepts in the guider's conds and this run's functions in its options; leave neither."""
        guider = self.guider
        if not self.runs[0].needs_no_pass:
            self.lists = {
                ("sega", id(self), index, text): conds
                for index in range(len(self.asked.concepts))
                for text, conds in enumerate(self.asked.conds_of(index, guider, self.baseline))
            }
        # A wrapper around this one may sample several times; each time has options of its own.
        options = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(options)
        guider.conds.update(self.lists)
        try:
            self._join(guider.model_options)
            out = executor(*args, **kwargs)
        finally:
            guider.model_options = options
            for key in self.lists:
                guider.conds.pop(key, None)
        if not self.took_part:
            raise ValueError(
                f"{self.asked.node_id}: concepts: no concept can act, because {type(guider).__name__} or its sampler "
                "does not predict the way ComfyUI's guiders do; use CFGGuider or KSampler"
            )
        return out

    def _join(self, options: dict[str, Any]) -> None:
        """Enter the options of a run."""
        if self.baseline == "negative":
            options["disable_cfg1_optimization"] = True
        # Another pack's function stays in charge; the concepts then get a call of their own.
        options.setdefault("sampler_calc_cond_batch_function", self.calc_cond_batch)
        if not _uses_host_cfg(self.guider):
            options["sampler_post_cfg_function"] = [*options.get("sampler_post_cfg_function", []), self.see_baseline]
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.PREDICT_NOISE, "sega", self.predict_noise, options, is_model_options=True
        )

    def predict_noise(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: Any = None
    ) -> Tensor:
        """Add the guidance to what the guider predicts: `denoised - sigma * guidance`.

        The guider's own prediction is complete here, with every CFG function of other packs.
        """
        options = model_options or {}
        if "ar_state" in options.get("transformer_options", {}):
            who = self.asked.name_of(0) if self.asked.concepts else f"{self.asked.node_id}: guidance"
            raise ValueError(
                f"{who} cannot act: this sampler makes the video block by block and keeps what the model made of every "
                "pass, a concept's too; use another sampler"
            )
        # The one number read back per evaluation: which passes to run is decided on the CPU.
        sigma = float(timestep.max())
        self.step = step_of_sigma(sigma, self.schedule, self.step)
        # Without noise the estimate of the noise means nothing, and the guidance is multiplied by zero.
        self.needed = self.runs[0].needed(self.step) if sigma > 0 else ()
        if self.size not in (None, x.shape):
            for run in self.runs:
                run.forget_momentum()
            self.masks = {}
        self.size = x.shape
        self.x, self.differences, self.seen_baseline = x, None, None
        if self.needed and _looks_across_the_batch(self.guider.inner_model, options):
            self.differences = self._evaluate([], x, timestep, options)[1]
        denoised = executor(x, timestep, options, seed)
        if self.needed and self.differences is None:
            self.differences = self._evaluate([], x, timestep, options, self.seen_baseline)[1]
        self.x, differences = None, self.differences or {}
        self.took_part = True
        if sigma == 0:
            return denoised
        sigma_of = timestep.view(-1, *[1] * (x.ndim - 1))
        guidance = self._guidance({c: difference / sigma_of for c, difference in differences.items()}, sigma)
        if self.asked.supplied is not None:
            supplied = self._supplied(self.asked.supplied, sigma, x)
            guidance = supplied if guidance is None else guidance + supplied
        if guidance is None:
            return denoised
        return (denoised - sigma_of * guidance).to(denoised.dtype)

    def calc_cond_batch(self, args: dict[str, Any]) -> list[Tensor]:
        """Evaluate the host's conds and the concepts that this step needs in one call of the host's."""
        x, sigma, options = args["input"], args["sigma"], args["model_options"]
        if x is not self.x or not self.needed or self.differences is not None:
            return comfy.samplers.calc_cond_batch(args["model"], args["conds"], x, sigma, options)
        out, self.differences = self._evaluate(args["conds"], x, sigma, options)
        return out

    def see_baseline(self, args: dict[str, Any]) -> Tensor:
        """Remember the baseline's estimate where a guider with CFG of its own has evaluated it: a post-CFG function."""
        changed = args["model_options"].get("sampler_pre_cfg_function")
        if args["input"] is self.x and args["uncond"] is self.guider.conds[self.baseline] and not changed:
            self.seen_baseline = args["uncond_denoised"]
        return args["denoised"]

    def _evaluate(
        self, conds: list[Any], x: Tensor, sigma: Tensor, options: dict[str, Any], baseline: Tensor | None = None
    ) -> tuple[list[Tensor], dict[int, Tensor]]:
        """Run `conds`, this step's concepts and, where nobody else did, the baseline through the model."""
        baseline_cond = self.guider.conds[self.baseline]
        if not self.checked:
            self.checked = True
            for key in self.lists:
                check_text_is_used(self.guider.conds[key], baseline_cond, self.asked.name_of(key[2]))
        keys = [key for key in self.lists if key[2] in self.needed]
        passes = [self.guider.conds[key] for key in keys]
        at = next((i for i, cond in enumerate(conds) if cond is baseline_cond), None)
        if baseline is None and at is None:
            # EasyCache knows a cond by its uuid, and takes a second evaluation in a step for the first of the next.
            if self.baseline_again is None:
                self.baseline_again = [{**entry, "uuid": uuid.uuid4()} for entry in baseline_cond]
            passes.append(self.baseline_again)
        together, shown = show_as_prompt([*passes, *conds], options, len(passes), _PROMPT_INDEX[self.baseline])
        maps = self._attention_maps(keys, x)
        if maps is not None:
            shown = maps.watch(shown)
        # The host batches from the end: the prompts come first in the batch, where attention patches that look for
        # the first 0 or 1 find them.
        calls = [[cond] for cond in together] if _mixes_texts(self.guider.inner_model) else [together]
        out = [x0 for c in calls for x0 in comfy.samplers.calc_cond_batch(self.guider.inner_model, c, x, sigma, shown)]
        if maps is not None:
            self._see_attention(maps, keys, x)
        prompts = out[len(passes) :]
        if baseline is None:
            baseline = out[len(keys)] if at is None else prompts[at]
        # Now, because CFG functions may change the prompts' estimates in place.
        differences = {
            c: baseline - _mean([x0 for key, x0 in zip(keys, out, strict=False) if key[2] == c]) for c in self.needed
        }
        return prompts, differences

    def _attention_maps(self, keys: Sequence[tuple[str, int, int, int]], x: Tensor) -> AttentionMaps | None:
        """Return what watches the concepts whose attention counts; None where there is none."""
        words = {}
        for index, key in enumerate(keys):
            encoded = self.asked.concepts[key[2]]
            if encoded.concept.attention_threshold > 0:
                words[index] = (encoded.words, self.lists[key][0]["cross_attn"].shape[1])
        if not words:
            return None
        name = self.asked.name_of(keys[min(words)][2])
        return AttentionMaps(self.guider.inner_model.diffusion_model, words, x.shape[0], name)

    def _see_attention(self, maps: AttentionMaps, keys: Sequence[tuple[str, int, int, int]], x: Tensor) -> None:
        for c in self.needed:
            passes = [index for index, key in enumerate(keys) if key[2] == c and index in maps.words]
            seen = maps.map_of(passes)
            if seen is not None:
                self.attention[c] = seen.to(x.device)
            elif passes and c not in self.attention:
                raise ValueError(
                    f"{self.asked.name_of(c)}: attention_threshold cannot act: no cross-attention to the words was "
                    "seen, another patch replaces it; set it to 0 (off)"
                )

    def _guidance(self, differences: dict[int, Tensor], sigma: float) -> Tensor | None:
        """Return the guidance of all parts of the latents, in the shape the host samples them in."""
        unpacked = {c: comfy.utils.unpack_latents(d, self.shapes) for c, d in differences.items()}
        parts = []
        for i, run in enumerate(self.runs):
            pieces = {c: of_parts[i] for c, of_parts in unpacked.items()}
            # Masks are of the picture, which is the first part.
            masks = {c: self._mask(c, pieces[c]) for c in pieces if self.asked.concepts[c].mask is not None and i == 0}
            attention = {c: self.attention[c] for c in pieces if c in self.attention}
            parts.append(run.guidance(self.step, pieces, masks, attention, sigma))
        return None if parts[0] is None else _packed(parts)

    def _mask(self, index: int, latents: Tensor) -> Tensor:
        """Return a concept's mask in the size of the latents, (B, 1, *spatial)."""
        if index not in self.masks:
            if latents.ndim < 4:
                raise ValueError(
                    f"{self.asked.name_of(index)}: mask must not be connected: the latents of this model are no picture"
                )
            shape = (latents.shape[0], 1, *latents.shape[2:])
            mask = comfy.utils.reshape_mask(self.asked.concepts[index].mask, shape)
            self.masks[index] = mask.to(latents.device)
        return self.masks[index]

    def _supplied(self, supplied: GuidanceVectors, sigma: float, x: Tensor) -> Tensor:
        """Return the guidance of another run at this noise level."""
        self.supplied_step = supplied.step_at(sigma, self.supplied_step)
        parts = [guidance[self.supplied_step].to(x.device) for guidance in supplied.guidance]
        if len(parts) == 1 and parts[0].shape[1:] != x.shape[1:]:
            raise ValueError(
                f"{self.asked.node_id}: guidance must be for latents of shape {tuple(x.shape)}, got "
                f"{tuple(parts[0].shape)}; this sampler changes their size"
            )
        batch = [part.expand(shape[0], *part.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]
        return _packed(batch)


def _packed(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else comfy.utils.pack_latents(parts)[0]


def _named(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(shape) for shape in shapes)


def _space(model: Any) -> Literal["noise", "velocity"]:
    """Return what (x - x0) / sigma is for a model: flow models have noise and image change places linearly."""
    return "velocity" if isinstance(model.model_sampling, comfy.model_sampling.CONST) else "noise"


def _uses_host_cfg(guider: Any) -> bool:
    return type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise


def _mean(estimates: list[Tensor]) -> Tensor:
    return estimates[0] if len(estimates) == 1 else sum(estimates[1:], estimates[0]) / len(estimates)


def _looks_across_the_batch(model: Any, options: dict[str, Any]) -> bool:
    """Say whether what is evaluated together changes the estimates, so that the concepts need a call of their own.

    Patches of the self-attention may mix the prompts of a batch (NAG) or keep what the last call showed them (SAG).
    """
    transformer = options.get("transformer_options", {})
    patches, replaced = transformer.get("patches", {}), transformer.get("patches_replace", {})
    patched = patches.get("attn1_patch") or patches.get("attn1_output_patch") or replaced.get("attn1")
    return bool(patched) or _mixes_texts(model)


def _mixes_texts(model: Any) -> bool:
    """Say whether the network lets the texts of a batch into each other: SeedVR2's does."""
    return type(model.diffusion_model).__name__ == "NaDiT"
