"""What an edit may depend on, and what a sampling may leave behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from support.guiders import cfg as cfg_guider
from support.host import SETTINGS, STEPS, Host, every_kind
from support.tensors import differ


def snapshot(value: Any) -> Any:
    """Return a copy that compares by content; what is neither container, tensor nor number, by identity."""
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(item) for item in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value if isinstance(value, int | float | str | None) else id(value)


def failing_after(calls: int, error: BaseException) -> Callable:
    def wrapper(apply: Callable, params: dict[str, Any]) -> Any:
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise error
        return apply(params["input"], params["timestep"], **params["c"])

    return wrapper


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_a_concept_that_is_off_is_the_plain_sampler(host: Host, mode: str) -> None:
    plain = host.sample(scheduler="simple")
    # The last step of this scheduler begins at three quarters.
    for off in ({"strength": 0.0}, {"weight": 0.0}, {"start_percent": 0.9}):
        assert torch.equal(host.sega(host.concept(**off), mode=mode, scheduler="simple"), plain)


@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION", "FLOW"])
@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_a_concept_edits(host: Host, kind: str, mode: str) -> None:
    import comfy.model_base

    model = host.model(comfy.model_base.ModelType[kind])
    edited, other = (host.sega(host.concept(seed), model=model, mode=mode) for seed in (10, 11))
    assert differ(edited, host.sample(model))
    assert differ(edited, other)


@every_kind
def test_cfg_1_is_edited(host: Host, instead_of: int | None) -> None:
    assert differ(host.sega(host.concept(10, instead_of), cfg=1.0), host.sample(cfg=1.0))


def test_the_sampler_does_what_the_model_patch_does(host: Host) -> None:
    assert torch.equal(host.sega(host.concept()), host.sample(host.patched(host.concept())))


def custom(host: Host, node: Any, model: Any, **changes: Any) -> Any:
    """Sample with a node that has SamplerCustom's inputs; return its outputs."""
    sigmas = host.custom.BasicScheduler.execute(host.eps, "normal", STEPS, 1.0)[0]
    prompts = host.conditioning(1), host.conditioning(2)
    euler = host.samplers.sampler_object("euler")
    return node.execute(model, True, 3, 4.0, *prompts, euler, sigmas, host.latent(), **changes).args


def test_the_custom_sampler_does_what_the_hosts_does_and_records(host: Host) -> None:
    theirs, ours = host.custom.SamplerCustom, host.pack.nodes.SEGASamplerCustom
    plain, nothing = custom(host, ours, host.eps)
    assert torch.equal(plain["samples"], custom(host, theirs, host.eps)[0]["samples"])
    assert not nothing.concepts
    concept = host.concept()
    settings = {"momentum_scale": 0.1, "mode": "reference"}
    edited, guidance = custom(host, ours, host.eps, concepts=concept, **settings)
    assert torch.equal(edited["samples"], custom(host, theirs, host.patched(concept))[0]["samples"])
    assert torch.equal(edited["samples"], host.sega(concept))
    assert guidance.guidance[0].shape == (STEPS, 1, 4, 8, 8)
    assert (guidance.magnitudes > 0).all()


def test_the_same_workflow_gives_the_same_bits(host: Host) -> None:
    first, second = (host.sega(host.concept(), host.concept(11), sampler_name="dpmpp_sde") for _ in range(2))
    assert torch.equal(first, second)


def test_one_patched_model_serves_runs_in_turn(host: Host) -> None:
    model = host.patched(host.concept(start_percent=1 / STEPS), momentum_scale=0.5)
    before = host.sample(model, seed=5)
    host.sample(model, seed=6, steps=7, sampler_name="heun", latent=host.latent(2))
    assert torch.equal(host.sample(model, seed=5), before)


@pytest.mark.parametrize("interrupt", [False, True], ids=["error", "interrupt"])
def test_a_failed_run_leaves_nothing_behind(host: Host, interrupt: bool) -> None:
    import comfy.model_management

    error = comfy.model_management.InterruptProcessingException() if interrupt else RuntimeError("out of luck")
    original = host.eps.clone()
    model = host.patched(host.concept(), host.concept(11), model=original, momentum_scale=0.5)
    expected = host.guide(cfg_guider(4.0)(host, model))
    original_before, before = snapshot(original.model_options), snapshot(model.model_options)

    broken = model.clone()
    broken.set_model_unet_function_wrapper(failing_after(2, error))
    options_before = snapshot(broken.model_options)
    guider = cfg_guider(4.0)(host, broken)
    conds_before = snapshot(guider.original_conds)
    with pytest.raises(type(error)):
        host.guide(guider)

    assert set(guider.conds) == {"positive", "negative"}
    assert snapshot(guider.original_conds) == conds_before
    assert guider.model_options is broken.model_options
    assert snapshot(broken.model_options) == options_before
    assert snapshot(model.model_options) == before
    assert snapshot(original.model_options) == original_before
    assert torch.equal(host.guide(cfg_guider(4.0)(host, model)), expected)
    # The guider that failed works once its model does.
    broken.model_options.pop("model_function_wrapper")
    assert torch.equal(host.guide(guider), expected)


def test_the_inputs_are_left_alone(host: Host) -> None:
    model, latent = host.eps.clone(), {**host.latent(2), "batch_index": [4, 2]}
    positive, negative = host.conditioning(1, strength=0.8), host.conditioning(2)
    concept = host.concept()
    inputs = [model.model_options, positive, negative, latent, concept.conditioning, model.wrappers]
    before = snapshot(inputs)
    host.sega(concept, model=model, latent=latent, positive=positive, negative=negative)
    assert snapshot(inputs) == before


@pytest.mark.parametrize("mode", ["reference", "independent"])
def test_an_images_edit_ignores_the_rest_of_its_batch(host: Host, mode: str) -> None:
    concepts = [host.concept(10), host.concept(11, 1, direction="remove", start_percent=1 / STEPS)]
    together = host.sega(*concepts, latent=host.latent(3), mode=mode)
    for index in range(3):
        alone = host.sega(*concepts, latent={**host.latent(), "batch_index": [index]}, mode=mode)
        assert (together[index] - alone[0]).norm() < 1e-4 * alone.norm()


def test_the_direction_is_the_sign_and_the_scale_the_size_of_the_edit(host: Host) -> None:
    plain = host.sample(steps=1)
    scales = [{"guidance_scale": 2.0}, {"guidance_scale": 6.0}, {"guidance_scale": 2.0, "direction": "remove"}]
    once, thrice, removed = (host.sega(host.concept(**given), steps=1) - plain for given in scales)
    assert once.norm() > 1e-3 * plain.norm()
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(removed, -once, rtol=1e-3, atol=1e-3)


def test_a_threshold_leaves_the_rest_of_the_latent_alone(host: Host) -> None:
    change = host.sega(host.concept(threshold=0.9), steps=1) - host.sample(steps=1)
    assert (change.abs() > 1e-2).flatten(2).sum(2).unique().tolist() == [7]


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_a_text_alone_is_compared_with_the_negative_prompt_whatever_the_cfg(host: Host, cfg: float) -> None:
    alone, negative, positive = (host.sega(host.concept(10, other), cfg=cfg) for other in (None, 2, 1))
    torch.testing.assert_close(alone, negative, rtol=1e-4, atol=1e-4)
    assert differ(alone, positive)


# Concepts in a stack, and two patches of the pack in one graph, are all edits of the same sampling.


@pytest.mark.parametrize("settings", [{"mode": "independent"}, {"mode": "reference"}], ids=str)
def test_two_patches_in_a_row_are_both_edits(host: Host, settings: dict[str, Any]) -> None:
    one, two = host.concept(10, threshold=0.0), host.concept(11, 1, threshold=0.0, direction="remove")
    chained = host.sample(host.patched(two, model=host.patched(one, **settings), **settings))
    joint = host.sega(one, two, **settings)
    assert (chained - joint).norm() < 1e-4 * joint.norm()
    assert not torch.allclose(joint, host.sega(one, **settings))


def test_patches_with_settings_of_their_own_keep_them(host: Host) -> None:
    early, late = host.concept(10, end_percent=2 / STEPS), host.concept(11, 1, start_percent=3 / STEPS)
    chained = host.sample(host.patched(late, model=host.patched(early, momentum_scale=0.0), momentum_scale=0.0))
    joint = host.sega(early, late, momentum_scale=0.0, mode="independent")
    assert (chained - joint).norm() < 1e-4 * joint.norm()


def test_a_stack_can_be_extended(host: Host) -> None:
    concepts = [host.concept(10), host.concept(11), host.concept(12)]
    node = host.pack.nodes.SEGAConceptStack
    extended = node.execute({"concept_0": concepts[2]}, stack=host.stack(*concepts[:2]))[0]
    assert extended == host.stack(*concepts)
    through_a_switch = node.execute({"concept_0": host.stack(*concepts[:2]), "concept_1": concepts[2]})[0]
    assert through_a_switch == extended


def test_a_concept_alone_is_a_stack_of_one(host: Host) -> None:
    alone = host.pack.nodes.SEGAModelPatch.execute(host.eps, host.concept(), **SETTINGS)[0]
    assert torch.equal(host.sample(alone), host.sega(host.concept()))
