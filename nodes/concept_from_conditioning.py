"""SEGAConceptFromConditioning: a concept from an embedding that another node made."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .concept_inputs import build_concept, check_steps, concept_inputs, encoded_concept, place_inputs
from .types import SegaConcept


class SEGAConceptFromConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGAConceptFromConditioning",
            display_name="SEGA Concept (from Conditioning)",
            category="sampling/SEGA",
            description="A concept to add or remove whose text another node has encoded: any text encoder, combined "
            "or averaged prompts.",
            search_aliases=["semantic guidance", "edit guidance", "concept slider", "editing prompt embeddings"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The encoded concept. Only its text is used: areas, masks, sizes and ControlNets come "
                    "from the prompt that the concept is compared with.",
                ),
                *concept_inputs(),
                *place_inputs(),
            ],
            outputs=[SegaConcept.Output("concept", display_name="concept", tooltip="For a SEGA Sampler or Stack.")],
        )

    @classmethod
    def validate_inputs(cls, warmup_steps: int | None = None, cooldown_steps: int | None = None) -> bool | str:
        return check_steps(warmup_steps, cooldown_steps)

    @classmethod
    def execute(cls, conditioning: list[Any], mask: Tensor | None = None, **settings: Any) -> io.NodeOutput:
        concept = build_concept("SEGAConceptFromConditioning", **settings)
        if not conditioning:
            raise ValueError(f"SEGAConceptFromConditioning: conditioning must not be empty, got {conditioning!r}")
        return io.NodeOutput(
            encoded_concept("SEGAConceptFromConditioning", concept, conditioning, "conditioning", mask)
        )
