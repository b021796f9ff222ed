"""The pack's nodes."""

from .concept import SEGAConcept
from .concept_from_conditioning import SEGAConceptFromConditioning
from .concept_stack import SEGAConceptStack
from .conditioning_file import SEGALoadConditioning, SEGASaveConditioning
from .guidance_file import SEGALoadGuidance, SEGASaveGuidance
from .invert import SEGAInvert
from .model_patch import SEGAModelPatch
from .preview import SEGAPreview
from .sampler import SEGASampler
from .sampler_custom import SEGASamplerCustom
from .strengths import SEGAStrengths

NODES = [
    SEGAConcept,
    SEGAConceptFromConditioning,
    SEGAConceptStack,
    SEGASampler,
    SEGASamplerCustom,
    SEGAModelPatch,
    SEGAInvert,
    SEGAStrengths,
    SEGAPreview,
    SEGASaveGuidance,
    SEGALoadGuidance,
    SEGASaveConditioning,
    SEGALoadConditioning,
]

__all__ = ["NODES", *(node.__name__ for node in NODES)]
