"""Semantic guidance (SEGA, arXiv 2301.12247) on noise estimates: pure torch, usable without any host."""

from .concept import DIRECTIONS, MODES, Concept, Direction, Mode, Settings
from .guidance import concept_guidance, keep_largest
from .plan import passes_needed, step_of_sigma
from .run import Run

__all__ = [
    "DIRECTIONS",
    "MODES",
    "Concept",
    "Direction",
    "Mode",
    "Run",
    "Settings",
    "concept_guidance",
    "keep_largest",
    "passes_needed",
    "step_of_sigma",
]
