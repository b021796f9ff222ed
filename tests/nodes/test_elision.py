"""Passes that cannot change the image are not run; those that can share the host's one batched call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dev.host.passes import Passes
from support import guiders
from support.evaluations import Seen
from support.host import STEPS, Host


@pytest.mark.parametrize(
    ("concepts", "settings", "sizes"),
    [
        ([], {}, [2, 2, 2, 2]),
        ([{}, {}, {}], {}, [5, 5, 5, 5]),
        ([{"start_percent": 0.5}], {}, [3, 3, 3, 3]),
        ([{"start_percent": 0.5}], {"momentum_scale": 0.0}, [2, 2, 3, 3]),
        ([{"start_percent": 0.5}], {"momentum_scale": 0.0, "mode": "independent"}, [2, 2, 3, 3]),
        ([{"end_percent": 0.5}], {}, [3, 3, 2, 2]),
        ([{"start_percent": 0.25, "end_percent": 0.75}], {"momentum_scale": 0.0}, [2, 3, 3, 2]),
        ([{"strength": 0.0}], {}, [2, 2, 2, 2]),
        ([{"weight": 0.0}, {}], {}, [3, 3, 3, 3]),
        ([{"start_percent": 0.9}], {"scheduler": "simple"}, [2, 2, 2, 2]),
        ([{"start_percent": 0.5}, {"start_percent": 0.9}], {"scheduler": "simple"}, [2, 2, 3, 3]),
        ([{}], {"cfg": 1.0}, [3, 3, 3, 3]),
        ([{"start_percent": 0.5}], {"cfg": 1.0, "momentum_scale": 0.0}, [1, 1, 3, 3]),
        ([{}], {"reuse_steps": 2}, [3, 3, 3, 2]),
        ([{}, {"start_percent": 0.25}], {"reuse_steps": 3, "momentum_scale": 0.0}, [3, 4, 4, 3]),
        ([{}], {"reuse_steps": 2, "sampler_name": "heun"}, [3, 3, 3, 3, 3, 2, 2]),
        ([{}], {"reuse_steps": 2, "cfg": 1.0}, [3, 3, 3, 1]),
        ([{"start_percent": 0.75}], {"warmup_tolerance": 0.3}, [2, 2, 3, 3]),
        ([{}], {"latent": {"samples": torch.zeros(3, 4, 8, 8)}}, [9, 9, 9, 9]),
    ],
    ids=lambda value: "" if isinstance(value, dict) and "latent" in value else str(value),
)
def test_each_step_is_one_call_with_the_passes_it_needs(
    host: Host, concepts: list[dict], settings: dict, sizes: list[int]
) -> None:
    passes = Passes(host.eps)
    host.sega(*(host.concept(10 + i, **concept) for i, concept in enumerate(concepts)), model=passes.model, **settings)
    assert passes.sizes == sizes


@pytest.mark.parametrize(
    ("pairs", "more"),
    [
        # The prompts are the texts 1 and 2.
        ([(10, 1)], 1),
        ([(1, 10)], 1),
        ([(10, 2)], 1),
        ([(10, 11)], 2),
        ([(10, None)], 1),
        ([(10, 10)], 0),
        ([(2, None)], 0),
        ([(10, 1), (11, 1)], 2),
        ([(10, 12), (11, 12)], 3),
        ([(10, 12), (12, 10)], 2),
        ([(10, 12), (12, 11), (10, 11)], 3),
        ([(10, 2), (10, None)], 1),
    ],
    ids=str,
)
def test_each_text_that_is_no_prompts_own_is_evaluated_once(
    host: Host, evaluations: list[Seen], pairs: list[tuple[int, int | None]], more: int
) -> None:
    passes = Passes(host.eps)
    host.sega(*(host.concept(*pair) for pair in pairs), model=passes.model)
    assert passes.sizes == [2 + more] * STEPS
    acting = {c for c, (text, instead_of) in enumerate(pairs) if text != (instead_of or 2)}
    assert all(evaluation.differences.keys() == acting for evaluation in evaluations)


def test_guiders_with_a_cfg_of_their_own_evaluate_the_concepts_in_their_call(host: Host) -> None:
    passes = Passes(host.patched(host.concept(10), host.concept(11)))
    host.guide(guiders.dual("regular")(host, passes.model))
    # This guider counts its prompts otherwise: negative, middle, positive.
    assert passes.labels == [[2, 1, 0, 0, 0]] * STEPS


@pytest.mark.parametrize("settings", [{"reuse_steps": 2}, {"warmup_tolerance": 0.2}], ids=str)
def test_an_approximation_is_near_the_full_edit_and_the_same_on_every_run(host: Host, settings: dict[str, Any]) -> None:
    concept = host.concept(10, start_percent=4 / 12, threshold=0.0, guidance_scale=2.0)
    plain, full = host.sega(steps=12), host.sega(concept, steps=12)
    first, second = (host.sega(concept, steps=12, **settings) for _ in range(2))
    assert 0 < (first - full).norm() < 0.5 * (full - plain).norm()
    assert torch.equal(first, second)
