"""Semantic guidance (SEGA, arXiv 2301.12247) on noise estimates, in pure torch: needs no host."""

from .comparison import Comparison
from .concept import DIRECTIONS, MODES, THRESHOLDS_OVER, Concept, Direction, Mode, Settings, ThresholdOver
from .concept_settings import ConceptSettings
from .guard import FREE_STRENGTH, Guard, guarded, room_of
from .guidance import attention_mask, concept_guidance, keep_largest
from .inversion import Evaluation, Level, StandsStill, dpmpp_2m_sde_noise, euler_ancestral_noise
from .plan import passes_needed, progress_of, step_of_sigma, window
from .ranges import RANGES, Range
from .recorder import Recorder, recorded
from .run import GuidanceRun
from .texts import ComparedTexts, compared_texts
from .vectors import GuidanceVectors, Space

__all__ = [
    "DIRECTIONS",
    "FREE_STRENGTH",
    "MODES",
    "RANGES",
    "THRESHOLDS_OVER",
    "ComparedTexts",
    "Comparison",
    "Concept",
    "ConceptSettings",
    "Direction",
    "Evaluation",
    "Guard",
    "GuidanceRun",
    "GuidanceVectors",
    "Level",
    "Mode",
    "Range",
    "Recorder",
    "Settings",
    "Space",
    "StandsStill",
    "ThresholdOver",
    "attention_mask",
    "compared_texts",
    "concept_guidance",
    "dpmpp_2m_sde_noise",
    "euler_ancestral_noise",
    "guarded",
    "keep_largest",
    "passes_needed",
    "progress_of",
    "recorded",
    "room_of",
    "step_of_sigma",
    "window",
]
