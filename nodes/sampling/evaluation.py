"""One evaluation: how the concepts that a step needs get through the model, and the guidance they give.

There are two ways. The concepts join the guider's call of the model for the prompts: the host batches it, splits it by
free memory, applies context windows and spreads it over GPUs, and the prompt that the concepts are compared with is
evaluated there anyway. Or they get a call of their own: before the guider's where joining would change the prompts or
the comparison, after it where the guider makes no call that they can join.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from comfy.model_base import BaseModel
    from comfy.patcher_extension import WrapperExecutor
    from torch import Tensor

    from ...sega_core import Comparison
    from .host_types import Conds, Options
    from .parts import GuidedParts
    from .passes import ConceptPasses

_LOG = logging.getLogger("comfyui_sega")

# In the model options of a call of concepts alone, which no other SEGA patch of the same model joins.
_ALONE = "sega_alone"


class Evaluation:
    """One prediction of the guider.

    Args:
        passes: what is evaluated for the concepts.
        parts: what makes the guidance of it.
        x: the latents it is made at, (B, C, *spatial).
        timestep: (B,), its noise level.
        sigma: the same as a number.
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
        # The concepts still to evaluate. The guidance is None until it is made, and where they add nothing.
        self.needed = parts.needed(step)
        self.guidance: Tensor | None = None

    def predict(self, executor: WrapperExecutor, options: Options, seed: int | None) -> Tensor:
        """Return what the guider predicts, (B, C, *spatial); its guidance is known afterwards.

        Args:
            executor: the guider's prediction.
            options: the model options that the guider was given.
            seed: handed on.
        """
        if not self.needed:
            # Only what earlier steps left.
            self._guide({})
            return executor(self.x, self.timestep, options, seed)
        if "sampler_calc_cond_batch_function" in options:
            # Another pack's evaluation stays in charge of the prompts, and may take no others.
            self._evaluate_alone(options)
        denoised = executor(self.x, self.timestep, self._entered(options), seed)
        if self.needed:
            # The guider, or another pack's sampling function, asks the model in a way of its own.
            self._evaluate_alone(options)
        return denoised

    def _entered(self, options: Options) -> Options:
        """Return the options with this evaluation in the host's calls of the model."""
        if not self.needed:
            return options
        join = partial(self._join, options.get("model_function_wrapper"))

        def before_context_windows(args: Options) -> list[Tensor]:
            asked = args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
            return join(comfy.samplers.calc_cond_batch, *asked)

        transformer = options.get("transformer_options", {})
        wrappers = transformer.get("wrappers", {})
        # The first of the wrappers is the outermost. It sees what guiders and packs ask for that call the host's
        # `calc_cond_batch` themselves.
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
        """Evaluate a call's conds and, where it is the guider's first at its latents, the concepts with them.

        A CALC_COND_BATCH wrapper once the first argument is bound: what the guider was given. A pack that puts another
        in its place expects its own prompts and no others (smZNodes).
        """
        is_first = self.needed and x is self.x and model is self.passes.guider.inner_model and _ALONE not in options
        if is_first and options.get("model_function_wrapper") is model_function_wrapper:
            if not _looks_across_the_batch(model, options):
                return self._evaluate(calc_cond_batch, conds, timestep, options)
            self._evaluate_alone(options)
        return calc_cond_batch(model, conds, x, timestep, options)

    def _evaluate_alone(self, options: Options) -> None:
        """Evaluate the concepts and what they are compared with in a call of their own."""
        calc_cond_batch = (
            _one_by_one if _mixes_texts(self.passes.guider.inner_model) else comfy.samplers.calc_cond_batch
        )
        # Patches that draw random numbers draw the same for the guider as they would without this call.
        device = self.x.device if self.x.device.type in ("cuda", "xpu") else None
        with torch.random.fork_rng([device] if device else [], device_type=device.type if device else "cpu"):
            self._evaluate(calc_cond_batch, [], self.timestep, {**options, _ALONE: True})

    def _evaluate(
        self,
        calc_cond_batch: Callable[..., list[Tensor]],
        conds: list[Conds | None],
        timestep: Tensor,
        options: Options,
    ) -> list[Tensor]:
        """Run conds and the concepts through the model in one call; return what the conds gave.

        The guidance is made at once, because CFG functions may change the prompts' estimates in place, and so that
        nothing holds on to the concepts' estimates.
        """
        needed, self.needed = self.needed, ()
        lists = self.passes.of(needed)
        # In front of the compared prompt, with its label: the host batches from the end, so prompts come before
        # concepts, and 1s before 0s.
        found = self.passes.found_in(conds)
        if found is not None:
            label = first = found[0]
            lists = [(c, self.passes.changed_alike(entries, found[1])) for c, entries in lists]
            added = [entries for _, entries in lists]
        else:
            label = self.passes.label
            first = len(conds) if label else 0
            added = [*(entries for _, entries in lists), self.passes.compared_again()]
        together = [*conds[:first], *added, *conds[first:]]
        labels = Labels([*range(first), *[label] * len(added), *range(first, len(conds))])
        together, options = labels.applied(together, options)
        places = {first + i: entry for i, entry in enumerate(lists)}
        maps = self.parts.attention.watched(places, self.x.shape[0], options)
        out = calc_cond_batch(self.passes.guider.inner_model, together, self.x, timestep, options)
        # A text that does not act at this noise level is absent, not zero. Where the model was not asked, since another
        # pack answered or no prompt acts, there is no telling.
        acting = labels.evaluated or places.keys()
        compared: dict[int, tuple[Tensor, Tensor] | None] = {}
        for c in needed:
            texts = [out[place] for place, (concept, _) in places.items() if concept == c and place in acting]
            compared[c] = (_mean(texts), out[first + len(lists)]) if texts else None
            if maps is not None and texts and labels.evaluated and c in self.parts.attention.words:
                self.parts.attention.keep(c, maps.of(c, self.x.device))
        self._guide(compared)
        return out[:first] + out[first + len(added) :]

    def _guide(self, compared: Mapping[int, tuple[Tensor, Tensor] | None]) -> None:
        """Make the guidance of the concepts' estimates, each with the one it is compared with."""
        comparisons = self.parts.comparisons(compared, -self.timestep)
        guidance = self.parts.guidance(self.step, self.sigma, comparisons)
        self.guidance = packed(guidance)
        _LOG.debug("%s", Evaluated(self.step, self.sigma, comparisons, guidance))


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation did, for the log at DEBUG; a handler that takes it whole sees all there is.

    Args:
        step: of the schedule.
        sigma: noise level.
        comparisons: for each part of the latents, what the guidance of each evaluated concept was made of; None where
            the concept had nothing to say.
        guidance: of each part, (B, C, *spatial); None is none.
    """

    step: int
    sigma: float
    comparisons: Sequence[Mapping[int, Comparison | None]]
    guidance: Sequence[Tensor | None]

    def __str__(self) -> str:
        concepts = ", ".join(str(c + 1) for c, comparison in self.comparisons[0].items() if comparison) or "none"
        adds = "nothing is added" if self.guidance[0] is None else "guidance is added"
        return f"SEGA: step {self.step}, sigma {self.sigma:.4g}: concepts evaluated: {concepts}; {adds}"


def _one_by_one(model: BaseModel, conds: list[Conds], *args: Any) -> list[Tensor]:
    """Evaluate conds in calls of their own, each at its place."""
    alone: list[Any] = [[*[None] * place, cond] for place, cond in enumerate(conds)]
    return [comfy.samplers.calc_cond_batch(model, call, *args)[-1] for call in alone]


def _mean(estimates: Sequence[Tensor]) -> Tensor:
    first, *others = estimates
    return sum(others, first) / len(estimates) if others else first


def _looks_across_the_batch(model: BaseModel, options: Options) -> bool:
    """Say whether what is evaluated together changes the estimates, so that the concepts need a call of their own.

    Patches of the self-attention may mix the prompts of a batch (NAG) or keep what the last call showed them (SAG).
    """
    transformer = options.get("transformer_options", {})
    patches, replaced = transformer.get("patches", {}), transformer.get("patches_replace", {})
    patched = patches.get("attn1_patch") or patches.get("attn1_output_patch") or replaced.get("attn1")
    return bool(patched) or _mixes_texts(model)


def _mixes_texts(model: BaseModel) -> bool:
    """Say whether the network lets the texts of a batch into each other: SeedVR2's does."""
    return type(model.diffusion_model).__name__ == "NaDiT"
