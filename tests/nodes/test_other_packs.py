"""The edit joins what other packs hang into the sampling, whichever node comes first in the graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dev.host.passes import Passes, options_of
from support.host import Host, every_kind, find_node, run_node, wrapped
from support.packs import attention, images_of, ip_adapter
from support.tensors import differ, distance, relative

GROUP = "Other packs' patches"
STEPS = 3


def around(kind: str, wrapper: Callable) -> Callable[[Any], Any]:
    return lambda model: wrapped(model, kind, wrapper)


def setting(name: str, function: Callable, *places: Any, **options: Any) -> Callable[[Any], Any]:
    """Patch with a method of MODEL."""

    def patch(model: Any) -> Any:
        model = model.clone()
        getattr(model, f"set_model_{name}")(function, *places, **options)
        return model

    return patch


def host_node(module: str, name: str, **inputs: Any) -> Callable[[Any], Any]:
    return lambda model: run_node(find_node(module, name), model=model, **inputs)


def dynamic_thresholding(args: dict[str, Any]) -> torch.Tensor:
    """Mix the plain result with one whose channels are as wide as the positive prompt's."""
    cond, uncond = args["cond"], args["uncond"]
    mixed = uncond + args["cond_scale"] * (cond - uncond)
    dims = tuple(range(2, mixed.ndim))
    return 0.5 * mixed + 0.5 * mixed * cond.std(dim=dims, keepdim=True) / mixed.std(dim=dims, keepdim=True)


def in_place(args: dict[str, Any]) -> list[torch.Tensor]:
    """Change the estimates that the host hands over, instead of new ones."""
    for estimate in args["conds_out"]:
        estimate.mul_(0.9)
    return args["conds_out"]


def one_more_pass(args: dict[str, Any]) -> torch.Tensor:
    """Evaluate the positive prompt once more, at other latents, and push away from it."""
    import comfy.samplers

    x, sigma = 0.8 * args["input"], args["sigma"]
    (weak,) = comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], x, sigma, args["model_options"])
    return args["denoised"] + 0.5 * (args["cond_denoised"] - weak)


def two_calls(args: dict[str, Any]) -> list[torch.Tensor]:
    """Take two prompts, evaluate one after the other, and weaken the positive one's estimate."""
    import comfy.samplers

    x, sigma, options = args["input"], args["sigma"], args["model_options"]
    cond, uncond = (
        comfy.samplers.calc_cond_batch(args["model"], [prompt], x, sigma, options)[0] for prompt in args["conds"]
    )
    return [0.9 * cond, uncond]


def half_noise(executor: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return executor(0.5 * noise, *args, **kwargs)


def options_of_its_own(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Sample with options of its own, as EasyCache does, and a function in them."""
    import comfy.model_patcher

    guider = executor.class_obj
    kept = guider.model_options
    guider.model_options = comfy.model_patcher.create_model_options_clone(kept)
    comfy.model_patcher.set_model_options_post_cfg_function(guider.model_options, lambda args: 0.9 * args["denoised"])
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_options = kept


def lower_sigmas(executor: Any, guider: Any, sigmas: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return executor(guider, 0.9 * sigmas, *args, **kwargs)


def weaker_prediction(executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return 0.9 * executor(x, *args, **kwargs)


def weaker_estimates(executor: Any, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
    return [0.9 * out for out in executor(*args, **kwargs)]


def weaker_positive(executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Weaken what the model makes of the positive prompt."""
    out = executor(x, *args, **kwargs).clone()
    out[images_of(options_of(args, kwargs)["cond_or_uncond"], 0, len(out))] *= 0.9
    return out


def weaker_call(apply: Callable, params: dict[str, Any]) -> torch.Tensor:
    return 0.9 * apply(params["input"], params["timestep"], **params["c"])


def a_call_per_prompt(apply: Callable, params: dict[str, Any]) -> torch.Tensor:
    """Evaluate each prompt of a batch alone, the positive one in another way."""
    c, labels = params["c"], params["cond_or_uncond"]
    parts = zip(*(x.chunk(len(labels)) for x in (params["input"], params["timestep"], c["c_crossattn"])), strict=True)
    out = []
    for (x, sigma, context), label in zip(parts, labels, strict=True):
        options = {**c["transformer_options"], "cond_or_uncond": [label]}
        estimate = apply(x, sigma, c_crossattn=context, transformer_options=options)
        out.append(0.9 * estimate if label == 0 else estimate)
    return torch.cat(out)


def longer_negative(q: Any, k: torch.Tensor, v: torch.Tensor, extra_options: dict[str, Any]) -> Any:
    """Change the text of the negative prompt in the cross-attention, found by its label."""
    scale = torch.ones(len(k), 1, 1)
    scale[images_of(extra_options["cond_or_uncond"], 1, len(k))] = 1.3
    return q, scale * k, scale * v


def normalized_attention(out: torch.Tensor, extra_options: dict[str, Any]) -> torch.Tensor:
    """Push the positive prompt's attention away from the negative one's, where a call holds both."""
    labels = extra_options["cond_or_uncond"]
    if not {0, 1} <= set(labels):
        return out
    size = len(out) // len(labels)
    first, second = (labels.index(label) * size for label in (0, 1))
    positive, negative = out[first : first + size], out[second : second + size]
    out[first : first + size] = positive + 0.5 * (positive - negative)
    return out


def recorded_attention(model: Any) -> Any:
    """Keep what the negative prompt's attention looked at, and use it after the CFG: SAG's way."""
    seen = {}

    def attend(q: Any, k: torch.Tensor, v: Any, extra_options: dict[str, Any], **kwargs: Any) -> torch.Tensor:
        labels = extra_options["cond_or_uncond"]
        if 1 in labels:
            size = len(k) // len(labels)
            seen["k"] = k[labels.index(1) * size :][:size].mean()
        return attention(q, k, v, extra_options)

    model = setting("attn1_replace", attend, "middle", 0)(model)
    return setting("sampler_post_cfg_function", lambda args: args["denoised"] * (1 + 4 * seen["k"]))(model)


CFG_ROW = "sampler_cfg_function (RescaleCFG, CFG-Zero*, dynamic thresholding)"
HOOKS_ROW = "pre-CFG and post-CFG functions"
BATCH_ROW = "sampler_calc_cond_batch_function"
CALL_ROW = "model function wrappers"
CROSS_ROW = "cross-attention patches that know the prompts by their labels (IP-Adapter)"
SELF_ROW = "self-attention patches that mix the prompts or keep what they saw (NAG, SAG)"
BLOCK_ROW = "patches of the model's blocks"
WRAPPERS_ROW = "wrappers: {}"

# Per patch: its row, and whether it changes what the model estimates for a prompt, and not only what is made of it.
PATCHES: dict[str, tuple[Callable[[Any], Any], str, bool]] = {
    "RescaleCFG": (host_node("nodes_model_advanced", "RescaleCFG", multiplier=0.7), CFG_ROW, False),
    "CFGZeroStar": (host_node("nodes_cfg", "CFGZeroStar"), CFG_ROW, False),
    "dynamic thresholding": (
        setting("sampler_cfg_function", dynamic_thresholding, disable_cfg1_optimization=True),
        CFG_ROW,
        False,
    ),
    "pre-CFG in place": (setting("sampler_pre_cfg_function", in_place), HOOKS_ROW, False),
    "post-CFG": (setting("sampler_post_cfg_function", lambda args: 0.9 * args["denoised"]), HOOKS_ROW, False),
    "post-CFG with a pass of its own": (setting("sampler_post_cfg_function", one_more_pass), HOOKS_ROW, False),
    "calc_cond_batch": (setting("sampler_calc_cond_batch_function", two_calls), BATCH_ROW, False),
    "OUTER_SAMPLE": (around("OUTER_SAMPLE", half_noise), WRAPPERS_ROW.format("OUTER_SAMPLE"), True),
    "OUTER_SAMPLE with options": (
        around("OUTER_SAMPLE", options_of_its_own),
        WRAPPERS_ROW.format("OUTER_SAMPLE"),
        False,
    ),
    "SAMPLER_SAMPLE": (around("SAMPLER_SAMPLE", lower_sigmas), WRAPPERS_ROW.format("SAMPLER_SAMPLE"), True),
    "PREDICT_NOISE": (around("PREDICT_NOISE", weaker_prediction), WRAPPERS_ROW.format("PREDICT_NOISE"), True),
    "CALC_COND_BATCH": (around("CALC_COND_BATCH", weaker_estimates), WRAPPERS_ROW.format("CALC_COND_BATCH"), True),
    "APPLY_MODEL": (around("APPLY_MODEL", weaker_positive), WRAPPERS_ROW.format("APPLY_MODEL"), False),
    "DIFFUSION_MODEL": (around("DIFFUSION_MODEL", weaker_positive), WRAPPERS_ROW.format("DIFFUSION_MODEL"), False),
    "model function": (setting("unet_function_wrapper", weaker_call), CALL_ROW, True),
    "model function per prompt": (setting("unet_function_wrapper", a_call_per_prompt), CALL_ROW, False),
    "IP-Adapter": (lambda model: ip_adapter(model, ("middle", 0), ("input", 1), ("output", 2)), CROSS_ROW, True),
    "attn2": (setting("attn2_patch", longer_negative), CROSS_ROW, True),
    "output block": (setting("output_block_patch", lambda h, hsp, options: (0.8 * h, hsp)), BLOCK_ROW, True),
    "NAG": (setting("attn1_output_patch", normalized_attention), SELF_ROW, False),
    "SAG": (recorded_attention, SELF_ROW, False),
}


def patches(*names: str) -> Any:
    """Return the parametrization over these patches, or all."""
    chosen = {name: pytest.mark.compat(GROUP, PATCHES[name][1]) for name in names or PATCHES}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in chosen.items()])


def edit(host: Host, *concepts: Any, model: Any = None, **changes: Any) -> torch.Tensor:
    return host.sega(*concepts, **{"model": model, "steps": STEPS, **changes})


def plain(host: Host, model: Any = None, **changes: Any) -> torch.Tensor:
    return host.sample(model, **{"steps": STEPS, **changes})


@patches()
def test_both_effects_are_there_in_any_order_of_the_nodes(host: Host, name: str) -> None:
    """And the patch's alone where the concepts are off."""
    patch = PATCHES[name][0]
    both = plain(host, host.patched(*host.two(), model=patch(host.eps)))
    alone = plain(host, patch(host.eps))
    assert differ(alone, plain(host))
    assert differ(both, alone)
    assert differ(both, edit(host, *host.two()))
    assert torch.equal(both, plain(host, patch(host.patched(*host.two()))))
    assert torch.equal(edit(host, *host.two(weight=0.0), model=patch(host.eps)), alone)


@patches()
def test_concepts_that_say_what_they_are_compared_with_add_nothing(
    host: Host, name: str, one_pass_at_a_time: None, guidance_log: list[torch.Tensor]
) -> None:
    patch = PATCHES[name][0]
    same = edit(host, *host.both_saying_the_same(), model=patch(host.eps))
    assert guidance_log
    assert not any(guidance.any() for guidance in guidance_log)
    assert torch.equal(same, plain(host, patch(host.eps)))


@every_kind
@patches("IP-Adapter", "attn2", "output block", "model function", "CALC_COND_BATCH")
def test_one_steps_edit_is_made_of_the_patched_models_estimates(host: Host, name: str, instead_of: int | None) -> None:
    """What a patch does to the prompt that a concept is compared with it does to the concept."""
    model = PATCHES[name][0](host.eps)
    prompt, cfg = ("negative", 0.0) if instead_of is None else ("positive", 1.0)
    by_hand = [
        plain(host, model, **{prompt: host.conditioning(seed)}, cfg=cfg, steps=1) for seed in (10, instead_of or 2)
    ]
    concept = host.concept(10, instead_of, threshold=0.0)
    change = edit(host, concept, model=model, steps=1) - plain(host, model, steps=1)
    assert distance(change, 5.0 * (by_hand[0] - by_hand[1])) < 1e-3


# These change the positive prompt's estimate, and that of a concept in its place.
OF_THE_POSITIVE = ("APPLY_MODEL", "DIFFUSION_MODEL", "model function per prompt")


@patches(*(name for name, (_, _, changes_estimates) in PATCHES.items() if not changes_estimates))
def test_one_steps_edit_comes_on_top_of_a_patch_that_leaves_the_compared_estimates_alone(host: Host, name: str) -> None:
    patch, before = PATCHES[name][0], plain(host, steps=1)
    patched = plain(host, patch(host.eps), steps=1)
    for concept in host.two(threshold=0.0)[: 1 if name in OF_THE_POSITIVE else 2]:
        change, both = edit(host, concept, steps=1), edit(host, concept, model=patch(host.eps), steps=1)
        assert distance(both - patched, change - before) < 1e-3


# With one prompt per call the host itself leaves NAG's patch without the prompt that it compares with.
@patches("post-CFG with a pass of its own", "calc_cond_batch", *OF_THE_POSITIVE, "IP-Adapter", "attn2", "SAG")
def test_one_prompt_per_call_gives_the_same_edit(host: Host, name: str, request: pytest.FixtureRequest) -> None:
    patch, concepts = PATCHES[name][0], host.two(threshold=0.0)
    together, alone = edit(host, *concepts, model=patch(host.eps)), plain(host, patch(host.eps))
    request.getfixturevalue("one_pass_at_a_time")
    assert relative(edit(host, *concepts, model=patch(host.eps)) - together, together - alone) < 1e-3


@patches("IP-Adapter", "attn2", *OF_THE_POSITIVE)
def test_a_batch_of_images_is_edited_image_by_image(host: Host, name: str) -> None:
    """The labels hold for each image: the first of three is the one sampled alone."""
    model, concepts = PATCHES[name][0](host.eps), host.two(threshold=0.0)
    three, one = (edit(host, *concepts, model=model, latent=host.latent(count)) for count in (3, 1))
    assert relative(three[:1] - one, one - plain(host, model)) < 1e-3


@pytest.mark.compat(GROUP, CROSS_ROW)
def test_attention_patches_find_the_prompts_where_their_labels_say(host: Host) -> None:
    seen: list[tuple[list[int], torch.Tensor]] = []

    def patch(q: Any, k: Any, v: Any, extra_options: dict[str, Any]) -> Any:
        seen.append((list(extra_options["cond_or_uncond"]), k))
        return q, k, v

    concepts = [host.concept(10), host.concept(11), host.concept(12, 1), host.concept(13, 2)]
    host.sega(*concepts, model=setting("attn2_patch", patch)(host.eps))
    assert seen
    for labels, context in seen:
        # As in the host's own batches, where patches split them; each prompt stands before its concepts.
        assert labels == [1, 1, 1, 1, 0, 0]
        assert torch.equal(context[0], host.conditioning(2)[0][0][0])
        assert torch.equal(context[4], host.conditioning(1)[0][0][0])


@pytest.mark.compat(GROUP, CALL_ROW)
def test_model_function_wrappers_see_concepts_as_the_compared_prompt(host: Host) -> None:
    """Also one that splits the batch hands on the labels that it was shown."""
    seen, passes = [], Passes(host.eps)

    def wrapper(apply: Callable, params: dict[str, Any]) -> Any:
        assert params["c"]["transformer_options"]["cond_or_uncond"] == params["cond_or_uncond"]
        seen.append(list(params["cond_or_uncond"]))
        return apply(params["input"], params["timestep"], **params["c"])

    edited = edit(host, *host.two(), model=setting("unet_function_wrapper", wrapper)(host.eps))
    assert seen == [[1, 1, 0, 0]] * STEPS
    assert torch.equal(edited, edit(host, *host.two()))
    edit(host, *host.two(), model=setting("unet_function_wrapper", a_call_per_prompt)(passes.model))
    assert passes.labels == [[1], [1], [0], [0]] * STEPS


@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("APPLY_MODEL"))
def test_apply_model_wrappers_see_concepts_as_the_compared_prompt(host: Host) -> None:
    seen = []

    def look(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(list(options_of(args, kwargs)["cond_or_uncond"]))
        return executor(*args, **kwargs)

    edit(host, *host.two(), model=wrapped(host.eps, "APPLY_MODEL", look))
    assert seen == [[1, 1, 0, 0]] * STEPS


@pytest.mark.compat(GROUP, "ControlNets that know the prompts by their labels (Advanced-ControlNet)")
def test_a_controlnet_that_acts_on_the_positive_prompt_alone_is_no_part_of_the_guidance(
    host: Host, one_pass_at_a_time: None, guidance_log: list[torch.Tensor]
) -> None:
    """Advanced-ControlNet can weaken itself for the negative prompt, which it knows by its label."""
    import comfy.controlnet

    class PositiveControl(comfy.controlnet.ControlBase):
        def get_control(self, x: torch.Tensor, t: Any, cond: Any, batched_number: int, transformer_options: Any) -> Any:
            residual = torch.zeros((len(x), 64, 4, 4))
            residual[images_of(transformer_options["cond_or_uncond"], 0, len(x))] = 3.0
            return {"input": [], "middle": [residual], "output": []}

        def get_models(self) -> list[Any]:
            return []

    control = {"control": PositiveControl(), "control_apply_to_uncond": False}
    prompts = {"positive": host.conditioning(1, **control), "negative": host.conditioning(2, **control)}
    controlled = plain(host, **prompts)
    assert differ(controlled, plain(host))
    same = edit(host, *host.both_saying_the_same(), **prompts)
    assert guidance_log
    assert not any(guidance.any() for guidance in guidance_log)
    assert torch.equal(same, controlled)


def test_a_controlnet_is_still_what_it_is(host: Host) -> None:
    """Other packs ask for its class, and copy it."""
    import comfy.controlnet

    class Control(comfy.controlnet.ControlBase):
        upscaled = "nearest"

        def get_control(self, *args: Any) -> None:
            return None

        def get_models(self) -> list[Any]:
            return []

    seen = []

    def look(executor: Any, model: Any, conds: Any, *args: Any) -> Any:
        seen.extend(entry["control"] for entries in conds for entry in entries)
        return executor(model, conds, *args)

    prompts = {name: host.conditioning(seed, control=Control()) for name, seed in (("positive", 1), ("negative", 2))}
    edit(host, host.concept(), model=wrapped(host.eps, "CALC_COND_BATCH", look), **prompts)
    assert len(seen) == 3 * STEPS
    for shown in (*seen, copy.copy(seen[0])):
        assert isinstance(shown, Control)
        assert shown.upscaled == "nearest"


@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("PREDICT_NOISE"))
def test_a_prediction_made_twice_per_step_is_edited_twice_and_counts_once(host: Host) -> None:
    def twice(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return (executor(*args, **kwargs) + executor(*args, **kwargs)) / 2

    concept, model = host.concept(threshold=0.0), wrapped(host.eps, "PREDICT_NOISE", twice)
    once, again = edit(host, concept), edit(host, concept, model=model)
    assert relative(again - once, once - plain(host)) < 1e-3


@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("SAMPLER_SAMPLE"))
def test_a_pack_that_shows_the_model_a_lower_sigma_keeps_the_steps(
    host: Host, guidance_log: list[torch.Tensor | None]
) -> None:
    """Packs for more detail tell the model that there is less noise than there is."""

    def lower(executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return executor(x, 0.9 * timestep, *args, **kwargs)

    concept = host.concept(start_percent=2 / 6, end_percent=4 / 6)
    edit(host, concept, model=wrapped(host.eps, "PREDICT_NOISE", lower), steps=6, momentum_scale=0.0)
    assert [guidance is not None for guidance in guidance_log] == [False, False, True, True, False, False]


@pytest.mark.compat(GROUP, BATCH_ROW)
def test_a_pack_that_evaluates_the_prompts_itself_stays_in_charge_of_them(host: Host) -> None:
    passes = Passes(PATCHES["calc_cond_batch"][0](host.eps))
    edit(host, *host.two(), model=passes.model)
    assert passes.labels == [[1, 1, 0, 0], [0], [0]] * STEPS


@patches("NAG", "SAG")
def test_self_attention_patches_see_the_prompts_without_the_concepts(host: Host, name: str) -> None:
    passes = Passes(PATCHES[name][0](host.eps))
    edit(host, *host.two(), model=passes.model)
    assert sorted(passes.labels) == sorted([[1, 0], [1, 1], [0, 0]] * STEPS)


@patches("NAG", "SAG")
def test_concepts_beside_both_prompts_do_not_disturb_each_other(host: Host, name: str) -> None:
    model, concepts = PATCHES[name][0](host.eps), host.two(threshold=0.0)
    unedited = plain(host, model, steps=1)
    together = edit(host, *concepts, model=model, steps=1, mode="independent") - unedited
    alone = sum(edit(host, concept, model=model, steps=1, mode="independent") - unedited for concept in concepts)
    assert relative(together - alone, together) < 1e-3


@patches("calc_cond_batch", "SAG")
def test_a_cache_that_may_skip_nothing_changes_nothing_where_concepts_have_a_call_of_their_own(
    host: Host, name: str
) -> None:
    """EasyCache knows what it has seen by the prompts' uuids."""
    from comfy_extras import nodes_easycache

    model = host.patched(host.concept(), model=PATCHES[name][0](host.eps))
    cached = nodes_easycache.EasyCacheNode.execute(model, 1e-7, 0.0, 1.0, False)[0]
    assert torch.equal(plain(host, cached, steps=8), plain(host, model, steps=8))


@pytest.mark.compat(GROUP, "several patches at once")
def test_many_patches_at_once_share_the_sampling(host: Host) -> None:
    """One pack of each kind in one graph."""
    names = ("RescaleCFG", "pre-CFG in place", "post-CFG", "model function per prompt", "IP-Adapter", "PREDICT_NOISE")
    stack, concepts = [PATCHES[name][0] for name in names], host.two()
    before, after, alone = host.eps, host.patched(*concepts), host.eps
    for patch in stack:
        before, after, alone = patch(before), patch(after), patch(alone)
    before = host.patched(*concepts, model=before)
    both = plain(host, before)
    assert torch.equal(both, plain(host, after))
    assert differ(both, plain(host, alone))
