"""Concepts and settings, validated on construction.

The names follow diffusers' SemanticStableDiffusionPipeline without its `edit_` prefix:

| here               | paper (arXiv 2301.12247)   | diffusers argument       | reference default |
|--------------------|----------------------------|--------------------------|-------------------|
| direction          | sign of psi (eq. 5)        | reverse_editing_direction| add (False)       |
| guidance_scale     | s_e (eq. 6)                | edit_guidance_scale      | 5                 |
| threshold          | lambda (eq. 6, 7)          | edit_threshold           | 0.9               |
| warmup_steps       | delta (section 4)          | edit_warmup_steps        | 10                |
| cooldown_steps     | not in the paper           | edit_cooldown_steps      | None              |
| weight             | g_i (eq. 8)                | edit_weights             | 1                 |
| momentum_scale     | s_m (eq. 9)                | edit_momentum_scale      | 0.1               |
| momentum_beta      | beta_m (eq. 10)            | edit_mom_beta            | 0.4               |

Two settings are LEDITS++'s (arXiv 2311.16711, section 3.3), off by default:

| here                | LEDITS++ (equation 12)        | diffusers' LEDITS++ argument            |
|---------------------|-------------------------------|-----------------------------------------|
| threshold_over      | M^2: summed over the channels | always "space"; "energy" is our own     |
| attention_threshold | lambda of M^1                 | use_intersect_mask, use_cross_attn_mask |

One is our own, off by default:

| here                | keeps                                                                               |
|---------------------|-------------------------------------------------------------------------------------|
| local_warmup_steps  | the composition, which the first steps settle, from an edit that covers little of it |

Two settings are our own, off by default, and approximate:

| here                | saves                                                             |
|---------------------|-------------------------------------------------------------------|
| reuse_steps         | passes whose guidance has hardly changed since a few steps before |
| warmup_tolerance    | warm-up passes that hardly count in the momentum                  |

`ConceptSettings` holds the same in terms that suit any model and number of steps: strength as a multiple of the
prompt's own guidance scale, steps as progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .ranges import check_choice, check_count, check_numbers

Direction = Literal["add", "remove"]
Mode = Literal["reference", "independent"]
ThresholdOver = Literal["energy", "channel", "space"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
MODES: tuple[Mode, ...] = get_args(Mode)
THRESHOLDS_OVER: tuple[ThresholdOver, ...] = get_args(ThresholdOver)


@dataclass(frozen=True)
class Concept:
    """One concept to add to or remove from the image.

    Args:
        direction: "add" moves the image towards the concept, "remove" away from it.
        guidance_scale: strength, in [0, inf); 0 is off. Reference default 5.
        threshold: the quantile, in [0, 1), below which the concept's guidance is dropped; 0 keeps every element.
            Reference default 0.9: edits a tenth of the elements.
        warmup_steps: first step, in [0, inf), at which the concept acts. Reference default 10.
        cooldown_steps: first step at which it no longer acts; None is never. Must be after `warmup_steps`.
        weight: weight among the concepts, in [0, inf); 0 is off. Reference default 1.
        threshold_over: "channel" takes the quantile in each channel separately, as in SEGA; "space" takes it of the
            magnitude summed over the channels, as in LEDITS++: a place is edited in all channels or none; "energy"
            is like "space", but weights places by their energy (`guidance.keep_largest`).
        attention_threshold: the quantile, in [0, 1), of the cross-attention to the concept's words, below which the
            guidance is dropped too; 0 is off. LEDITS++ uses the same number as for `threshold`.
        local_warmup_steps: the first step, in [0, inf), at which the concept acts if it is local
            (`guidance.is_covering`); 0 is off. For independent mode.

    Raises:
        ValueError: names the argument, its range and the value.
    """

    direction: Direction = "add"
    guidance_scale: float = 5.0
    threshold: float = 0.9
    warmup_steps: int = 10
    cooldown_steps: int | None = None
    weight: float = 1.0
    threshold_over: ThresholdOver = "channel"
    attention_threshold: float = 0.0
    local_warmup_steps: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("direction", self.direction, DIRECTIONS)
        check_choice("threshold_over", self.threshold_over, THRESHOLDS_OVER)
        check_count("warmup_steps", self.warmup_steps)
        check_count("local_warmup_steps", self.local_warmup_steps)
        if self.cooldown_steps is not None:
            check_count("cooldown_steps", self.cooldown_steps)
            if self.cooldown_steps <= self.warmup_steps:
                raise ValueError(
                    f"cooldown_steps must be after warmup_steps ({self.warmup_steps}), got {self.cooldown_steps}"
                )

    @property
    def factor(self) -> float:
        """The signed guidance scale."""
        return self.guidance_scale if self.direction == "add" else -self.guidance_scale

    @property
    def is_off(self) -> bool:
        """Whether the concept's guidance is zero at every step."""
        return self.guidance_scale == 0 or self.weight == 0

    def is_warm(self, step: int) -> bool:
        return step >= self.warmup_steps

    def is_cooled(self, step: int) -> bool:
        return self.cooldown_steps is not None and step >= self.cooldown_steps


@dataclass(frozen=True)
class Settings:
    """Settings that all concepts of a run share.

    Args:
        momentum_scale: s_m, in [0, inf); 0 is off. Reference default 0.1.
        momentum_beta: beta_m, in [0, 1), how much of the momentum is kept from step to step. Reference default 0.4.
        mode: "reference" computes what diffusers computes; "independent" keeps the concepts apart: each has its own
            momentum, weights are used as they are, and a concept acts exactly from its warm-up to its cool-down.
        reuse_steps: reuses a concept's guidance for up to this many steps, in [1, inf); 1 is off, more is approximate
            and saves passes (`plan.passes_due`). Not in the reference.
        warmup_tolerance: skips warm-up passes that add up to this share of the momentum, in [0, 1]; 0 is off, more is
            approximate and saves passes. Not in the reference.

    Raises:
        ValueError: names the argument, its range and the value.
    """

    momentum_scale: float = 0.1
    momentum_beta: float = 0.4
    mode: Mode = "reference"
    reuse_steps: int = 1
    warmup_tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("mode", self.mode, MODES)
        check_count("reuse_steps", self.reuse_steps, 1)

    @property
    def momentum_kept(self) -> float:
        """The factor on the momentum at a step without any estimate (equations 9 and 10)."""
        return self.momentum_beta + (1 - self.momentum_beta) * self.momentum_scale
