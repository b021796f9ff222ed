"""SEGA inside ComfyUI's sampling: the only module that touches the host's sampling API.

A patched MODEL carries nothing but a `SemanticGuidance`, an immutable OUTER_SAMPLE wrapper. When a guider samples, the
wrapper gives the guider's own conds one entry per concept, so that the host encodes, areas, hooks and memory-plans
them as it does the prompts, and puts the two functions of a `_SamplingRun` into the options that the guider made for
this run. Both are gone when the sampling ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
from torch import Tensor

from ..sega_core import Run, Settings, step_of_sigma
from .types import EncodedConcept

Baseline = Literal["auto", "negative", "positive"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

# Where the two prompts stand in the host's `cond_or_uncond`.
_PROMPT_INDEX = {"positive": 0, "negative": 1}

# Conditioning keys that say where, when and with what besides text a prompt acts. A concept takes them from its
# baseline, so that the difference of the two estimates holds the text alone.
_NOT_TEXT = frozenset(
    {
        "area", "strength", "mask", "mask_strength", "set_area_to_bounds", "start_percent", "end_percent", "default",
        "control", "control_apply_to_uncond", "gligen", "hooks", "additional_models", "prompt_type", "uuid",
        "model_conds", "concat_latent_image", "concat_mask", "concat_image", "noise_augmentation",
        "augmentation_level", "unclip_conditioning", "clip_vision_output", "guidance", "width", "height", "crop_w",
        "crop_h", "target_width", "target_height", "aesthetic_score", "frame_rate", "reference_latents",
        "reference_latents_method",
    }
)  # fmt: skip


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
        patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "sega", wrapper)
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
        run = Run([encoded.concept for encoded in self.concepts], self.settings, len(sigmas) - 1)
        if run.needs_no_pass:
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        options = guider.model_options
        baseline = self._baseline(guider, options)
        entries = {
            ("sega", id(run), index): self._conditioning(guider.conds[baseline], baseline, index)
            for index in range(len(self.concepts))
        }
        if baseline == "negative":
            options["disable_cfg1_optimization"] = True
        guider.conds.update(entries)
        sampling = _SamplingRun(guider, run, tuple(entries), baseline, sigmas.tolist())
        # Another pack's function stays in charge; the concepts then get a call of their own after it.
        options.setdefault("sampler_calc_cond_batch_function", sampling.calc_cond_batch)
        options["sampler_post_cfg_function"] = [*options.get("sampler_post_cfg_function", []), sampling.post_cfg]
        try:
            return executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            for key in entries:
                guider.conds.pop(key, None)

    def _baseline(self, guider: Any, options: dict[str, Any]) -> Literal["negative", "positive"]:
        has_negative = "negative" in guider.conds
        if self.baseline == "negative" and not has_negative:
            raise ValueError(
                f"{self.node_id}: baseline 'negative' needs a negative prompt, and this guider has none; "
                "use 'auto' or 'positive'"
            )
        if self.baseline != "auto":
            return self.baseline
        uses_host_cfg = type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise
        skips_negative = (
            uses_host_cfg and math.isclose(guider.cfg, 1.0) and not options.get("disable_cfg1_optimization", False)
        )
        return "negative" if has_negative and not skips_negative else "positive"

    def _conditioning(self, baseline_entries: list[dict], baseline: str, index: int) -> list[dict]:
        """Return the baseline's conditioning with the concept's text in place of its own."""
        encoded = self.concepts[index]
        out = []
        for text_entry in comfy.sampler_helpers.convert_cond(encoded.conditioning):
            text = {key: value for key, value in text_entry.items() if key not in _NOT_TEXT}
            for entry in baseline_entries:
                self._check_width(entry, text, index)
                out.append({"prompt_type": baseline, **entry, **text, "uuid": text_entry["uuid"]})
        return out

    def _check_width(self, baseline_entry: dict, text: dict, index: int) -> None:
        expected, got = baseline_entry.get("cross_attn"), text.get("cross_attn")
        if expected is not None and got is not None and expected.shape[-1] != got.shape[-1]:
            raise ValueError(
                f"{self.node_id}: concepts: concept {index + 1} ({self.concepts[index].text!r}) is encoded for another "
                f"model family: its width is {got.shape[-1]}, the prompt's is {expected.shape[-1]}; encode it with the "
                "CLIP that belongs to the model"
            )


@dataclass(frozen=True)
class _Estimates:
    """The x0 estimates of one evaluation of the model at `x`."""

    x: Tensor
    step: int
    baseline: Tensor | None
    concepts: dict[int, Tensor]


class _SamplingRun:
    """The two functions that the host calls at each evaluation, and what they carry from one to the other."""

    def __init__(
        self, guider: Any, run: Run, keys: Sequence[Any], baseline: Literal["negative", "positive"], sigmas: list[float]
    ) -> None:
        self.guider = guider
        self.run = run
        self.keys = keys
        self.baseline = baseline
        self.sigmas = sigmas
        self.step = 0
        self.estimates: _Estimates | None = None

    def calc_cond_batch(self, args: dict[str, Any]) -> list[Tensor]:
        """Evaluate the host's conds and the concepts that this step needs in one call of the host's."""
        out, self.estimates = self._evaluate(args, args["conds"])
        return out

    def post_cfg(self, args: dict[str, Any]) -> Tensor:
        """Add the guidance to the CFG result: `denoised - sigma * guidance`."""
        estimates, self.estimates = self.estimates, None
        x, sigma, denoised = args["input"], args["sigma"], args["denoised"]
        if estimates is None or estimates.x is not x:
            _, estimates = self._evaluate(args, [], self._known_baseline(args))
        sigma = sigma.view(-1, *[1] * (x.ndim - 1))
        differences = {c: (estimates.baseline - x0) / sigma for c, x0 in estimates.concepts.items()}
        guidance = self.run.guidance(estimates.step, differences)
        if guidance is None:
            return denoised
        return (denoised - sigma * guidance).to(denoised.dtype)

    def _known_baseline(self, args: dict[str, Any]) -> Tensor | None:
        """Return the baseline's estimate where the guider evaluated it itself."""
        cond = self.guider.conds[self.baseline]
        for name in ("cond", "uncond"):
            if args.get(name) is cond:
                return args[f"{name}_denoised"]
        return None

    def _evaluate(
        self, args: dict[str, Any], conds: list[Any], baseline: Tensor | None = None
    ) -> tuple[list[Tensor], _Estimates]:
        """Run `conds`, the concepts of this step and, where nobody else did, the baseline through the model."""
        x, sigma = args["input"], args["sigma"]
        # The one number read back per evaluation: which passes to run is decided on the CPU.
        self.step = step_of_sigma(float(sigma.max()), self.sigmas, self.step)
        needed = self.run.needed(self.step)
        passes = [self.guider.conds[self.keys[c]] for c in needed]
        baseline_cond = self.guider.conds[self.baseline]
        if needed and baseline is None:
            at = next((i for i, cond in enumerate(conds) if cond is baseline_cond), None)
            if at is None:
                passes.append(baseline_cond)
        options = args["model_options"]
        if passes:
            options = _show_as_baseline(options, len(passes), _PROMPT_INDEX[self.baseline])
        out = []
        if passes or conds:
            # The host batches from the end: the prompts come first in the batch, where attention patches that look
            # for the first 0 or 1 find them.
            out = comfy.samplers.calc_cond_batch(args["model"], [*passes, *conds], x, sigma, options)
        host_out = out[len(passes) :]
        if needed and baseline is None:
            baseline = out[len(needed)] if at is None else host_out[at]
        return host_out, _Estimates(x, self.step, baseline, dict(zip(needed, out, strict=False)))


def _show_as_baseline(options: dict[str, Any], passes: int, index: int) -> dict[str, Any]:
    """Return options under which the first `passes` conds look like the prompt `index` to every patch.

    Attention patches know 0 (positive) and 1 (negative) only.
    """

    def shown(cond_or_uncond: list[int]) -> list[int]:
        return [index if i < passes else i - passes for i in cond_or_uncond]

    def shown_once(transformer_options: dict[str, Any]) -> dict[str, Any]:
        # A model function wrapper hands on, whole or chunk by chunk, the labels that it was shown.
        if "sega_shown" in transformer_options:
            return transformer_options
        labels = shown(transformer_options["cond_or_uncond"])
        return {**transformer_options, "cond_or_uncond": labels, "sega_shown": True}

    def apply_model(
        executor: Any, x: Any, t: Any, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ) -> Tensor:
        return executor(x, t, c_concat, c_crossattn, control, shown_once(transformer_options), **kwargs)

    options = comfy.model_patcher.create_model_options_clone(options)
    comfy.patcher_extension.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.APPLY_MODEL, "sega", apply_model, options, is_model_options=True
    )
    wrapper: Callable | None = options.get("model_function_wrapper")
    if wrapper is not None:

        def wrapper_shown(apply: Callable, params: dict[str, Any]) -> Tensor:
            c = {**params["c"], "transformer_options": shown_once(params["c"]["transformer_options"])}
            return wrapper(apply, {**params, "c": c, "cond_or_uncond": shown(params["cond_or_uncond"])})

        options["model_function_wrapper"] = wrapper_shown
    return options
