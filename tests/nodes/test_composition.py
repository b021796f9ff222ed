"""An edit joins what other nodes do to the sampling; the order of the nodes in the graph does not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch


def rescale(model: Any) -> Any:
    from comfy_extras.nodes_model_advanced import RescaleCFG

    return RescaleCFG().patch(model, 0.7)[0]


def pre_cfg(model: Any) -> Any:
    model = model.clone()
    model.set_model_sampler_pre_cfg_function(lambda args: [0.9 * args["conds_out"][0], args["conds_out"][1]])
    return model


def post_cfg(model: Any) -> Any:
    model = model.clone()
    model.set_model_sampler_post_cfg_function(lambda args: 0.9 * args["denoised"])
    return model


def cond_batch(model: Any) -> Any:
    """Replace the host's evaluation by one that weakens the positive estimate."""
    import comfy.samplers

    def function(args: dict[str, Any]) -> list[torch.Tensor]:
        conds, x, sigma = args["conds"], args["input"], args["sigma"]
        cond, uncond = comfy.samplers.calc_cond_batch(args["model"], conds, x, sigma, args["model_options"])
        return [0.9 * cond, uncond]

    model = model.clone()
    model.set_model_sampler_calc_cond_batch_function(function)
    return model


def unet_wrapper(model: Any) -> Any:
    model = model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, params: 0.9 * apply(params["input"], params["timestep"], **params["c"])
    )
    return model


CFG_HOOKS = [rescale, pre_cfg, post_cfg, cond_batch]
PATCHES = [*CFG_HOOKS, unet_wrapper]


@pytest.mark.parametrize("patch", CFG_HOOKS)
def test_one_steps_edit_comes_on_top_of_a_cfg_hook(host: Any, patch: Callable) -> None:
    plain, hooked = (host.sample(model, steps=1) for model in (host.eps, patch(host.eps)))
    edit = host.sega(host.concept(), steps=1) - plain
    both = host.sega(host.concept(), model=patch(host.eps), steps=1) - hooked
    assert (hooked - plain).norm() > 1e-3 * plain.norm()
    assert (both - edit).norm() < 1e-3 * edit.norm()


@pytest.mark.parametrize("patch", PATCHES)
def test_both_effects_are_there_after_a_whole_sampling(host: Any, patch: Callable) -> None:
    both = host.sega(host.concept(), model=patch(host.eps))
    assert both.isfinite().all()
    for other in (host.sample(), host.sample(patch(host.eps)), host.sega(host.concept())):
        assert (both - other).norm() > 1e-3 * both.norm()


@pytest.mark.parametrize("patch", PATCHES)
def test_the_order_of_the_nodes_does_not_matter(host: Any, patch: Callable) -> None:
    concept = host.concept()
    before, after = host.patched(concept, model=patch(host.eps)), patch(host.patched(concept))
    assert torch.equal(host.sample(before), host.sample(after))


@pytest.mark.parametrize("patch", PATCHES)
def test_nothing_changes_for_another_node_without_concepts(host: Any, patch: Callable) -> None:
    assert torch.equal(host.sega(model=patch(host.eps)), host.sample(patch(host.eps)))


@pytest.mark.parametrize("patch", PATCHES)
def test_a_hooked_sampling_repeats(host: Any, patch: Callable) -> None:
    model = host.patched(host.concept(), model=patch(host.eps))
    assert torch.equal(host.sample(model), host.sample(model))


@pytest.mark.parametrize("settings", [{"mode": "independent"}, {"mode": "reference"}], ids=str)
def test_two_patches_in_a_row_are_both_edits(host: Any, settings: dict[str, Any]) -> None:
    one, two = host.concept(10), host.concept(11, direction="remove")
    chained = host.sample(host.patched(two, model=host.patched(one, **settings), **settings))
    joint = host.sega(one, two, **settings)
    assert (chained - joint).norm() < 1e-4 * joint.norm()
    assert not torch.allclose(joint, host.sega(one, **settings))


def test_patches_with_settings_of_their_own_keep_them(host: Any) -> None:
    early, late = host.concept(10, cooldown_steps=2), host.concept(11, warmup_steps=3)
    chained = host.sample(host.patched(late, model=host.patched(early, momentum_scale=0.0), momentum_scale=0.0))
    joint = host.sega(early, late, momentum_scale=0.0, mode="independent")
    assert (chained - joint).norm() < 1e-4 * joint.norm()


def test_a_stack_can_be_extended(host: Any) -> None:
    concepts = [host.concept(10), host.concept(11), host.concept(12)]
    node = host.pack.nodes.SEGAConceptStack
    extended = node.execute({"concept_0": concepts[2]}, stack=host.stack(*concepts[:2]))[0]
    assert extended == host.stack(*concepts)


def test_a_concept_alone_is_a_stack_of_one(host: Any) -> None:
    alone = host.pack.nodes.SEGAModelPatch.execute(
        host.eps,
        host.concept(),
        momentum_scale=0.1,
        momentum_beta=0.4,
        mode="reference",
        baseline="auto",
    )[0]
    assert torch.equal(host.sample(alone), host.sega(host.concept()))
