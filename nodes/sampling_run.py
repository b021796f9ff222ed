"""One sampling with concepts: what the host calls at each evaluation, and what is carried from one to the other."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..sega_core import Differences, GuidanceVectors, Run, step_of_sigma
from .attention_maps import AttentionMaps
from .concept_conditioning import check_text_is_used
from .prompt_labels import show_as_prompt
from .types import EncodedConcept, concept_name

Prompt = Literal["negative", "positive"]

# What the guider's conds know a concept's list by: ("sega", of this sampling, concept, text).
ConceptKey = tuple[str, int, int, int]

# Where the two prompts stand in the host's `cond_or_uncond`.
PROMPT_INDEX: dict[Prompt, int] = {"positive": 0, "negative": 1}


class SamplingRun:
    """The functions that the host calls at each evaluation, and what they carry from one to the other."""

    def __init__(
        self,
        guider: Any,
        node_id: str,
        concepts: Sequence[EncodedConcept],
        lists: dict[ConceptKey, list[dict[str, Any]]],
        baseline: Prompt,
        runs: Sequence[Run],
        shapes: Sequence[tuple[int, ...]],
        schedule: list[float],
        supplied: GuidanceVectors | None,
    ) -> None:
        self.guider = guider
        self.node_id = node_id
        self.concepts = concepts
        self.lists = lists
        self.baseline = baseline
        self.runs = runs
        self.shapes = shapes
        self.schedule = schedule
        self.supplied = supplied
        self.step = 0
        self.sigma = 0.0
        self.supplied_step = 0
        self.took_part = False
        self.checked = False
        self.baseline_again: list[dict[str, Any]] | None = None
        self.size: Any = None
        self.masks: dict[int, Tensor] = {}
        # What the words of each concept were last seen to attend to: caches leave out the network now and then.
        self.attention: dict[int, Tensor] = {}
        # While a prediction is under way: the latents it is made at, the concepts that it still needs, and what is
        # known already.
        self.x: Tensor | None = None
        self.needed: tuple[int, ...] = ()
        self.guidance: Tensor | None = None
        self.seen_baseline: Tensor | None = None

    def sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Sample with the concepts in the guider's conds and this run's functions in its options; leave neither."""
        guider = self.guider
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
            what = "concepts: no concept can act" if self.concepts else "guidance: it cannot act"
            raise ValueError(
                f"{self.node_id}: {what}, because {type(guider).__name__} or its sampler does not predict the way "
                "ComfyUI's guiders do; use CFGGuider or KSampler"
            )
        return out

    def _join(self, options: dict[str, Any]) -> None:
        """Enter the options of a run."""
        if self.baseline == "negative":
            options["disable_cfg1_optimization"] = True
        # Another pack's function stays in charge; the concepts then get a call of their own.
        options.setdefault("sampler_calc_cond_batch_function", self.calc_cond_batch)
        if not uses_host_cfg(self.guider):
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
            who = self._name_of(0) if self.concepts else f"{self.node_id}: guidance"
            raise ValueError(
                f"{who} cannot act: this sampler makes the video block by block and keeps what the model made of every "
                "pass, a concept's too; use another sampler"
            )
        # The one number read back per evaluation: which passes to run is decided on the CPU.
        self.sigma = sigma = float(timestep.max())
        self.step = step_of_sigma(sigma, self.schedule, self.step)
        # Without noise the estimate of the noise means nothing, and the guidance is multiplied by zero.
        self.needed = self.runs[0].needed(self.step) if sigma > 0 else ()
        if self.size not in (None, x.shape):
            if self.runs[0].recorder is not None:
                raise ValueError(
                    f"{self.node_id}: guidance cannot be recorded where the latents change size, from "
                    f"{tuple(self.size)} to {tuple(x.shape)}; do not connect this output"
                )
            for run in self.runs:
                run.forget()
            self.masks = {}
        self.size = x.shape
        self.x, self.guidance, self.seen_baseline = x, None, None
        if self.needed and _looks_across_the_batch(self.guider.inner_model, options):
            self._evaluate([], x, timestep, options)
        elif not self.needed and sigma > 0:
            # Only what earlier steps left.
            self.guidance = self._guide(timestep)
        denoised = executor(x, timestep, options, seed)
        if self.needed:
            self._evaluate([], x, timestep, options, self.seen_baseline)
        self.took_part = True
        guidance, self.x, self.guidance, self.seen_baseline = self.guidance, None, None, None
        if sigma == 0:
            return denoised
        supplied = None if self.supplied is None else self._supplied(self.supplied, sigma, x)
        if supplied is not None:
            guidance = supplied if guidance is None else guidance + supplied
        if guidance is None:
            return denoised
        sigma_of = timestep.view(-1, *[1] * (x.ndim - 1))
        return torch.addcmul(denoised, sigma_of, guidance, value=-1).to(denoised.dtype)

    def calc_cond_batch(self, args: dict[str, Any]) -> list[Tensor]:
        """Evaluate the host's conds and the concepts that this step needs in one call of the host's."""
        x, sigma, options = args["input"], args["sigma"], args["model_options"]
        if x is not self.x or not self.needed:
            return comfy.samplers.calc_cond_batch(args["model"], args["conds"], x, sigma, options)
        return self._evaluate(args["conds"], x, sigma, options)

    def see_baseline(self, args: dict[str, Any]) -> Tensor:
        """Remember the baseline's estimate where a guider with CFG of its own has evaluated it: a post-CFG function."""
        changed = args["model_options"].get("sampler_pre_cfg_function")
        if args["input"] is self.x and args["uncond"] is self.guider.conds[self.baseline] and not changed:
            self.seen_baseline = args["uncond_denoised"]
        return args["denoised"]

    def _evaluate(
        self, conds: list[Any], x: Tensor, sigma: Tensor, options: dict[str, Any], baseline: Tensor | None = None
    ) -> list[Tensor]:
        """Run `conds`, this step's concepts and, where nobody else did, the baseline through the model.

        Returns what `conds` gave, and keeps the guidance: made at once, because CFG functions may change the prompts'
        estimates in place, and so that nothing holds on to the concepts' estimates.
        """
        baseline_cond = self.guider.conds[self.baseline]
        if not self.checked:
            self.checked = True
            for key in self.lists:
                check_text_is_used(self.guider.conds[key], baseline_cond, self._name_of(key[2]))
        keys = [key for key in self.lists if key[2] in self.needed]
        passes = [self.guider.conds[key] for key in keys]
        at = next((i for i, cond in enumerate(conds) if cond is baseline_cond), None)
        if baseline is None and at is None:
            # EasyCache knows a cond by its uuid, and takes a second evaluation in a step for the first of the next.
            if self.baseline_again is None:
                self.baseline_again = [{**entry, "uuid": uuid.uuid4()} for entry in baseline_cond]
            passes.append(self.baseline_again)
        together, shown = show_as_prompt([*passes, *conds], options, len(passes), PROMPT_INDEX[self.baseline])
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
        estimates = {c: [x0 for key, x0 in zip(keys, out, strict=False) if key[2] == c] for c in self.needed}
        self.guidance = self._guide(sigma, estimates, baseline)
        self.needed = ()
        return prompts

    def _attention_maps(self, keys: Sequence[ConceptKey], x: Tensor) -> AttentionMaps | None:
        """Return what watches the concepts whose attention counts; None where there is none."""
        words = {}
        for index, key in enumerate(keys):
            encoded = self.concepts[key[2]]
            if encoded.concept.attention_threshold > 0:
                words[index] = (encoded.words, self.lists[key][0]["cross_attn"].shape[1])
        if not words:
            return None
        name = self._name_of(keys[min(words)][2])
        return AttentionMaps(self.guider.inner_model.diffusion_model, words, x.shape[0], name)

    def _see_attention(self, maps: AttentionMaps, keys: Sequence[ConceptKey], x: Tensor) -> None:
        for c in self.needed:
            passes = [index for index, key in enumerate(keys) if key[2] == c and index in maps.words]
            seen = maps.map_of(passes)
            if seen is not None:
                self.attention[c] = seen.to(x.device)
            elif passes and c not in self.attention:
                raise ValueError(
                    f"{self._name_of(c)}: attention_threshold cannot act: no cross-attention to the words was "
                    "seen, another patch replaces it; set it to 0 (off)"
                )

    def _guide(
        self, timestep: Tensor, estimates: dict[int, list[Tensor]] | None = None, baseline: Tensor | None = None
    ) -> Tensor | None:
        """Return the guidance of all parts of the latents, in the shape the host samples them in."""
        parts = []
        for part, run in enumerate(self.runs):
            differences: Mapping[int, Tensor] = {}
            masks: dict[int, Tensor] = {}
            if baseline is not None and estimates:
                of_part = {c: [self._part(x0, part) for x0 in texts] for c, texts in estimates.items()}
                of_baseline = self._part(baseline, part)
                divisor = -timestep.view(-1, *[1] * (of_baseline.ndim - 1))
                differences = Differences(of_baseline, of_part, divisor)
                # Masks are of the picture, which is the first part.
                masked = [c for c in estimates if self.concepts[c].mask is not None and part == 0]
                masks = {c: self._mask(c, of_baseline) for c in masked}
            attention = {c: self.attention[c] for c in differences if c in self.attention}
            parts.append(run.guidance(self.step, differences, masks, attention, self.sigma))
        return None if parts[0] is None else _packed(parts)

    def _part(self, latents: Tensor, part: int) -> Tensor:
        return comfy.utils.unpack_latents(latents, self.shapes)[part]

    def _name_of(self, index: int) -> str:
        return concept_name(self.node_id, self.concepts, index)

    def _mask(self, index: int, latents: Tensor) -> Tensor:
        """Return a concept's mask in the size of the latents, (B, 1, *spatial)."""
        if index not in self.masks:
            if latents.ndim < 4:
                raise ValueError(
                    f"{self._name_of(index)}: mask must not be connected: the latents of this model are no picture"
                )
            shape = (latents.shape[0], 1, *latents.shape[2:])
            mask = comfy.utils.reshape_mask(self.concepts[index].mask.float(), shape)
            self.masks[index] = mask.to(latents.device)
        return self.masks[index]

    def _supplied(self, supplied: GuidanceVectors, sigma: float, x: Tensor) -> Tensor | None:
        """Return the guidance of another run at this noise level; None where it has none."""
        step = supplied.step_at(sigma, self.supplied_step)
        if step is None:
            return None
        self.supplied_step = step
        parts = [guidance[step].to(x.device) for guidance in supplied.guidance]
        if len(parts) == 1 and parts[0].shape[1:] != x.shape[1:]:
            raise ValueError(
                f"{self.node_id}: guidance must be for latents of shape {tuple(x.shape)}, got "
                f"{tuple(parts[0].shape)}; this sampler changes their size"
            )
        batch = [part.expand(shape[0], *part.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]
        return _packed(batch)


def _packed(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else comfy.utils.pack_latents(parts)[0]


def uses_host_cfg(guider: Any) -> bool:
    """Say whether a guider predicts as CFGGuider does."""
    return type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise


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
