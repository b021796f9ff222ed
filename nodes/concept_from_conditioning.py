"""SEGAConceptFromConditioning: a concept from another node's CONDITIONING."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .concept_inputs import (
    advanced_inputs,
    check_percents,
    concept_inputs,
    concept_settings,
    encoded_concept,
)
from .types import SegaConcept


class SEGAConceptFromConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGAConceptFromConditioning",
            display_name="SEGA Concept (from Conditioning)",
            category="sampling/SEGA",
            description="Adds or removes a concept that another node has encoded, with any text encoder: combined or "
            "averaged prompts, for example.",
            search_aliases=["semantic guidance", "edit guidance", "concept slider", "editing prompt embeddings"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The encoded concept. Only its text is used; areas, masks, sizes and ControlNets come "
                    "from the prompt it is compared with.",
                ),
                io.Conditioning.Input(
                    "instead_of",
                    optional=True,
                    tooltip="The encoded prompt without the concept, usually the positive prompt. Off: not connected; "
                    "the negative prompt is used.",
                ),
                *concept_inputs(),
                *advanced_inputs(),
            ],
            outputs=[
                SegaConcept.Output("concept", display_name="concept", tooltip="Connect to a SEGA Sampler or Stack.")
            ],
        )

    @classmethod
    def validate_inputs(cls, start_percent: float | None = None, end_percent: float | None = None) -> bool | str:
        return check_percents(start_percent, end_percent)

    @classmethod
    def execute(
        cls,
        conditioning: list[Any],
        instead_of: list[Any] | None = None,
        mask: Tensor | None = None,
        curve: Any = None,
        strengths: Any = None,
        **values: Any,
    ) -> io.NodeOutput:
        node_id = "SEGAConceptFromConditioning"
        settings = concept_settings(node_id, **values)
        if not conditioning:
            raise ValueError(f"{node_id}: conditioning must not be empty, got {conditioning!r}")
        if instead_of is not None and not instead_of:
            raise ValueError(f"{node_id}: instead_of must not be empty, got {instead_of!r}")
        return io.NodeOutput(
            encoded_concept(
                node_id,
                settings,
                conditioning,
                instead_of,
                "conditioning",
                mask=mask,
                curve=curve,
                strengths=strengths,
            )
        )
