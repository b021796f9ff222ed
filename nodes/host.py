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
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..sega_core import Run, Settings, step_of_sigma
from .concept_conditioning import check_text_is_used, concept_conds
from .prompt_labels import show_as_prompt
from .types import EncodedConcept

Baseline = Literal["auto", "negative", "positive"]
Prompt = Literal["negative", "positive"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

# Where the two prompts stand in the host's `cond_or_uncond`.
_PROMPT_INDEX = {"positive": 0, "negative": 1}


def patch_model(
    model: Any, concepts: Sequence[EncodedConcept], settings: Settings, baseline: Baseline, node_id: str
) -> Any:
    """Return a clone of the host's MODEL that samples with semantic guidance.

    Args:
        model: ModelPatcher; not changed.
        concepts: none leaves the sampling as it is.
        settings: what the concepts share.
        baseline: the estimate that the concepts are compared with; "auto" is the negative prompt's where the sampling
            uses it and the positive prompt's where it does not (cfg 1).
        node_id: named in errors.

    Raises:
        ValueError: baseline is none of these.
    """
    if baseline not in BASELINES:
        raise ValueError(f"{node_id}: baseline must be one of {', '.join(BASELINES)}, got {baseline!r}")
    patched = model.clone()
    if concepts:
        wrapper = SemanticGuidance(tuple(concepts), settings, baseline, node_id)
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "sega", wrapper)
    return patched


@dataclass(frozen=True)
class SemanticGuidance:
    """The OUTER_SAMPLE wrapper: samples with the concepts, leaves nothing behind."""

    concepts: tuple[EncodedConcept, ...]
    settings: Settings
    baseline: Baseline
    node_id: str

    def __call__(self, executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Tensor, *args, **kwargs):
        guider = executor.class_obj
        # The host packs latents of several parts (video and sound) into one row; each part is guided by itself.
        shapes = kwargs.get("latent_shapes") or [noise.shape]
        runs = [Run([encoded.concept for encoded in self.concepts], self.settings, len(sigmas) - 1) for _ in shapes]
        if runs[0].needs_no_pass:
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        baseline = self._baseline(guider)
        lists = {
            ("sega", id(runs), index, text): conds
            for index in range(len(self.concepts))
            for text, conds in enumerate(self._conds(index, guider, baseline))
        }
        sampling = _SamplingRun(guider, runs, shapes, list(lists), baseline, sigmas.tolist(), self._name_of)
        # A wrapper around this one may sample several times; each time has options of its own.
        options = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(options)
        guider.conds.update(lists)
        try:
            sampling.join(guider.model_options)
            out = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            guider.model_options = options
            for key in lists:
                guider.conds.pop(key, None)
        if not sampling.took_part:
            raise ValueError(
                f"{self.node_id}: concepts: no concept can act, because {type(guider).__name__} or its sampler does "
                "not predict the way ComfyUI's guiders do; use CFGGuider or KSampler"
            )
        return out

    def _baseline(self, guider: Any) -> Prompt:
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

    def _conds(self, index: int, guider: Any, baseline: Prompt) -> list[list[dict[str, Any]]]:
        entries = comfy.sampler_helpers.convert_cond(self.concepts[index].conditioning)
        model = guider.model_patcher.model
        return concept_conds(entries, guider.conds[baseline], baseline, model, self._name_of(index))

    def _name_of(self, index: int) -> str:
        return f"{self.node_id}: concepts: concept {index + 1} ({self.concepts[index].text!r})"


class _SamplingRun:
    """The functions that the host calls at each evaluation, and what they carry from one to the other."""

    def __init__(
        self,
        guider: Any,
        runs: Sequence[Run],
        shapes: Sequence[Any],
        keys: Sequence[tuple[str, int, int, int]],
        baseline: Prompt,
        sigmas: list[float],
        name_of: Callable[[int], str],
    ) -> None:
        self.guider = guider
        self.runs = runs
        self.shapes = shapes
        self.keys = keys
        self.baseline = baseline
        self.sigmas = sigmas
        self.name_of = name_of
        self.step = 0
        self.took_part = False
        self.checked = False
        self.baseline_again: list[dict[str, Any]] | None = None
        self.size: Any = None
        # While a prediction is under way: the latents it is made at, the concepts it needs, what is known already.
        self.x: Tensor | None = None
        self.needed: tuple[int, ...] = ()
        self.differences: dict[int, Tensor] | None = None
        self.seen_baseline: Tensor | None = None

    def join(self, options: dict[str, Any]) -> None:
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
            raise ValueError(
                f"{self.name_of(0)} cannot act: this sampler makes the video block by block and keeps what the model "
                "made of every pass, a concept's too; use another sampler"
            )
        # The one number read back per evaluation: which passes to run is decided on the CPU.
        sigma = float(timestep.max())
        self.step = step_of_sigma(sigma, self.sigmas, self.step)
        # Without noise the estimate of the noise means nothing, and the guidance is multiplied by zero.
        self.needed = self.runs[0].needed(self.step) if sigma > 0 else ()
        if self.size not in (None, x.shape):
            for run in self.runs:
                run.forget_momentum()
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
        guidance = self._guidance({c: difference / sigma_of for c, difference in differences.items()})
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
            for key in self.keys:
                check_text_is_used(self.guider.conds[key], baseline_cond, self.name_of(key[2]))
        keys = [key for key in self.keys if key[2] in self.needed]
        passes = [self.guider.conds[key] for key in keys]
        at = next((i for i, cond in enumerate(conds) if cond is baseline_cond), None)
        if baseline is None and at is None:
            # EasyCache knows a cond by its uuid, and takes a second evaluation in a step for the first of the next.
            if self.baseline_again is None:
                self.baseline_again = [{**entry, "uuid": uuid.uuid4()} for entry in baseline_cond]
            passes.append(self.baseline_again)
        together, shown = show_as_prompt([*passes, *conds], options, len(passes), _PROMPT_INDEX[self.baseline])
        # The host batches from the end: the prompts come first in the batch, where attention patches that look for
        # the first 0 or 1 find them.
        calls = [[cond] for cond in together] if _mixes_texts(self.guider.inner_model) else [together]
        out = [x0 for c in calls for x0 in comfy.samplers.calc_cond_batch(self.guider.inner_model, c, x, sigma, shown)]
        prompts = out[len(passes) :]
        if baseline is None:
            baseline = out[len(keys)] if at is None else prompts[at]
        # Now, because CFG functions may change the prompts' estimates in place.
        differences = {
            c: baseline - _mean([x0 for key, x0 in zip(keys, out, strict=False) if key[2] == c]) for c in self.needed
        }
        return prompts, differences

    def _guidance(self, differences: dict[int, Tensor]) -> Tensor | None:
        """Return the guidance of all parts of the latents, in the shape the host samples them in."""
        unpacked = {c: comfy.utils.unpack_latents(d, self.shapes) for c, d in differences.items()}
        parts = [
            run.guidance(self.step, {c: pieces[i] for c, pieces in unpacked.items()}) for i, run in enumerate(self.runs)
        ]
        if len(parts) == 1 or parts[0] is None:
            return parts[0]
        return comfy.utils.pack_latents(parts)[0]


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
