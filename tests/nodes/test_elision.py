"""Passes that cannot change the image are not run; those that can share the host's one batched call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

STEPS = 4


def test_the_plain_sampler_runs_two_passes_per_step(host: Any, count_passes: Callable) -> None:
    passes = count_passes(host.eps)
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
    ],
    ids=str,
)
def test_each_step_is_one_call_with_the_passes_it_needs(
    host: Any, count_passes: Callable, concepts: list[dict], settings: dict, sizes: list[int]
) -> None:
    passes = count_passes(host.eps)
    host.sega(*(host.concept(10 + i, **concept) for i, concept in enumerate(concepts)), model=passes.model, **settings)
    assert passes.sizes == sizes


def test_a_batch_of_images_shares_the_call(host: Any, count_passes: Callable) -> None:
    passes = count_passes(host.eps)
    host.sega(host.concept(), model=passes.model, latent=host.latent(3))
    assert passes.sizes == [9] * STEPS


@pytest.mark.parametrize(("baseline", "label"), [("negative", 1), ("positive", 0)])
def test_patches_see_concepts_as_the_baseline(host: Any, count_passes: Callable, baseline: str, label: int) -> None:
    passes = count_passes(host.eps)
    host.sega(host.concept(10), host.concept(11), model=passes.model, baseline=baseline)
    for labels in passes.labels:
        assert set(labels[:2]) == {0, 1}
        assert labels[2:] == [label, label]


def test_attention_patches_find_the_prompts_where_their_labels_say(host: Any) -> None:
    seen: list[tuple[list[int], torch.Tensor]] = []

    def patch(q: Any, k: Any, v: Any, extra_options: dict[str, Any]) -> Any:
        seen.append((list(extra_options["cond_or_uncond"]), k))
        return q, k, v

    model = host.eps.clone()
    model.set_model_attn2_patch(patch)
    host.sega(host.concept(10), host.concept(11), model=model)
    assert seen
    for labels, context in seen:
        assert set(labels) == {0, 1}
        assert torch.equal(context[labels.index(0)], host.conditioning(1)[0][0][0])
        assert torch.equal(context[labels.index(1)], host.conditioning(2)[0][0][0])


def test_model_function_wrappers_see_concepts_as_the_baseline(host: Any) -> None:
    seen = []

    def wrapper(apply: Callable, params: dict[str, Any]) -> Any:
        seen.append(list(params["cond_or_uncond"]))
        return apply(params["input"], params["timestep"], **params["c"])

    model = host.eps.clone()
    model.set_model_unet_function_wrapper(wrapper)
    edited = host.sega(host.concept(10), model=model)
    assert seen == [[1, 0, 1]] * STEPS
    assert torch.equal(edited, host.sega(host.concept(10)))


def test_a_wrapper_that_splits_the_batch_hands_on_the_labels_it_was_shown(host: Any, count_passes: Callable) -> None:
    def wrapper(apply: Callable, params: dict[str, Any]) -> torch.Tensor:
        c, labels, out = params["c"], params["cond_or_uncond"], []
        assert c["transformer_options"]["cond_or_uncond"] == labels
        for i, label in enumerate(labels):
            options = {**c["transformer_options"], "cond_or_uncond": [label]}
            chunk = {"c_crossattn": c["c_crossattn"][i : i + 1], "transformer_options": options}
            out.append(apply(params["input"][i : i + 1], params["timestep"][i : i + 1], **chunk))
        return torch.cat(out)

    passes = count_passes(host.eps)
    passes.model.set_model_unet_function_wrapper(wrapper)
    edited, whole = host.sega(host.concept(10), model=passes.model), host.sega(host.concept(10))
    assert passes.labels == [[1], [0], [1]] * STEPS
    assert (edited - whole).norm() < 1e-4 * whole.norm()


def test_guiders_that_bypass_the_hook_get_the_concepts_in_one_more_call(host: Any, count_passes: Callable) -> None:
    passes = count_passes(host.patched(host.concept(10), host.concept(11)))
    guider = host.custom.DualCFGGuider.execute(
        passes.model, host.conditioning(1), host.conditioning(4), host.conditioning(2), 4.0, 3.0, "regular"
    )[0]
    host.guide(guider)
    assert passes.sizes == [3, 2] * STEPS
    assert all(set(labels) <= {0, 1} for labels in passes.labels[1::2])
