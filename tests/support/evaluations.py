"""What a sampling did, evaluation by evaluation: heard from the pack's log, whose records at DEBUG hold it whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class Seen:
    """One evaluation.

    Args:
        step: of the schedule.
        sigma: noise level.
        differences: per concept that was evaluated and acts, its estimate minus the one that it is compared with; of
            packed latents in the first part.
        attention: per concept whose attention counts, the cross-attention to its words, (B, h, w).
        parts: the guidance of each part of the latents; None where there is none.
    """

    step: int
    sigma: float
    differences: dict[int, Tensor]
    attention: dict[int, Tensor]
    parts: list[Tensor | None]

    @property
    def guidance(self) -> Tensor | None:
        """The guidance of the picture: the first part."""
        return self.parts[0]


def seen(done: Any) -> Seen:
    """Return what a record of the log says, at once: CFG functions may change the prompts' estimates in place."""
    made_of = {c: comparison for c, comparison in done.comparisons[0].items() if comparison is not None}
    differences = {c: comparison.difference for c, comparison in made_of.items()}
    attention = {c: made.attention for c, made in made_of.items() if made.attention is not None}
    return Seen(done.step, done.sigma, differences, attention, list(done.guidance))


@contextmanager
def listening(hear: Callable[[Seen], None]) -> Iterator[None]:
    """Call `hear` with each evaluation."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            (done,) = record.args
            hear(seen(done))

    logger, listener = logging.getLogger("semantic_guidance"), Listener()
    before = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before[0])
        logger.propagate = before[1]
