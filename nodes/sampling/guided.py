"""One call of a guider's sampling: its concepts in the guider's conds, a run for each way through the schedule."""

from __future__ import annotations

import math
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
import comfy.samplers
from comfy.patcher_extension import WrappersMP

from ...sega_core import Recorder, Run, passes_needed
from .attention import ConceptAttention, check_attention
from .concept_conds import concept_conds
from .masks import ConceptMasks
from .parts import GuidedParts
from .passes import PROMPT_INDEX, ConceptKey, ConceptPasses, Prompt
from .run import SamplingRun, not_predicting
from .supplied import SuppliedGuidance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfy.patcher_extension import WrapperExecutor
    from comfy.samplers import CFGGuider
    from torch import Tensor

    from .host_types import Conds, Options
    from .patch import SemanticGuidance


class GuidedSampling:
    """What lives from the beginning of a guider's sampling to its end.

    Args:
        asked: what the patched model carries.
        guider: the host's.
        shapes: of the latents, (B, C, *spatial) for each part.
        schedule: its noise levels, one more than steps.
    """

    def __init__(
        self, asked: SemanticGuidance, guider: CFGGuider, shapes: Sequence[tuple[int, ...]], schedule: list[float]
    ) -> None:
        self.asked = asked
        self.guider = guider
        self.shapes = shapes
        self.schedule = schedule
        # What this sampling's entries in the host's dicts are known by.
        self.key = f"sega {uuid.uuid4().hex}"
        self.run: SamplingRun | None = None

    def sample(self, executor: WrapperExecutor, *args: Any, **kwargs: Any) -> Tensor:
        """Sample with the concepts; leave nothing of them in the guider.

        Raises:
            ValueError: a concept cannot act, or the latent has become NaN or infinite.
        """
        concepts = [encoded.concept for encoded in self.asked.concepts]
        acts = any(passes_needed(concepts, self.asked.settings, len(self.schedule) - 1))
        if len(self.schedule) < 2 or not (acts or self.asked.supplied):
            return executor(*args, **kwargs)
        # The guidance of another run needs no baseline.
        baseline = self._baseline() if acts else "positive"
        lists = self._lists(baseline) if acts else {}
        guider = self.guider
        # A wrapper around this one may sample several times; each time has options of its own.
        given = guider.model_options
        options: Options = comfy.model_patcher.create_model_options_clone(given)
        if baseline == "negative":
            options["disable_cfg1_optimization"] = True
        guider.model_options = options
        comfy.patcher_extension.add_wrapper_with_key(
            WrappersMP.SAMPLER_SAMPLE,
            self.key,
            partial(self._begin, list(lists), baseline),
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
        keys: Sequence[ConceptKey],
        baseline: Prompt,
        executor: WrapperExecutor,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: Options,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Start a run with each way through the schedule, of which there may be several (FreeInit).

        A SAMPLER_SAMPLE wrapper, but for the first two arguments; the guider's conds are encoded here.
        """
        self.run = self._new_run(ConceptPasses(self.guider, keys, baseline))
        self.run.enter(self.key, self.guider.model_options, extra_args["model_options"])
        return executor(model_wrap, sigmas, extra_args, *args, **kwargs)

    def recorders(self) -> list[Recorder]:
        """Return what has recorded the last way through the schedule, for each part of the latents."""
        if self.run is None:
            return self._new_recorders()
        return [run.recorder for run in self.run.parts.runs if run.recorder is not None]

    def _new_recorders(self) -> list[Recorder]:
        return [Recorder(shape, self.schedule, len(self.asked.concepts)) for shape in self.shapes]

    def _new_run(self, passes: ConceptPasses) -> SamplingRun:
        asked, names = self.asked, self.asked.names
        passes.check(names)
        recorders = self._new_recorders() if asked.record else [None] * len(self.shapes)
        concepts = [encoded.concept for encoded in asked.concepts]
        runs = [Run(concepts, asked.settings, len(self.schedule) - 1, recorder) for recorder in recorders]
        words = {c: e.words for c, e in enumerate(asked.concepts) if e.concept.attention_threshold > 0}
        attention = ConceptAttention(self.guider.inner_model.diffusion_model, words, names)
        parts = GuidedParts(runs, self.shapes, ConceptMasks(asked.concepts, names), attention, asked.node_id)
        supplied = None if asked.supplied is None else SuppliedGuidance(asked.supplied, self.shapes, asked.node_id)
        return SamplingRun(self._who(), passes, parts, supplied, self.schedule)

    def _who(self) -> str:
        return self.asked.names[0] if self.asked.concepts else f"{self.asked.node_id}: guidance"

    def _check(self, out: Tensor) -> None:
        """Refuse a sampling that went past the concepts, or came to nothing."""
        if self.run is None or self.run.step is None:
            raise not_predicting(self._who(), self.guider)
        if out.isfinite().all():
            return
        if self.run.was_sound():
            advice = "lower the concepts' guidance_scale or weight, momentum_scale or cfg"
        else:
            advice = "the model's own prediction has, before anything was added to it; sample it without concepts"
        raise ValueError(f"{self.asked.node_id}: the latent has become NaN or infinite; {advice}")

    def _lists(self, baseline: Prompt) -> dict[ConceptKey, Conds]:
        """Return the conds of each concept's texts."""
        compared, model = self.guider.conds[baseline], self.guider.model_patcher.model
        lists: dict[ConceptKey, Conds] = {}
        for c, (encoded, name) in enumerate(zip(self.asked.concepts, self.asked.names, strict=True)):
            if encoded.concept.attention_threshold > 0:
                check_attention(model.diffusion_model, compared, name)
            entries = comfy.sampler_helpers.convert_cond(encoded.conditioning)
            for text, conds in enumerate(concept_conds(entries, compared, baseline, model, name)):
                lists[self.key, c, text] = conds
        return lists

    def _baseline(self) -> Prompt:
        """Return the prompt that the concepts are compared with.

        Raises:
            ValueError: the guider does not have it.
        """
        guider, asked = self.guider, self.asked
        prompts = [name for name in PROMPT_INDEX if guider.conds.get(name)]
        if asked.baseline != "auto":
            if asked.baseline not in prompts:
                raise ValueError(
                    f"{asked.node_id}: baseline {asked.baseline!r} needs a {asked.baseline} prompt, and this guider "
                    f"has none; use {' or '.join(repr(choice) for choice in ['auto', *prompts])}"
                )
            return asked.baseline
        if not prompts:
            raise ValueError(
                f"{asked.node_id}: baseline 'auto' needs a positive or a negative prompt, and {type(guider).__name__} "
                "has neither; use CFGGuider or KSampler"
            )
        keeps_negative = guider.model_options.get("disable_cfg1_optimization", False)
        # With a second model for the negative prompt, cfg 1 leaves it out whatever the options say.
        of_two_models = hasattr(guider, "uncond_model_patcher")
        as_host = type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise
        at_cfg_1 = (as_host or of_two_models) and math.isclose(guider.cfg, 1.0)
        skips_negative = at_cfg_1 and (of_two_models or not keeps_negative)
        return "negative" if prompts == ["negative"] or ("negative" in prompts and not skips_negative) else "positive"
