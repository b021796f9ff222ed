"""A sampling that ends in NaN or infinity is an error that says whose doing it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from support.host import Host

STEPS = 5


def broken(model: Any, from_call: int) -> Any:
    """Return a MODEL whose network gives NaN from one of its calls on."""
    import comfy.patcher_extension

    calls = []

    def network(executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(len(calls))
        return executor(x, *args, **kwargs) * (float("nan") if calls[-1] >= from_call else 1.0)

    model = model.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "broken", network)
    return model


@pytest.mark.parametrize("call", [0, 1], ids=["from the first step on", "before the concepts act"])
def test_a_model_that_gives_nan_without_concepts_is_named_and_they_are_not(host: Host, call: int) -> None:
    concept = host.concept(start_percent=3 / STEPS)
    with pytest.raises(
        ValueError, match=r"^SEGASampler: the latent has become NaN or infinite; the model's own"
    ) as error:
        host.sega(concept, model=broken(host.eps, call), steps=STEPS)
    assert "lower the concepts'" not in str(error.value)


def test_concepts_that_are_too_strong_are_named(host: Host) -> None:
    with pytest.raises(ValueError, match=r"^SEGASampler: the latent has become NaN or infinite; lower the concepts'"):
        host.sega(host.concept(guidance_scale=1e38), steps=STEPS)
