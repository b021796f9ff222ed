"""One sampling by a guider: puts the concepts into its conds, and starts a run for each pass over the schedule."""

from __future__ import annotations

import uuid
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
from comfy.patcher_extension import WrappersMP

from ...sega_core import GuidanceRun, Recorder, passes_needed
from .attention import ConceptAttention, check_attention
from .masks import ConceptMasks
from .parts import GuidedParts
from .passes import ConceptPasses
from .run import SamplingRun, not_predicting
from .scales import ConceptScales
from .sides import PROMPT_INDEX, SideFinder
from .supplied import SuppliedGuidance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider
    from torch import Tensor

    from .host_types import Options
    from .request import GuidanceRequest
    from .sides import Prompt, Sides


class GuidedSampling:
    """The state of one guider's sampling.

    Args:
        request: of the patched model.
        guider: the host's.
        shapes: of the latents, (B, C, *spatial) for each part.
        schedule: the noise levels, one more than steps.
    """

    def __init__(
        self, request: GuidanceRequest, guider: CFGGuider, shapes: Sequence[tuple[int, ...]], schedule: list[float]
    ) -> None:
        self.request = request
        self.guider = guider
        self.shapes = shapes
        # RES4LYF's chains put a zero in front of a falling schedule, as a sign for itself: no step starts there.
        is_sign = len(schedule) > 2 and schedule[0] == 0 and schedule[1] >= schedule[2]
        self.schedule = schedule[1:] if is_sign else schedule
        model_sampling: Any = guider.model_patcher.get_model_object("model_sampling")
        self.percent_to_sigma: Callable[[float], float] = model_sampling.percent_to_sigma
        # In the paper's terms, for this schedule.
        self.concepts = [encoded.settings.concept(self.schedule, self.percent_to_sigma) for encoded in request.concepts]
        # One for each part of the latents, if recording.
        count = len(request.concepts)
        self.recorders = [Recorder(shape, self.schedule, count) for shape in shapes] if request.record else []
        # The key of this sampling's entries in the host's dicts.
        self.key = f"sega {uuid.uuid4().hex}"
        self.run: SamplingRun | None = None

    def sample(self, executor: WrapperExecutor, *args: Any, **kwargs: Any) -> Tensor:
        """Sample with the concepts; leave no trace of them in the guider.

        Raises:
            ValueError: a concept cannot act, or the latent has become NaN or infinite.
        """
        if len(self.schedule) < 2 or not (self._acts or self.request.supplied):
            return executor(*args, **kwargs)
        guider = self.guider
        finder = SideFinder(self.key, guider.conds, guider.model_patcher.model)
        # Supplied guidance needs no passes.
        sides = self._sides(finder) if self._acts else []
        lists = finder.lists
        # An outer wrapper may sample several times; each time has its own options.
        given = guider.model_options
        options: Options = comfy.model_patcher.create_model_options_clone(given)
        guider.model_options = options
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.SAMPLER_SAMPLE,
            self.key,
            partial(self._begin, sides),
            options,
            is_model_options=True,
        )
        guider.conds.update(lists)
        try:
            out = executor(*args, **kwargs)
        finally:
            guider.model_options = given
            for key in lists:
                guider.conds.pop(key, None)
        self._check(out)
        return out

    def _begin(
        self,
        sides: Sequence[Sides],
        executor: WrapperExecutor,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: Options,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Start a run for each pass over the schedule; there may be several (FreeInit).

        A SAMPLER_SAMPLE wrapper once `sides` is bound. The host has encoded the conds by now.
        """
        self.run = self._new_run(ConceptPasses(self.guider, sides))
        self.run.enter(self.key, self.guider.model_options, extra_args["model_options"])
        return executor(model_wrap, sigmas, extra_args, *args, **kwargs)

    def _new_run(self, passes: ConceptPasses) -> SamplingRun:
        request, names = self.request, self.request.names
        passes.check(names)
        recorders: Sequence[Recorder | None] = self.recorders or [None] * len(self.shapes)
        runs = [
            GuidanceRun(self.concepts, request.settings, len(self.schedule) - 1, recorder) for recorder in recorders
        ]
        positions = {c: e.token_positions for c, e in enumerate(request.concepts) if e.settings.attention_threshold > 0}
        attention = ConceptAttention(self.guider.inner_model.diffusion_model, positions, names)
        masks = ConceptMasks(request.concepts, names)
        scales = ConceptScales(request.concepts, self.schedule, self.percent_to_sigma)
        parts = GuidedParts(runs, self.shapes, masks, scales, attention, request.node_id)
        vectors = request.supplied
        supplied = None if vectors is None else SuppliedGuidance(vectors, self.shapes, request.node_id)
        return SamplingRun(self._who(), passes, parts, supplied, self.schedule)

    @cached_property
    def _acts(self) -> bool:
        """Whether any step needs a concept's estimate; otherwise only supplied guidance acts."""
        return any(passes_needed(self.concepts, self.request.settings, len(self.schedule) - 1))

    def _who(self) -> str:
        """Return the subject of errors."""
        return self.request.names[0] if self._acts else f"{self.request.node_id}: guidance"

    def _check(self, out: Tensor) -> None:
        """Raise if the concepts were never used or the latent is not finite."""
        if self.run is None or self.run.step is None:
            raise not_predicting(self._who(), self.guider)
        if out.isfinite().all():
            return
        if self.run.was_sound():
            advice = "lower the concepts' strength, guidance_scale or weight, momentum_scale or cfg"
        else:
            advice = "the model's own prediction was already; sample without concepts to check"
        raise ValueError(f"{self.request.node_id}: the latent has become NaN or infinite; {advice}")

    def _sides(self, finder: SideFinder) -> list[Sides]:
        """Return the two sides of each concept."""
        found, network = [], self.guider.model_patcher.model.diffusion_model
        baseline = self._baseline()
        for encoded, name in zip(self.request.concepts, self.request.names, strict=True):
            sides = finder.sides(encoded, baseline, name)
            if encoded.settings.attention_threshold > 0:
                check_attention(network, self.guider.conds[sides.text.prompt], name)
            found.append(sides)
        return found

    def _baseline(self) -> Prompt:
        """Return the prompt that a bare text is compared with: the negative one, if the guider has it.

        Raises:
            ValueError: the guider has neither.
        """
        guider = self.guider
        prompts = [name for name in PROMPT_INDEX if guider.conds.get(name)]
        if not prompts:
            raise ValueError(
                f"{self.request.node_id}: concepts need a guider with a positive or a negative prompt, and "
                f"{type(guider).__name__} has neither; use CFGGuider or KSampler"
            )
        return prompts[-1]
