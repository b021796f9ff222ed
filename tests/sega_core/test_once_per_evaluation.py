"""What an evaluation costs besides the model: each thing is made once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sega_core import Concept, GuidanceRun, Recorder, Settings
from support.core import compared, noise


class Calls(TorchFunctionMode):
    """Counts the functions of torch that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[getattr(func, "__name__", "")] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_each_concept_is_compared_with_its_threshold_once(mode: str) -> None:
    concepts = [Concept(warmup_steps=0), Concept(warmup_steps=0), Concept(warmup_steps=0, threshold_over="space")]
    run = GuidanceRun(concepts, Settings(momentum_scale=0, mode=mode), 2)
    made_of = {c: compared(noise(1, 2, 4, 4, seed=c)) for c in range(3)}
    with Calls() as calls:
        run.guidance(0, made_of)
    assert calls.count["abs"] == 3


@pytest.mark.parametrize("concepts", [1, 5])
def test_recording_moves_an_evaluation_to_the_cpu_in_two_copies(concepts: int) -> None:
    recorder = Recorder((1, 4, 8, 8), (2.0, 1.0, 0.0), concepts)
    run = GuidanceRun([Concept(warmup_steps=0)] * concepts, Settings(), 2, recorder)
    made_of = {c: compared(noise(1, 4, 8, 8, seed=c)) for c in range(concepts)}
    with Calls() as calls:
        run.guidance(0, made_of, sigma=2.0)
    assert calls.count["cpu"] == 2
    assert (recorder.magnitudes()[0] > 0).all()


class Elsewhere(Tensor):
    """A tensor of a device on which one function of torch is missing, as on Apple's with an older PyTorch."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.device.__get__:
            return torch.device("mps")
        if func is Tensor.kthvalue:
            raise NotImplementedError("The operator 'aten::kthvalue.values' is not currently implemented")
        return super().__torch_function__(func, types, args, kwargs)


@pytest.mark.parametrize("over", ["energy", "channel", "space"])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9, 0.99])
def test_a_device_without_a_selection_keeps_the_same_elements(threshold: float, over: str) -> None:
    from sega_core import keep_largest

    psi = noise(2, 4, 9, 7)
    kept = keep_largest(psi.as_subclass(Elsewhere), threshold, over)
    assert torch.equal(kept.as_subclass(Tensor), keep_largest(psi, threshold, over))
