"""What is drawn: everything that determines a picture besides its noise, as plain values, so each is drawn once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..demo.workflows import CFG, STEPS


@dataclass(frozen=True)
class Recipe:
    """How to draw faces; what it does not say has the nodes' default values.

    Args:
        prompt: the positive prompt.
        negative: the negative prompt.
        later: the prompt of all but the first steps; empty is the same.
        mixed_with: a prompt to average the first one with; empty is none.
        is_perpendicular: whether the host's PerpNeg takes the negative prompt.
        concepts: of each concept, a SEGAConcept node's values.
        settings: a SEGASampler node's values.
        steps: of the sampling.
        cfg: of the sampling.
    """

    prompt: str
    negative: str = ""
    later: str = ""
    mixed_with: str = ""
    is_perpendicular: bool = False
    concepts: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    cfg: float = CFG

    @property
    def key(self) -> str:
        return digest(asdict(self))


def digest(values: Any) -> str:
    """Return a short name for plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
