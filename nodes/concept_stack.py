"""SEGAConceptStack: several concepts for one sampler."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .sampling.encoded_concept import EncodedConcept
from .types import MAX_CONCEPTS, SegaConcept, SegaConceptStack, as_stack


class SEGAConceptStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        template = io.Autogrow.TemplatePrefix(
            SegaConcept.Input("concept", tooltip="A concept; when it is connected, a new input appears."),
            prefix="concept_",
            min=1,
            max=MAX_CONCEPTS,
        )
        return io.Schema(
            node_id="SEGAConceptStack",
            display_name="SEGA Concept Stack",
            category="sampling/SEGA",
            description="Combines up to 100 concepts for one SEGA Sampler.",
            search_aliases=["semantic guidance", "edit guidance", "combine concepts", "multiple concepts"],
            inputs=[
                io.Autogrow.Input(
                    "concepts",
                    template=template,
                    tooltip="The concepts, 1 to 100; when the last input is connected, a new one appears.",
                ),
                SegaConceptStack.Input(
                    "stack", optional=True, tooltip="A stack to extend; its concepts come first. Off: not connected."
                ),
            ],
            outputs=[SegaConceptStack.Output("stack", display_name="stack", tooltip="Connect to a SEGA Sampler.")],
        )

    @classmethod
    def execute(
        cls,
        concepts: dict[str, EncodedConcept | tuple[EncodedConcept, ...]],
        stack: tuple[EncodedConcept, ...] | None = None,
        **unknown: Any,
    ) -> io.NodeOutput:
        if unknown:
            raise ValueError(
                f"SEGAConceptStack: concepts must be concept_0 to concept_{MAX_CONCEPTS - 1}, got "
                f"{', '.join(sorted(unknown))}"
            )
        # A switch, whose output has any type, may bring a stack.
        added = tuple(concept for each in concepts.values() for concept in as_stack(each, "SEGAConceptStack"))
        if not added:
            raise ValueError("SEGAConceptStack: concepts must hold at least one concept, got none")
        return io.NodeOutput(as_stack((stack or ()) + added, "SEGAConceptStack"))
