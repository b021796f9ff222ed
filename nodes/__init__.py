"""The pack's nodes."""

from .concept import SEGAConcept
from .concept_from_conditioning import SEGAConceptFromConditioning
from .concept_stack import SEGAConceptStack
from .model_patch import SEGAModelPatch
from .sampler import SEGASampler

NODES = [SEGAConcept, SEGAConceptFromConditioning, SEGAConceptStack, SEGASampler, SEGAModelPatch]

__all__ = ["NODES", "SEGAConcept", "SEGAConceptFromConditioning", "SEGAConceptStack", "SEGAModelPatch", "SEGASampler"]
