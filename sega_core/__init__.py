"""Semantic guidance (SEGA, arXiv 2301.12247) on noise estimates: pure torch, usable without any host."""

from .concept import DIRECTIONS, MODES, THRESHOLDS_OVER, Concept, Direction, Mode, Settings, ThresholdOver
from .differences import Differences
from .guidance import attention_mask, concept_guidance, keep_largest
from .plan import passes_needed, step_of_sigma
from .run import Run
from .vectors import GuidanceVectors, Recorder, recorded

__all__ = [
    "DIRECTIONS",
    "MODES",
    "THRESHOLDS_OVER",
    "Concept",
    "Differences",
    "Direction",
    "GuidanceVectors",
    "Mode",
    "Recorder",
    "Run",
    "Settings",
    "ThresholdOver",
    "attention_mask",
    "concept_guidance",
    "keep_largest",
    "passes_needed",
    "recorded",
    "step_of_sigma",
]
