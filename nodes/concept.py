"""SEGAConcept: a concept from text."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .concept_inputs import build_concept, check_steps, concept_inputs
from .types import EncodedConcept, SegaConcept


class SEGAConcept(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGAConcept",
            display_name="SEGA Concept",
            category="sampling/SEGA",
            description="A concept to add to the image or to remove from it while it is sampled, such as 'glasses'. "
            "Connect it to a SEGA Sampler, or several of them to a SEGA Concept Stack.",
            search_aliases=["semantic guidance", "edit guidance", "concept slider", "concept"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model that samples."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The concept, in a few words: 'smiling', 'glasses'. Weights and embeddings work as in "
                    "prompts. To remove something, name it and set direction to remove.",
                ),
                *concept_inputs(),
            ],
            outputs=[SegaConcept.Output("concept", display_name="concept", tooltip="For a SEGA Sampler or Stack.")],
        )

    @classmethod
    def validate_inputs(cls, warmup_steps: int | None = None, cooldown_steps: int | None = None) -> bool | str:
        return check_steps(warmup_steps, cooldown_steps)

    @classmethod
    def execute(cls, clip: Any, text: str, **settings: Any) -> io.NodeOutput:
        concept = build_concept("SEGAConcept", **settings)
        if clip is None:
            raise ValueError(
                "SEGAConcept: clip must be a CLIP, got None; the checkpoint has no text encoder: load one with a "
                "CLIP loader"
            )
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        return io.NodeOutput(EncodedConcept(concept, conditioning, text))
