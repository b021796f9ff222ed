"""One evaluation: run the concepts that a step needs through the model, and get their guidance.

There are two ways. Normally the concepts join the guider's own model call, which evaluates the prompts they are
compared with anyway: the host batches it, splits it by free memory, applies context windows and spreads it over GPUs.
Otherwise they get a separate call: before the guider's if joining would change the prompts or the comparison, after it
if the guider makes no call that they can join.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from .labels import Labels
from .parts import packed
from .prompt_scale import PromptScale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from comfy.model_base import BaseModel
    from comfy.patcher_extension import WrapperExecutor
    from torch import Tensor

    from ...sega_core import Comparison
    from .host_types import Conds, Options
    from .parts import GuidedParts
    from .passes import ConceptPasses, Place
    from .sides import ListKey, Prompt, Side

_LOG = logging.getLogger("semantic_guidance")

# Marks the model options of a separate call, so that no other SEGA patch of the model joins it.
_ALONE = "sega_alone"


class Evaluation:
    """One prediction of the guider.

    Args:
        passes: the concepts' conds.
        parts: turn the concepts' estimates into guidance.
        x: the latents, (B, C, *spatial).
        timestep: their noise level, (B,).
        sigma: the noise level as a number.
        step: of the schedule.
    """

    def __init__(
        self, passes: ConceptPasses, parts: GuidedParts, x: Tensor, timestep: Tensor, sigma: float, step: int
    ) -> None:
        self.passes = passes
        self.parts = parts
        self.x = x
        self.timestep = timestep
        self.sigma = sigma
        self.step = step
        # The concepts still to evaluate, and the differences of the others; None if their texts do not act.
        self.needed = parts.needed(step)
        self.differences: dict[int, Tensor | None] = {}
        # None before the prediction, and if the concepts add nothing.
        self.guidance: Tensor | None = None

    def predict(self, executor: WrapperExecutor, options: Options, seed: int | None) -> Tensor:
        """Return the guider's prediction, (B, C, *spatial), and set `guidance`.

        Args:
            executor: the guider's prediction.
            options: the guider's model options.
            seed: passed on.
        """
        scale = PromptScale(self.passes.guider, self.parts.shapes)
        if "sampler_calc_cond_batch_function" in options and self.needed:
            # Another pack evaluates the prompts, and may not accept others.
            self._evaluate_alone(options)
        denoised = executor(self.x, self.timestep, self._entered(options, scale), seed)
        if self.needed:
            # The guider, or another pack's sampling function, called the model some other way.
            self._evaluate_alone(options)
        comparisons = self.parts.comparisons(self.step, self.sigma, self.differences, scale.values, denoised)
        guidance = self.parts.guidance(self.step, self.sigma, comparisons)
        made = [part for part in guidance if part is not None]
        self.guidance = packed(made) if made else None
        _LOG.debug("%s", Evaluated(self.step, self.sigma, comparisons, guidance))
        return denoised

    def _entered(self, options: Options, scale: PromptScale) -> Options:
        """Return the options with this evaluation joining the host's model calls."""
        if not self.needed:
            return options
        options = scale.entered(options)
        join = partial(self._join, options.get("model_function_wrapper"))

        def before_context_windows(args: Options) -> list[Tensor]:
            asked = args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
            return join(comfy.samplers.calc_cond_batch, *asked)

        transformer = options.get("transformer_options", {})
        wrappers = transformer.get("wrappers", {})
        # The first wrapper is the outermost. It sees the calls of guiders and packs that use the host's
        # `calc_cond_batch` directly.
        outermost = {f"sega {id(self)}": [join], **wrappers.get(WrappersMP.CALC_COND_BATCH, {})}
        wrappers = {**wrappers, WrappersMP.CALC_COND_BATCH: outermost}
        return {
            **options,
            "transformer_options": {**transformer, "wrappers": wrappers},
            "sampler_calc_cond_batch_function": before_context_windows,
        }

    def _join(
        self,
        model_function_wrapper: Callable[..., Tensor] | None,
        calc_cond_batch: Callable[..., list[Tensor]],
        model: BaseModel,
        conds: list[Conds | None],
        x: Tensor,
        timestep: Tensor,
        options: Options,
    ) -> list[Tensor]:
        """Evaluate a call's conds, and the concepts with them in the guider's first call at its latents.

        A CALC_COND_BATCH wrapper once the first argument, the guider's, is bound. A pack that replaces that function
        expects only its own prompts (smZNodes).
        """
        is_first = self.needed and x is self.x and model is self.passes.guider.inner_model and _ALONE not in options
        if is_first and options.get("model_function_wrapper") is model_function_wrapper:
            if not _looks_across_the_batch(model, options) and not self._crowds(options):
                return self._evaluate(self.needed, calc_cond_batch, conds, timestep, options)
            self._evaluate_alone(options)
        return calc_cond_batch(model, conds, x, timestep, options)

    def _crowds(self, options: Options) -> bool:
        """Say whether a patch that expects the positive prompt alone would see concepts with it (AttentionCouple)."""
        if not self.passes.stand_for("positive", self.needed):
            return False
        # Patches come with the model, or as hooks with the prompt.
        hooked = (entry.get("hooks") for entry in self.passes.guider.conds["positive"])
        hooks = [hook for group in hooked if group is not None for hook in group.hooks]
        brought = [options.get("transformer_options", {}), *(getattr(hook, "transformers_dict", {}) for hook in hooks)]
        return any(each.get("patches", {}).get("attn2_output_patch") for each in brought)

    def _evaluate_alone(self, options: Options) -> None:
        """Evaluate the concepts and what they are compared with, apart from the guider's call."""
        model = self.passes.guider.inner_model
        one_by_one = _mixes_texts(model) or self._crowds(options)
        calc_cond_batch = _one_by_one if one_by_one else comfy.samplers.calc_cond_batch
        # Random patches must draw the same for the guider as without this call.
        device = self.x.device if self.x.device.type in ("cuda", "xpu") else None
        with torch.random.fork_rng([device] if device else [], device_type=device.type if device else "cpu"):
            # NAG mixes what stands for the two prompts, as it does with the prompts.
            groups = self.passes.by_prompt(self.needed) if _looks_across_the_batch(model, options) else [self.needed]
            for needed in groups:
                self._evaluate(needed, calc_cond_batch, [], self.timestep, {**options, _ALONE: True})

    def _evaluate(
        self,
        needed: Sequence[int],
        calc_cond_batch: Callable[..., list[Tensor]],
        conds: list[Conds | None],
        timestep: Tensor,
        options: Options,
    ) -> list[Tensor]:
        """Run conds and some of the needed concepts through the model in one call; return the conds' estimates.

        The differences are taken right away: CFG functions may change the prompts' estimates in place, and the
        concepts' estimates can be freed.
        """
        self.needed = tuple(c for c in self.needed if c not in needed)
        call = self.passes.call(conds, needed)
        labels = Labels([place.label for place in call])
        together, options = labels.applied([place.conds for place in call], options)
        maps = self.parts.attention.watched(self._watched(call, needed), self.x.shape[0], options)
        out = calc_cond_batch(self.passes.guider.inner_model, together, self.x, timestep, options)
        # A text that does not act at this noise level is absent, not zero. If the model was not called, because another
        # pack answered or no prompt acts, all texts count as acting.
        acting = labels.evaluated or range(len(call))
        estimates = {
            place.source: estimate
            for number, (place, estimate) in enumerate(zip(call, out, strict=True))
            if isinstance(place.source, str) or (place.source is not None and number in acting)
        }
        for c in needed:
            self.differences[c] = self._difference(c, estimates)
        if maps is not None and labels.evaluated:
            for c in self.parts.attention.token_positions.keys() & {
                c for c in needed if self.differences[c] is not None
            }:
                self.parts.attention.keep(c, maps.of(c, self.x.device))
        return [estimate for place, estimate in zip(call, out, strict=True) if place.is_own]

    def _difference(self, c: int, estimates: Mapping[ListKey | Prompt, Tensor]) -> Tensor | None:
        """Return the difference of a concept's estimates, in noise or velocity space; None if a text does not act."""
        sides = self.passes.sides[c]
        text, instead_of = _estimate(sides.text, estimates), _estimate(sides.instead_of, estimates)
        if not sides.compared or text is None or instead_of is None:
            return None
        return (text - instead_of).div_(-self.timestep.view(-1, *[1] * (self.x.ndim - 1)))

    def _watched(self, call: Sequence[Place], needed: Sequence[int]) -> dict[int, tuple[list[int], int]]:
        """Return the places of a call whose attention to read, each with its concepts and its embedding's length."""
        watched: dict[int, tuple[list[int], int]] = {}
        attentive = [c for c in needed if c in self.parts.attention.token_positions]
        for number, place in enumerate(call):
            watching = [c for c in attentive if _is_of(place, self.passes.sides[c].text)]
            if watching and place.conds:
                watched[number] = watching, place.conds[0]["cross_attn"].shape[1]
        return watched


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation did, for the DEBUG log; a log handler can read the whole object.

    Args:
        step: of the schedule.
        sigma: noise level.
        comparisons: for each part of the latents, the inputs to each evaluated concept's guidance; None if the concept
            does not act.
        guidance: of each part, (B, C, *spatial); None if there is none.
    """

    step: int
    sigma: float
    comparisons: Sequence[Mapping[int, Comparison | None]]
    guidance: Sequence[Tensor | None]

    def __str__(self) -> str:
        concepts = ", ".join(str(c + 1) for c, comparison in self.comparisons[0].items() if comparison) or "none"
        adds = "nothing added" if self.guidance[0] is None else "guidance added"
        return f"SEGA: step {self.step}, sigma {self.sigma:.4g}: concepts evaluated: {concepts}; {adds}"


def _one_by_one(model: BaseModel, conds: list[Conds], *args: Any) -> list[Tensor]:
    """Evaluate each cond in a separate call, at its place."""
    alone: list[Any] = [[*[None] * place, cond] for place, cond in enumerate(conds)]
    return [comfy.samplers.calc_cond_batch(model, call, *args)[-1] for call in alone]


def _is_of(place: Place, side: Side) -> bool:
    return place.source in side.keys if side.keys else place.source == side.prompt


def _estimate(side: Side, estimates: Mapping[ListKey | Prompt, Tensor]) -> Tensor | None:
    """Return the mean estimate of a side's texts that act; None if none does."""
    sources: Sequence[ListKey | Prompt] = side.keys or (side.prompt,)
    acting = [estimates[source] for source in sources if source in estimates]
    if len(acting) < 2:
        return acting[0] if acting else None
    return torch.stack(acting).mean(0)


def _looks_across_the_batch(model: BaseModel, options: Options) -> bool:
    """Say whether evaluating prompts together changes their estimates, so that the concepts need a separate call.

    Self-attention patches may mix the prompts of a batch (NAG) or keep data from the last call (SAG).
    """
    transformer = options.get("transformer_options", {})
    patches, replaced = transformer.get("patches", {}), transformer.get("patches_replace", {})
    patched = patches.get("attn1_patch") or patches.get("attn1_output_patch") or replaced.get("attn1")
    return bool(patched) or _mixes_texts(model)


def _mixes_texts(model: BaseModel) -> bool:
    """Say whether the network mixes the texts of a batch, as SeedVR2's does."""
    return type(model.diffusion_model).__name__ == "NaDiT"
