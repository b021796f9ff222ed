"""Passes that cannot change the image are not run; those that can share the host's one batched call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.host import Host, Passes

STEPS = 4


def test_the_plain_sampler_runs_two_passes_per_step(host: Host) -> None:
    passes = Passes(host.eps)
    host.sample(passes.model)
    assert passes.sizes == [2] * STEPS


@pytest.mark.parametrize(
    ("concepts", "settings", "sizes"),
    [
        ([{}], {}, [3, 3, 3, 3]),
        ([{}, {}, {}], {}, [5, 5, 5, 5]),
        ([{"warmup_steps": 2}], {}, [3, 3, 3, 3]),
        ([{"warmup_steps": 2}], {"momentum_scale": 0.0}, [2, 2, 3, 3]),
        ([{"warmup_steps": 2}], {"momentum_scale": 0.0, "mode": "independent"}, [2, 2, 3, 3]),
        ([{"cooldown_steps": 2}], {}, [3, 3, 2, 2]),
        ([{"warmup_steps": 1, "cooldown_steps": 3}], {"momentum_scale": 0.0}, [2, 3, 3, 2]),
        ([{"warmup_steps": 1, "cooldown_steps": 3}] * 2, {"momentum_scale": 0.0}, [2, 4, 4, 2]),
        ([{"guidance_scale": 0.0}], {}, [2, 2, 2, 2]),
        ([{"weight": 0.0}, {}], {}, [3, 3, 3, 3]),
        ([{"warmup_steps": STEPS}], {}, [2, 2, 2, 2]),
        ([{"warmup_steps": 2}, {"warmup_steps": STEPS}], {}, [2, 2, 3, 3]),
        ([{"warmup_steps": 2}, {"warmup_steps": STEPS}], {"mode": "independent"}, [3, 3, 3, 3]),
        ([{}], {"cfg": 1.0}, [2, 2, 2, 2]),
        ([{}], {"cfg": 1.0, "baseline": "negative"}, [3, 3, 3, 3]),
        ([{}], {"baseline": "positive"}, [3, 3, 3, 3]),
        ([{}], {"reuse_steps": 2}, [3, 3, 3, 2]),
        ([{}, {"warmup_steps": 1}], {"reuse_steps": 3, "momentum_scale": 0.0}, [3, 4, 4, 3]),
        ([{}], {"reuse_steps": 2, "sampler_name": "heun"}, [3, 3, 3, 3, 3, 2, 2]),
        ([{}], {"reuse_steps": 2, "cfg": 1.0, "baseline": "negative"}, [3, 3, 3, 2]),
        ([{"warmup_steps": 3}], {"warmup_tolerance": 0.3}, [2, 2, 3, 3]),
    ],
    ids=str,
)
def test_each_step_is_one_call_with_the_passes_it_needs(
    host: Host, concepts: list[dict], settings: dict, sizes: list[int]
) -> None:
    passes = Passes(host.eps)
    host.sega(*(host.concept(10 + i, **concept) for i, concept in enumerate(concepts)), model=passes.model, **settings)
    assert passes.sizes == sizes


def test_a_batch_of_images_shares_the_call(host: Host) -> None:
    passes = Passes(host.eps)
    host.sega(host.concept(), model=passes.model, latent=host.latent(3))
    assert passes.sizes == [9] * STEPS


def test_guiders_with_a_cfg_of_their_own_evaluate_the_concepts_in_their_call(host: Host) -> None:
    passes = Passes(host.patched(host.concept(10), host.concept(11)))
    guider = host.custom.DualCFGGuider.execute(
        passes.model, host.conditioning(1), host.conditioning(4), host.conditioning(2), 4.0, 3.0, "regular"
    )[0]
    host.guide(guider)
    # This guider counts its prompts otherwise: negative, middle, positive.
    assert passes.labels == [[2, 1, 0, 0, 0]] * STEPS


@pytest.mark.parametrize("settings", [{"reuse_steps": 2}, {"warmup_tolerance": 0.2}], ids=str)
def test_an_approximation_is_near_the_full_edit_and_the_same_on_every_run(host: Host, settings: dict[str, Any]) -> None:
    concept = host.concept(10, warmup_steps=4, threshold=0.0, guidance_scale=2.0)
    plain, full = host.sega(steps=12), host.sega(concept, steps=12)
    first, second = (host.sega(concept, steps=12, **settings) for _ in range(2))
    assert 0 < (first - full).norm() < 0.5 * (full - plain).norm()
    assert torch.equal(first, second)
