"""What real packs do that reaches into the sampling, each in its smallest form; the pack is named in the docstring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dev.host.passes import Passes, options_of
from support.core import noise
from support.host import STEPS, Host, every_kind, wrapped
from support.packs import images_of
from support.tensors import differ, distance

GROUP = "Other packs' patches"
POSITIVE, NEGATIVE, CONCEPT, OTHER = 1, 2, 10, 11

REFERENCE = pytest.mark.compat(GROUP, "ControlNets that leave notes for the network (Advanced-ControlNet's Reference)")
SAMPLING = pytest.mark.compat(GROUP, "a sampling function of another pack, with context windows (AnimateDiff-Evolved)")
SORTED = pytest.mark.compat(
    GROUP, "attention patches that split the batch where the labels change (AttentionCouple, NAG)"
)
RANDOM = pytest.mark.compat(GROUP, "patches that draw random numbers (HyperTile, MSW-MSA)")
SCHEDULES = pytest.mark.compat(GROUP, "prompts with a schedule of their own (prompt-control, smZNodes)")
AGAIN = pytest.mark.compat(GROUP, "samplings that start again (FreeInit)")


@REFERENCE
def test_the_network_finds_what_a_controlnet_has_noted(host: Host) -> None:
    """Advanced-ControlNet's Reference notes in the transformer options that it is there, for a wrapper to read."""
    import comfy.controlnet

    class Noting(comfy.controlnet.ControlBase):
        def get_control(self, x: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any) -> None:
            transformer_options["noted"] = True

        def get_models(self) -> list[Any]:
            return []

    noted: list[bool] = []

    def read(executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        noted.append(options_of(args, kwargs).get("noted", False))
        return executor(x, *args, **kwargs) * (0.9 if noted[-1] else 1.0)

    control = Noting()
    prompts = {name: host.conditioning(seed, control=control) for name, seed in (("positive", 1), ("negative", 2))}
    host.sega(*host.two(), model=wrapped(host.eps, "DIFFUSION_MODEL", read), **prompts)
    assert noted == [True] * STEPS


@pytest.fixture
def another_sampling_function(host: Host, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A MODEL whose network needs what another pack's sampling function puts into the options."""
    import comfy.samplers

    def sampling_function(
        model: Any, x: Tensor, timestep: Tensor, uncond: Any, cond: Any, scale: float, model_options: Any, seed: Any
    ) -> Tensor:
        transformer = {**model_options["transformer_options"], "pack_params": {"windows": 2}}
        options = {**model_options, "transformer_options": transformer}
        both = comfy.samplers.calc_cond_batch(model, [cond, uncond], x, timestep, options)
        return both[1] + scale * (both[0] - both[1])

    def windows(executor: Callable[..., Any], model: Any, conds: Any, x: Tensor, timestep: Tensor, options: Any) -> Any:
        count = options["transformer_options"]["pack_params"]["windows"]
        chunks = zip(x.chunk(count), timestep.chunk(count), strict=True)
        parts = [executor(model, conds, part, of_part, options) for part, of_part in chunks]
        return [torch.cat(estimates) for estimates in zip(*parts, strict=True)]

    def network(executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        assert options_of(args, kwargs)["pack_params"]
        return executor(x, *args, **kwargs)

    monkeypatch.setattr(comfy.samplers, "sampling_function", sampling_function)
    return wrapped(wrapped(host.eps, "CALC_COND_BATCH", windows), "DIFFUSION_MODEL", network)


@SAMPLING
def test_the_concepts_join_the_calls_of_another_packs_sampling_function(
    host: Host, another_sampling_function: Any, request: pytest.FixtureRequest
) -> None:
    """AnimateDiff-Evolved replaces the host's sampling function and slides windows over the frames, here the batch."""
    latent, concepts = host.latent(4), host.two(threshold=0.0)
    passes = Passes(another_sampling_function)
    edited = host.sega(*concepts, model=passes.model, latent=latent)
    unedited = host.sample(another_sampling_function, latent=latent)
    assert differ(edited, unedited)
    # Two windows of two images, with the prompts and the concepts.
    assert passes.sizes == [8, 8] * STEPS
    request.getfixturevalue("monkeypatch").undo()
    change = host.sega(*concepts, latent=latent) - host.sample(latent=latent)
    assert distance(edited - unedited, change) < 1e-3


def couple(model: Any) -> Any:
    """Give the positive prompt two texts, each for half of the picture."""
    patches = couplings()
    model = model.clone()
    model.set_model_attn2_patch(*patches["attn2_patch"])
    model.set_model_attn2_output_patch(*patches["attn2_output_patch"])
    return model


def coupled(conditioning: list[Any]) -> list[Any]:
    """Let a prompt bring the same patches as a hook."""
    import comfy.hooks

    hook = comfy.hooks.TransformerOptionsHook({"patches": couplings()}, comfy.hooks.EnumHookScope.HookedOnly)
    group = comfy.hooks.HookGroup()
    group.add(hook)
    return comfy.hooks.set_hooks_for_conditioning(conditioning, group)


def couplings() -> dict[str, list[Callable[..., Any]]]:
    """Return patches that take all 0s for one prompt, and put its result behind all 1s."""

    def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> tuple[Tensor, ...]:
        zeros = images_of(extra_options["cond_or_uncond"], 0, len(q))
        extra_options["images"] = len(q)
        return tuple(torch.cat([x, weight * x[zeros]]) for x, weight in ((q, 1.0), (k, 0.7), (v, 0.7)))

    def output(out: Tensor, extra_options: dict[str, Any]) -> Tensor:
        images, labels = extra_options["images"], extra_options["cond_or_uncond"]
        ones, zeros = (images_of(labels, label, images) for label in (1, 0))
        half = torch.linspace(0, 1, out.shape[1]).view(1, -1, 1)
        positive = half * out[zeros] + (1 - half) * out[images:]
        return torch.cat([out[ones], positive.unflatten(0, (-1, images // len(labels))).sum(0)])

    return {"attn2_patch": [patch], "attn2_output_patch": [output]}


def halves(model: Any) -> Any:
    """Push the rows behind the last 1 away from the first one: what a patch does that cuts the batch in two."""

    def patch(out: Tensor, extra_options: dict[str, Any]) -> Tensor:
        labels = extra_options["cond_or_uncond"]
        size, ones = len(out) // len(labels), labels.count(1)
        if 0 < ones < len(labels):
            positive = out[ones * size :]
            out[ones * size :] = positive + 0.5 * (positive - out[:size])
        return out

    model = model.clone()
    model.set_model_attn2_output_patch(patch)
    return model


@SORTED
@every_kind
@pytest.mark.parametrize("patch", [couple, halves])
def test_patches_that_expect_all_1s_before_all_0s_leave_the_prompts_as_they_are(
    host: Host, patch: Callable, instead_of: int | None
) -> None:
    """AttentionCouple of ComfyUI-ppm, and NAG of two packs."""
    model = patch(host.eps)
    unedited = host.sample(model)
    assert differ(unedited, host.sample())
    # Concepts of next to no weight: the prompts' own estimates stay.
    faint = [host.concept(seed, instead_of, weight=1e-7) for seed in (CONCEPT, OTHER)]
    assert distance(host.sega(*faint, model=model), unedited) < 1e-4
    # What the patch does to the positive prompt alone it does to a concept in its place.
    by_hand = host.eps if instead_of is None else model
    one, other = (
        host.sample(by_hand, positive=host.conditioning(seed), cfg=1.0, steps=1)
        for seed in (CONCEPT, instead_of or NEGATIVE)
    )
    concept = host.concept(CONCEPT, instead_of, threshold=0.0)
    change = host.sega(concept, model=model, steps=1) - host.sample(model, steps=1)
    assert distance(change, 5.0 * (one - other)) < 1e-3


@SORTED
@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_a_patch_that_a_prompt_brings_sees_one_positive_prompt_at_a_time(host: Host, cfg: float) -> None:
    """prompt-control's `COUPLE`."""
    prompt, changed = (coupled(host.conditioning(seed)) for seed in (POSITIVE, CONCEPT))
    unedited = host.sample(positive=prompt, cfg=cfg)
    assert differ(unedited, host.sample(cfg=cfg))
    concept = host.concept(CONCEPT, POSITIVE, guidance_scale=0.0, threshold=0.0)
    edited = host.sega(concept, positive=prompt, cfg=cfg, momentum_scale=0.0)
    assert distance(edited - unedited, host.sample(positive=changed, cfg=cfg) - unedited) < 1e-3


@RANDOM
def test_a_patch_that_draws_random_numbers_draws_the_same_beside_concepts(host: Host) -> None:
    """ComfyUI's own HyperTile, and MSW-MSA of jankhidiffusion."""
    from comfy_extras import nodes_hypertile

    tiled = nodes_hypertile.HyperTile.execute(host.eps, 32, 3, 0, False)[0]
    latent = host.latent(size=16)
    same = host.both_saying_the_same()
    before = torch.get_rng_state()
    unedited = host.sample(tiled, latent=latent)
    assert differ(unedited, host.sample(latent=latent))
    torch.set_rng_state(before)
    assert distance(host.sega(*same, model=tiled, latent=latent), unedited) < 1e-5
    torch.set_rng_state(before)
    assert differ(host.sega(*host.two(), model=tiled, latent=latent), unedited)


def scheduled(host: Host, instead_of: int | None, first: dict[str, Any], second: dict[str, Any]) -> Any:
    """Return a concept of two texts, one after the other."""
    return host.concept([*host.conditioning(CONCEPT, **first), *host.conditioning(OTHER, **second)], instead_of)


def in_turns(host: Host, concept: Any, instead_of: int | None, turn: float) -> None:
    """Assert that the concept's first text acts down to a noise level, and its second from there on."""
    settings = {"momentum_scale": 0.0, "mode": "independent", "steps": 6}
    sigmas = host.samplers.calculate_sigmas(host.eps.get_model_object("model_sampling"), "normal", 6)
    step = int((sigmas > turn).sum())
    assert 0 < step < 6
    first = host.concept(CONCEPT, instead_of, end_percent=step / 6)
    second = host.concept(OTHER, instead_of, start_percent=step / 6)
    both = host.sega(first, second, **settings)
    assert torch.equal(host.sega(concept, **settings), both)
    assert not torch.equal(host.sega(first, **settings), both)


@SCHEDULES
def test_texts_for_parts_of_the_sampling_take_turns(host: Host, one_pass_at_a_time: None) -> None:
    """prompt-control's `[hat:glasses:0.5]`."""
    first, second = {"start_percent": 0.0, "end_percent": 0.5}, {"start_percent": 0.5, "end_percent": 1.0}
    turn = host.eps.get_model_object("model_sampling").percent_to_sigma(0.5)
    in_turns(host, scheduled(host, None, first, second), None, turn)


@SCHEDULES
def test_texts_that_another_pack_leaves_out_of_a_step_are_absent(
    host: Host, one_pass_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """smZNodes' `[hat:glasses:0.5]`, under its own keys (here with noise levels)."""
    import comfy.samplers

    original = comfy.samplers.get_area_and_mult

    def get_area_and_mult(conds: dict[str, Any], x: Tensor, timestep: Tensor) -> Any:
        if "start_perc" in conds and not conds["end_perc"] < float(timestep[0]) <= conds["start_perc"]:
            return None
        return original(conds, x, timestep)

    monkeypatch.setattr(comfy.samplers, "get_area_and_mult", get_area_and_mult)
    first, second = {"start_perc": 100.0, "end_perc": 2.0}, {"start_perc": 2.0, "end_perc": 0.0}
    in_turns(host, scheduled(host, POSITIVE, first, second), POSITIVE, 2.0)


@SCHEDULES
@every_kind
def test_while_none_of_its_texts_acts_a_concept_adds_nothing(
    host: Host, instead_of: int | None, guidance_log: list[Tensor | None]
) -> None:
    first, second = {"start_percent": 0.6, "end_percent": 0.8}, {"start_percent": 0.8, "end_percent": 1.0}
    host.sega(scheduled(host, instead_of, first, second), momentum_scale=0.0, steps=6)
    acts = [guidance is not None and bool(guidance.any()) for guidance in guidance_log]
    assert acts[:2] == [False, False]
    assert acts[-1]


@AGAIN
@pytest.mark.parametrize(("mode", "inside"), [("reference", True), ("independent", False)])
def test_a_sampling_that_starts_again_starts_without_momentum(host: Host, mode: str, inside: bool) -> None:
    """AnimateDiff-Evolved's FreeInit: several samplings in one, inside of the edit or around it."""

    def again(executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        executor(*args, **kwargs)
        return executor(*args, **kwargs)

    settings = {"momentum_scale": 0.9, "momentum_beta": 0.8, "mode": mode, "reuse_steps": 4}
    concepts = host.two(start_percent=1 / STEPS)
    once = host.sample(host.patched(*concepts, **settings))
    if inside:
        twice = host.sample(wrapped(host.patched(*concepts, **settings), "OUTER_SAMPLE", again))
    else:
        twice = host.sample(host.patched(*concepts, model=wrapped(host.eps, "OUTER_SAMPLE", again), **settings))
    assert torch.equal(twice, once)


@SAMPLING
def test_what_a_pack_adds_to_its_copies_of_the_prompts_is_added_to_the_concepts(
    host: Host, one_pass_at_a_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AnimateDiff-Evolved's image models (PIA) copy the prompts and put an image into the copies."""
    import comfy.conds
    import comfy.samplers

    added = {"c_concat": comfy.conds.CONDNoiseShape(noise(1, 4, 8, 8))}

    def sampling_function(
        model: Any, x: Tensor, timestep: Tensor, uncond: Any, cond: Any, scale: float, model_options: Any, seed: Any
    ) -> Tensor:
        prompts = [[{**e, "model_conds": {**e["model_conds"], **added}} for e in entries] for entries in (cond, uncond)]
        both = comfy.samplers.calc_cond_batch(model, prompts, x, timestep, model_options)
        return both[1] + scale * (both[0] - both[1])

    def network(executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        assert x.shape[1] == 8
        return executor(x[:, :4] + 0.1 * x[:, 4:], *args, **kwargs)

    monkeypatch.setattr(comfy.samplers, "sampling_function", sampling_function)
    model = wrapped(host.eps, "DIFFUSION_MODEL", network)
    unedited, same = host.sample(model), host.both_saying_the_same()
    assert torch.equal(host.sega(*same, model=model), unedited)
    assert differ(host.sega(*host.two(), model=model), unedited)


@SAMPLING
def test_a_pack_that_takes_the_answers_apart_itself_gets_its_own_prompts_alone(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """smZNodes' `a AND b :0.5` puts a model function wrapper of its own in, and counts what comes back."""
    import comfy.samplers

    def sampling_function(
        model: Any, x: Tensor, timestep: Tensor, uncond: Any, cond: Any, scale: float, model_options: Any, seed: Any
    ) -> Tensor:
        answers: list[Tensor] = []

        def keep(apply: Callable[..., Tensor], params: dict[str, Any]) -> Tensor:
            answers.append(apply(params["input"], params["timestep"], **params["c"]))
            assert params["cond_or_uncond"] == [1, 0]
            return answers[-1]

        options = {**model_options, "model_function_wrapper": keep}
        comfy.samplers.calc_cond_batch(model, [cond, uncond], x, timestep, options)
        negative, positive = answers[0].chunk(2)
        return negative + scale * (positive - negative)

    concepts = host.two(threshold=0.0)
    change = host.sega(*concepts) - host.sample()
    monkeypatch.setattr(comfy.samplers, "sampling_function", sampling_function)
    assert distance(host.sega(*concepts) - host.sample(), change) < 1e-3
