"""One sampling with concepts: what the guider is given for it, and what holds from its first evaluation to its last."""

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
    """One way through the schedule.

    Args:
        who: what errors are about: a concept, or the guidance of another run.
        passes: what is evaluated for the concepts.
        parts: what makes the guidance of it.
        supplied: guidance of another run; None is none.
        schedule: its noise levels, one more than steps.
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
        # Whether something was added to a prediction, and whether those before were finite, left on their device.
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
        """Refuse a guider that evaluates its prompts and predicts nothing: a CALC_COND_BATCH wrapper.

        Raises:
            ValueError: no PREDICT_NOISE wrapper was called before.
        """
        guider = self.passes.guider
        if self.step is None and any(cond is prompt for cond in conds for prompt in guider.conds.values()):
            raise not_predicting(self.who, guider)
        return executor(model, conds, *args)

    def was_sound(self) -> bool:
        """Say whether the predictions were finite until something was added to one."""
        return self.sound is None or bool(self.sound)

    def predict_noise(
        self,
        executor: WrapperExecutor,
        x: Tensor,
        timestep: Tensor,
        model_options: Options | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Add the guidance to what the guider predicts, `denoised - sigma * guidance`: a PREDICT_NOISE wrapper.

        The guider's own prediction is complete here, with every CFG function of other packs.
        """
        options = model_options or {}
        if "ar_state" in options.get("transformer_options", {}):
            raise ValueError(
                f"{self.who} cannot act: this sampler makes the video block by block and keeps what the model made of "
                "every pass, a concept's too; use another sampler"
            )
        # The one number read back per evaluation: which passes to run is decided on the CPU.
        sigma = float(timestep.max())
        self.step = step_of_sigma(sigma, self.schedule, self.step or 0)
        self.parts.fit(tuple(x.shape))
        if sigma == 0:
            # Without noise the estimate of the noise means nothing, and the guidance is multiplied by zero.
            return executor(x, timestep, options, seed)
        evaluation = Evaluation(self.passes, self.parts, x, timestep, sigma, self.step)
        denoised = evaluation.predict(executor, options, seed)
        if not self.added:
            # In a second way through the schedule (FreeInit) it may be the first one's doing.
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
    """Return what to raise where no prediction of a guider was seen."""
    return ValueError(
        f"{who} cannot act, because {type(guider).__name__} or its sampler does not predict the way ComfyUI's guiders "
        "do; use CFGGuider or KSampler"
    )
