"""The types of our links."""

from __future__ import annotations

from comfy_api.latest import io

from .sampling.encoded_concept import EncodedConcept

MAX_CONCEPTS = 100

NOT_RECORDED = (
    "guidance must come from a SEGA Sampler run with this output connected, got None; change the sampler's seed to run "
    "it again"
)

SegaConcept = io.Custom("SEGA_CONCEPT")
SegaConceptStack = io.Custom("SEGA_CONCEPT_STACK")
SegaGuidance = io.Custom("SEGA_GUIDANCE")


def as_stack(concepts: EncodedConcept | tuple[EncodedConcept, ...] | None, node_id: str) -> tuple[EncodedConcept, ...]:
    """Return the concepts of a SEGA_CONCEPT, a SEGA_CONCEPT_STACK or an unconnected input, in order.

    Raises:
        ValueError: there are more than 100.
    """
    if concepts is None:
        return ()
    stack = concepts if isinstance(concepts, tuple) else (concepts,)
    if len(stack) > MAX_CONCEPTS:
        raise ValueError(f"{node_id}: concepts must be at most {MAX_CONCEPTS}, got {len(stack)}")
    return stack
