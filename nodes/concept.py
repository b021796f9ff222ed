"""SEGAConcept: a concept from text."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .concept_inputs import build_concept, check_steps, concept_inputs, encoded_concept, place_inputs
from .presets import NONE, available, completed
from .types import SegaConcept


class SEGAConcept(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        presets = available()
        return io.Schema(
            node_id="SEGAConcept",
            display_name="SEGA Concept",
            category="sampling/SEGA",
            description="A concept to add to the image or to remove from it while it is sampled, such as 'glasses'. "
            "Connect it to a SEGA Sampler, or several of them to a SEGA Concept Stack.",
            search_aliases=[
                "semantic guidance",
                "edit guidance",
                "concept slider",
                "concept",
                "editing prompt",
                "negative prompt",
                "add object",
                "remove object",
                "LEDITS++",
                "语义引导",
                "セマンティックガイダンス",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model that samples."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    optional=True,
                    tooltip="The concept, in a few words: 'smiling', 'glasses'. Weights and embeddings work as in "
                    "prompts. To remove something, name it and set direction to remove.",
                ),
                *concept_inputs(optional=True),
                *place_inputs(),
                io.Combo.Input(
                    "preset",
                    options=[NONE, *presets],
                    default=NONE,
                    optional=True,
                    tooltip="Picking one writes its published values into the other fields, and what runs is always "
                    "what these say; over the API it sets the inputs that are left out. none is off; add your own in "
                    "default/sega_presets.json in ComfyUI's user folder.",
                    extra_dict={"sega_presets": {name: dict(preset.values) for name, preset in presets.items()}},
                ),
            ],
            outputs=[SegaConcept.Output("concept", display_name="concept", tooltip="For a SEGA Sampler or Stack.")],
        )

    @classmethod
    def validate_inputs(
        cls, warmup_steps: int | None = None, cooldown_steps: int | None = None, preset: Any = NONE
    ) -> bool | str:
        # That the preset is named here keeps the host from refusing a workflow that has all the values themselves.
        return check_steps(warmup_steps, cooldown_steps)

    @classmethod
    def fingerprint_inputs(cls, preset: Any = NONE, **inputs: Any) -> str:
        # The user may have changed the preset's values.
        return repr(available().get(preset)) if isinstance(preset, str) else ""

    @classmethod
    def execute(
        cls, clip: Any, text: str | None = None, preset: Any = NONE, mask: Tensor | None = None, **given: Any
    ) -> io.NodeOutput:
        try:
            settings = completed(preset, given if text is None else {"text": text, **given})
        except ValueError as error:
            raise ValueError(f"SEGAConcept: {error}") from error
        text = settings.pop("text")
        concept = build_concept("SEGAConcept", **settings)
        if clip is None:
            raise ValueError(
                "SEGAConcept: clip must be a CLIP, got None; the checkpoint has no text encoder: load one with a "
                "CLIP loader"
            )
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        words = _places_of_words(clip, text) if concept.attention_threshold > 0 else None
        return io.NodeOutput(encoded_concept("SEGAConcept", concept, conditioning, text, mask, words))


def _places_of_words(clip: Any, text: str) -> tuple[int, ...]:
    """Return where the words stand in the embedding, between the marks of start and end and before the padding."""
    chunks = next(iter(clip.tokenize(text, return_word_ids=True).values()))
    word_of = [word for chunk in chunks for _, _, word in chunk]
    return tuple(place for place, word in enumerate(word_of) if word)
