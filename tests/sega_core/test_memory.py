"""What a run holds beyond the differences it is given: three latents and one per concept, and nothing afterwards."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from sega_core import Concept, Settings

SHAPE, STEPS = (1, 4, 32, 32), 6
# What is not of the latents' size: a few numbers per channel.
SMALL = 0.2


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    return importlib.import_module("dev.bench.memory")


@pytest.mark.parametrize("mode", ["reference", "independent"])
@pytest.mark.parametrize(
    "concepts",
    [
        [Concept(warmup_steps=0)],
        [Concept(warmup_steps=2, threshold_over="space")] * 4,
        [Concept(warmup_steps=1, cooldown_steps=4, threshold_over="energy")] * 8,
    ],
    ids=len,
)
def test_a_run_holds_three_latents_and_one_per_concept(memory: ModuleType, concepts: list[Concept], mode: str) -> None:
    peak, kept = memory.core_memory(concepts, Settings(mode=mode), SHAPE, STEPS)
    assert 1 < peak <= 3 + len(concepts) + SMALL
    assert kept == 0
