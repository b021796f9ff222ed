"""The host's guiders around a MODEL: each function returns a maker of one kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.host import Host, find_node, run_node

POSITIVE, NEGATIVE, THIRD = 1, 2, 4
# A UNet that can do without a text: its attention layers are as wide as the text.
SMALL = {"channel_mult": [1, 1]}

Maker = Callable[[Host, Any], Any]


def cfg(scale: float) -> Maker:
    return lambda host, model: host.custom.CFGGuider.execute(
        model, host.conditioning(POSITIVE), host.conditioning(NEGATIVE), scale
    )[0]


def basic() -> Maker:
    return lambda host, model: host.custom.BasicGuider.execute(model, host.conditioning(POSITIVE))[0]


def dual(style: str, first: float = 4.0, second: float = 3.0) -> Maker:
    def make(host: Host, model: Any) -> Any:
        prompts = [host.conditioning(seed) for seed in (POSITIVE, THIRD, NEGATIVE)]
        return host.custom.DualCFGGuider.execute(model, *prompts, first, second, style)[0]

    return make


def perp_neg(scale: float, negative: float) -> Maker:
    def make(host: Host, model: Any) -> Any:
        prompts = [host.conditioning(seed) for seed in (POSITIVE, NEGATIVE, THIRD)]
        return find_node("nodes_perpneg", "PerpNegGuider").execute(model, *prompts, scale, negative)[0]

    return make


def two_models(scale: float, negative: int | None = NEGATIVE, second: bool = True) -> Maker:
    def make(host: Host, model: Any) -> Any:
        node = find_node("nodes_custom_sampler", "DualModelGuider")
        inputs = {"model_negative": host.model(model.model.model_type, seed=2, **SMALL) if second else None}
        inputs["negative"] = None if negative is None else host.conditioning(negative)
        return run_node(node, model=model, positive=host.conditioning(POSITIVE), cfg=scale, **inputs)

    return make
