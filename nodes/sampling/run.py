"""One pass over the schedule with concepts: its wrappers, and its state from the first evaluation to the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy.patcher_extension import WrappersMP

from ...sega_core import step_of_sigma
from .evaluation import Evaluation

if TYPE_CHECKING:
    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider
    from torch import Tensor

    from .host_types import Conds, Options
    from .parts import GuidedParts
    from .passes import ConceptPasses
    from .supplied import SuppliedGuidance


class SamplingRun:
    """One pass over the schedule.

    Args:
        who: the subject of errors: a concept, or the supplied guidance.
        passes: the concepts' conds.
        parts: turn the concepts' estimates into guidance.
        supplied: guidance from another run; None is none.
        schedule: the noise levels, one more than steps.
    """

    def __init__(
        self,
        who: str,
        passes: ConceptPasses,
        parts: GuidedParts,
        supplied: SuppliedGuidance | None,
        schedule: list[float],
    ) -> None:
        self.who = who
        self.passes = passes
        self.parts = parts
        self.supplied = supplied
        self.schedule = schedule
        # The step of the last evaluation; None before the first.
        self.step: int | None = None
        # Whether guidance was added to a prediction yet, and whether the predictions before that were finite (a tensor
        # on its device, read only for an error).
        self.added = False
        self.sound: Tensor | None = None

    def enter(self, key: str, guider_options: Options, sampler_options: Options) -> None:
        """Add this run's wrappers to the guider's and the sampler's options, replacing those of an earlier run."""
        for kind, wrapper, options in (
            (WrappersMP.PREDICT_NOISE, self.predict_noise, guider_options),
            (WrappersMP.CALC_COND_BATCH, self.refuse_shortcut, sampler_options),
        ):
            wrappers = options.setdefault("transformer_options", {}).setdefault("wrappers", {}).setdefault(kind, {})
            # The last is the innermost.
            wrappers.pop(key, None)
            wrappers[key] = [wrapper]

    def refuse_shortcut(
        self, executor: WrapperExecutor, model: Any, conds: list[Conds | None], *args: Any
    ) -> list[Tensor]:
        """Refuse a guider that evaluates its prompts without predicting noise: a CALC_COND_BATCH wrapper.

        Raises:
            ValueError: no PREDICT_NOISE wrapper was called first.
        """
        guider = self.passes.guider
        if self.step is None and any(cond is prompt for cond in conds for prompt in guider.conds.values()):
            raise not_predicting(self.who, guider)
        return executor(model, conds, *args)

    def was_sound(self) -> bool:
        """Say whether the predictions were finite until guidance was added."""
        return self.sound is None or bool(self.sound)

    def predict_noise(
        self,
        executor: WrapperExecutor,
        x: Tensor,
        timestep: Tensor,
        model_options: Options | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Add the guidance to the guider's prediction, `denoised - sigma * guidance`: a PREDICT_NOISE wrapper.

        The guider's prediction is complete here, including other packs' CFG functions.
        """
        options = model_options or {}
        if "ar_state" in options.get("transformer_options", {}):
            raise ValueError(
                f"{self.who} does not work with this sampler: it makes the video block by block and would cache the "
                "concept's passes too; use another sampler"
            )
        # The only number read back per evaluation: the CPU decides which passes to run.
        sigma = float(timestep.max())
        self.step = step_of_sigma(sigma, self.schedule, self.step or 0)
        self.parts.fit(tuple(x.shape))
        if sigma == 0:
            # Without noise there is nothing to estimate, and the guidance would be multiplied by zero.
            return executor(x, timestep, options, seed)
        evaluation = Evaluation(self.passes, self.parts, x, timestep, sigma, self.step)
        denoised = evaluation.predict(executor, options, seed)
        if not self.added:
            # In a second pass over the schedule (FreeInit), the first may have broken the latents.
            finite = denoised.isfinite().all() | ~x.isfinite().all()
            self.sound = finite if self.sound is None else self.sound & finite
        guidance = evaluation.guidance
        supplied = None if self.supplied is None else self.supplied.at(sigma, x)
        if supplied is not None:
            guidance = supplied if guidance is None else guidance + supplied
        if guidance is None:
            return denoised
        self.added = True
        sigma_of = timestep.view(-1, *[1] * (x.ndim - 1))
        return torch.addcmul(denoised, sigma_of, guidance, value=-1).to(denoised.dtype)


def not_predicting(who: str, guider: CFGGuider) -> ValueError:
    """Return the error for a guider whose predictions cannot be edited."""
    return ValueError(
        f"{who} has no effect: {type(guider).__name__} or its sampler does not predict noise the way ComfyUI's guiders "
        "do; use CFGGuider or KSampler"
    )
