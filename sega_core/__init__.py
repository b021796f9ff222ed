"""Semantic guidance (SEGA, arXiv 2301.12247) on noise estimates: pure torch, usable without any host."""

from .comparison import Comparison
from .concept import DIRECTIONS, MODES, THRESHOLDS_OVER, Concept, Direction, Mode, Settings, ThresholdOver
from .guidance import attention_mask, concept_guidance, keep_largest
from .plan import passes_needed, step_of_sigma
from .run import Run
from .vectors import GuidanceVectors, Recorder, Space, recorded

__all__ = [
    "DIRECTIONS",
    "MODES",
    "THRESHOLDS_OVER",
    "Comparison",
    "Concept",
    "Direction",
    "GuidanceVectors",
    "Mode",
    "Recorder",
    "Run",
    "Settings",
    "Space",
    "ThresholdOver",
    "attention_mask",
    "concept_guidance",
    "keep_largest",
    "passes_needed",
    "recorded",
    "step_of_sigma",
]
