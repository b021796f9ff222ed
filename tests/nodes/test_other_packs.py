"""The edit joins what other packs hang into the sampling, whichever node comes first in the graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from support.host import CONCEPT, Host, Passes, every_kind, find_node, kept_apart, options_of, run_node
from support.tensors import differ

GROUP = "Other packs' patches"
STEPS = 3
HEADS = 4


def images_of(labels: list[int], label: int, images: int) -> list[int]:
    """Return the places in a call's batch of the images evaluated for a prompt."""
    size = images // len(labels)
    return [i * size + image for i, each in enumerate(labels) if each == label for image in range(size)]


def wrapped(kind: str, wrapper: Callable) -> Callable[[Any], Any]:
    def patch(model: Any) -> Any:
        import comfy.patcher_extension

        model = model.clone()
        model.add_wrapper_with_key(getattr(comfy.patcher_extension.WrappersMP, kind), "another pack", wrapper)
        return model

    return patch


def host_node(module: str, name: str, **inputs: Any) -> Callable[[Any], Any]:
    def patch(model: Any) -> Any:
        return run_node(find_node(module, name), model=model, **inputs)

    return patch


rescale_cfg = host_node("nodes_model_advanced", "RescaleCFG", multiplier=0.7)
cfg_zero_star = host_node("nodes_cfg", "CFGZeroStar")


def dynamic_thresholding(model: Any) -> Any:
    """Mix the plain result with one whose channels are as wide as the positive prompt's."""

    def function(args: dict[str, Any]) -> torch.Tensor:
        cond, uncond = args["cond"], args["uncond"]
        mixed = uncond + args["cond_scale"] * (cond - uncond)
        dims = tuple(range(2, mixed.ndim))
        return 0.5 * mixed + 0.5 * mixed * cond.std(dim=dims, keepdim=True) / mixed.std(dim=dims, keepdim=True)

    model = model.clone()
    model.set_model_sampler_cfg_function(function, disable_cfg1_optimization=True)
    return model


def pre_cfg(model: Any) -> Any:
    model = model.clone()
    model.set_model_sampler_pre_cfg_function(lambda args: [0.9 * args["conds_out"][0], *args["conds_out"][1:]])
    return model


def pre_cfg_in_place(model: Any) -> Any:
    """Change the estimates that the host hands over, instead of new ones."""

    def function(args: dict[str, Any]) -> list[torch.Tensor]:
        for estimate in args["conds_out"]:
            estimate.mul_(0.9)
        return args["conds_out"]

    model = model.clone()
    model.set_model_sampler_pre_cfg_function(function)
    return model


def post_cfg(model: Any) -> Any:
    model = model.clone()
    model.set_model_sampler_post_cfg_function(lambda args: 0.9 * args["denoised"])
    return model


def one_more_pass(model: Any) -> Any:
    """Evaluate the positive prompt once more, at other latents, and push away from it."""

    def function(args: dict[str, Any]) -> torch.Tensor:
        import comfy.samplers

        x, sigma = 0.8 * args["input"], args["sigma"]
        (weak,) = comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], x, sigma, args["model_options"])
        return args["denoised"] + 0.5 * (args["cond_denoised"] - weak)

    model = model.clone()
    model.set_model_sampler_post_cfg_function(function)
    return model


def cond_batch(model: Any) -> Any:
    """Replace the host's evaluation by one that takes two prompts and weakens the positive one's estimate."""

    def function(args: dict[str, Any]) -> list[torch.Tensor]:
        import comfy.samplers

        (positive, negative), x, sigma = args["conds"], args["input"], args["sigma"]
        options = args["model_options"]
        (cond,) = comfy.samplers.calc_cond_batch(args["model"], [positive], x, sigma, options)
        (uncond,) = comfy.samplers.calc_cond_batch(args["model"], [negative], x, sigma, options)
        return [0.9 * cond, uncond]

    model = model.clone()
    model.set_model_sampler_calc_cond_batch_function(function)
    return model


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


def weaker_call(model: Any) -> Any:
    model = model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, params: 0.9 * apply(params["input"], params["timestep"], **params["c"])
    )
    return model


def a_call_per_prompt(model: Any) -> Any:
    """Evaluate each prompt of a batch alone, the positive one in another way."""

    def wrapper(apply: Callable, params: dict[str, Any]) -> torch.Tensor:
        c, labels = params["c"], params["cond_or_uncond"]
        x, sigma, context = (
            part.chunk(len(labels)) for part in (params["input"], params["timestep"], c["c_crossattn"])
        )
        out = []
        for i, label in enumerate(labels):
            options = {**c["transformer_options"], "cond_or_uncond": [label]}
            estimate = apply(x[i], sigma[i], c_crossattn=context[i], transformer_options=options)
            out.append(0.9 * estimate if label == 0 else estimate)
        return torch.cat(out)

    model = model.clone()
    model.set_model_unet_function_wrapper(wrapper)
    return model


def tokens(seed: int, width: int) -> torch.Tensor:
    return torch.randn((1, 4, width), generator=torch.Generator().manual_seed(seed)) / 2


def ip_adapter(model: Any) -> Any:
    """Add the attention to an image's tokens, which each prompt has its own of: IP-Adapter's way."""
    import comfy.ldm.modules.attention

    def patch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra_options: dict[str, Any]) -> torch.Tensor:
        labels, heads = extra_options["cond_or_uncond"], extra_options["n_heads"]
        images = q.shape[0] // len(labels)
        key, value = (
            torch.cat([(cond, uncond)[label] for label in labels])
            for cond, uncond in (
                [tokens(seed, q.shape[-1]).repeat(images, 1, 1) for seed in seeds] for seeds in ((20, 21), (22, 23))
            )
        )
        attention = comfy.ldm.modules.attention.optimized_attention
        return attention(q, k, v, heads) + 0.7 * attention(q, key, value, heads)

    model = model.clone()
    for block in [("middle", 0), ("input", 1), ("output", 2)]:
        model.set_model_attn2_replace(patch, *block)
    return model


def longer_negative(model: Any) -> Any:
    """Change the text of the negative prompt in the cross-attention, found by its label."""

    def patch(q: Any, k: torch.Tensor, v: torch.Tensor, extra_options: dict[str, Any]) -> Any:
        scale = torch.ones(len(k), 1, 1)
        scale[images_of(extra_options["cond_or_uncond"], 1, len(k))] = 1.3
        return q, scale * k, scale * v

    model = model.clone()
    model.set_model_attn2_patch(patch)
    return model


def weaker_block(model: Any) -> Any:
    model = model.clone()
    model.set_model_output_block_patch(lambda h, hsp, options: (0.8 * h, hsp))
    return model


def normalized_attention(model: Any) -> Any:
    """Push the positive prompt's attention away from the negative one's, where a call holds both."""

    def patch(out: torch.Tensor, extra_options: dict[str, Any]) -> torch.Tensor:
        labels = extra_options["cond_or_uncond"]
        if not {0, 1} <= set(labels):
            return out
        size = len(out) // len(labels)
        first, second = (labels.index(label) * size for label in (0, 1))
        positive, negative = out[first : first + size], out[second : second + size]
        out[first : first + size] = positive + 0.5 * (positive - negative)
        return out

    model = model.clone()
    model.set_model_attn1_output_patch(patch)
    return model


def recorded_attention(model: Any) -> Any:
    """Keep what the negative prompt's attention looked at, and use it after the CFG: SAG's way."""
    import comfy.ldm.modules.attention

    seen = {}

    def attend(q: Any, k: torch.Tensor, v: Any, extra_options: dict[str, Any], **kwargs: Any) -> torch.Tensor:
        labels = extra_options["cond_or_uncond"]
        if 1 in labels:
            size = len(k) // len(labels)
            seen["k"] = k[labels.index(1) * size :][:size].mean()
        return comfy.ldm.modules.attention.optimized_attention(q, k, v, extra_options["n_heads"])

    model = model.clone()
    model.set_model_attn1_replace(attend, "middle", 0)
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * (1 + seen["k"]))
    return model


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
    "RescaleCFG": (rescale_cfg, CFG_ROW, False),
    "CFGZeroStar": (cfg_zero_star, CFG_ROW, False),
    "dynamic thresholding": (dynamic_thresholding, CFG_ROW, False),
    "pre-CFG": (pre_cfg, HOOKS_ROW, False),
    "pre-CFG in place": (pre_cfg_in_place, HOOKS_ROW, False),
    "post-CFG": (post_cfg, HOOKS_ROW, False),
    "post-CFG with a pass of its own": (one_more_pass, HOOKS_ROW, False),
    "calc_cond_batch": (cond_batch, BATCH_ROW, False),
    "OUTER_SAMPLE": (wrapped("OUTER_SAMPLE", half_noise), WRAPPERS_ROW.format("OUTER_SAMPLE"), True),
    "OUTER_SAMPLE with options": (
        wrapped("OUTER_SAMPLE", options_of_its_own),
        WRAPPERS_ROW.format("OUTER_SAMPLE"),
        False,
    ),
    "SAMPLER_SAMPLE": (wrapped("SAMPLER_SAMPLE", lower_sigmas), WRAPPERS_ROW.format("SAMPLER_SAMPLE"), True),
    "PREDICT_NOISE": (wrapped("PREDICT_NOISE", weaker_prediction), WRAPPERS_ROW.format("PREDICT_NOISE"), True),
    "CALC_COND_BATCH": (wrapped("CALC_COND_BATCH", weaker_estimates), WRAPPERS_ROW.format("CALC_COND_BATCH"), True),
    "APPLY_MODEL": (wrapped("APPLY_MODEL", weaker_positive), WRAPPERS_ROW.format("APPLY_MODEL"), False),
    "DIFFUSION_MODEL": (wrapped("DIFFUSION_MODEL", weaker_positive), WRAPPERS_ROW.format("DIFFUSION_MODEL"), False),
    "model function": (weaker_call, CALL_ROW, True),
    "model function per prompt": (a_call_per_prompt, CALL_ROW, False),
    "IP-Adapter": (ip_adapter, CROSS_ROW, True),
    "attn2": (longer_negative, CROSS_ROW, True),
    "output block": (weaker_block, BLOCK_ROW, True),
    "NAG": (normalized_attention, SELF_ROW, False),
    "SAG": (recorded_attention, SELF_ROW, False),
}


def patches(*names: str, without: tuple[str, ...] = ()) -> Any:
    """Return the parametrization over these patches, or all."""
    chosen = [name for name in names or PATCHES if name not in without]
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.compat(GROUP, PATCHES[name][1])) for name in chosen]
    )


def edit(host: Host, *concepts: Any, model: Any = None, **changes: Any) -> torch.Tensor:
    return host.sega(*concepts, **{"model": model, "steps": STEPS, **changes})


def saying_the_same(host: Host, instead_of: int | None) -> Any:
    """Return a concept that says what it is compared with, and is evaluated nevertheless."""
    node = host.pack.nodes.SEGAConceptFromConditioning
    other = None if instead_of is None else host.conditioning(instead_of)
    return node.execute(kept_apart(other or host.conditioning(2)), other, **CONCEPT)[0]


def plain(host: Host, model: Any = None, **changes: Any) -> torch.Tensor:
    return host.sample(model, **{"steps": STEPS, **changes})


@every_kind
@patches()
def test_both_effects_are_there_in_any_order_of_the_nodes(host: Host, name: str, instead_of: int | None) -> None:
    patch, concept = PATCHES[name][0], host.concept(10, instead_of)
    both = plain(host, host.patched(concept, model=patch(host.eps)))
    alone = plain(host, patch(host.eps))
    assert differ(alone, plain(host))
    assert differ(both, alone)
    assert differ(both, edit(host, concept))
    assert torch.equal(both, plain(host, patch(host.patched(concept))))


@patches()
def test_a_patched_sampling_repeats(host: Host, name: str) -> None:
    model = host.patched(host.concept(10), host.concept(11, 1), model=PATCHES[name][0](host.eps))
    assert torch.equal(plain(host, model), plain(host, model))


@patches()
def test_nothing_changes_for_another_pack_without_concepts(host: Host, name: str) -> None:
    patch = PATCHES[name][0]
    assert torch.equal(edit(host, host.concept(weight=0.0), model=patch(host.eps)), plain(host, patch(host.eps)))


@every_kind
@patches()
def test_a_concept_that_says_what_it_is_compared_with_adds_nothing(
    host: Host, name: str, instead_of: int | None, one_pass_at_a_time: None, guidance_log: list[torch.Tensor]
) -> None:
    patch = PATCHES[name][0]
    same = edit(host, saying_the_same(host, instead_of), model=patch(host.eps))
    assert guidance_log
    assert not any(guidance.any() for guidance in guidance_log)
    assert torch.equal(same, plain(host, patch(host.eps)))
    guidance_log.clear()
    edit(host, host.concept(10, instead_of), model=patch(host.eps))
    assert all(guidance.any() for guidance in guidance_log)


@every_kind
@patches("IP-Adapter", "attn2", "output block", "model function", "CALC_COND_BATCH")
def test_one_steps_edit_is_made_of_the_patched_models_estimates(host: Host, name: str, instead_of: int | None) -> None:
    """What a patch does to the prompt that a concept is compared with it does to the concept."""
    model = PATCHES[name][0](host.eps)
    prompt, cfg = ("negative", 0.0) if instead_of is None else ("positive", 1.0)
    by_hand = [
        plain(host, model, **{prompt: host.conditioning(seed)}, cfg=cfg, steps=1) for seed in (10, instead_of or 2)
    ]
    expected = 5.0 * (by_hand[0] - by_hand[1])
    concept = host.concept(10, instead_of, threshold=0.0)
    change = edit(host, concept, model=model, steps=1) - plain(host, model, steps=1)
    assert (change - expected).norm() < 1e-3 * expected.norm()


LEAVE_ESTIMATES = [name for name, (_, _, changes_estimates) in PATCHES.items() if not changes_estimates]


def assert_comes_on_top(host: Host, patch: Callable[[Any], Any], concept: Any) -> None:
    change = edit(host, concept, steps=1) - plain(host, steps=1)
    both = edit(host, concept, model=patch(host.eps), steps=1) - plain(host, patch(host.eps), steps=1)
    assert (both - change).norm() < 1e-3 * change.norm()


@patches(*LEAVE_ESTIMATES)
def test_one_steps_edit_comes_on_top_of_a_patch_that_leaves_the_negative_prompt_alone(host: Host, name: str) -> None:
    assert_comes_on_top(host, PATCHES[name][0], host.concept(threshold=0.0))


# What the others change in the positive prompt's estimate they change in the concepts that stand in its place.
@patches(
    *(name for name in LEAVE_ESTIMATES if name not in ("APPLY_MODEL", "DIFFUSION_MODEL", "model function per prompt"))
)
def test_one_steps_edit_comes_on_top_of_a_patch_that_leaves_the_prompts_alone(host: Host, name: str) -> None:
    assert_comes_on_top(host, PATCHES[name][0], host.concept(10, 1, threshold=0.0))


# With one prompt per call the host itself leaves NAG's patch without the prompt that it compares with.
@patches(without=("NAG",))
def test_one_prompt_per_call_gives_the_same_edit(host: Host, name: str, request: pytest.FixtureRequest) -> None:
    patch, concepts = PATCHES[name][0], [host.concept(10, threshold=0.0), host.concept(11, 1, threshold=0.0)]
    together, alone = edit(host, *concepts, model=patch(host.eps)), plain(host, patch(host.eps))
    request.getfixturevalue("one_pass_at_a_time")
    split = edit(host, *concepts, model=patch(host.eps))
    assert (split - together).norm() < 1e-3 * (together - alone).norm()


@every_kind
@patches("IP-Adapter", "attn2", "model function per prompt", "APPLY_MODEL", "DIFFUSION_MODEL")
def test_a_batch_of_images_is_edited_image_by_image(host: Host, name: str, instead_of: int | None) -> None:
    """The labels hold for each image: the first of three is the one sampled alone."""
    model = PATCHES[name][0](host.eps)
    concept = host.concept(10, instead_of, threshold=0.0)
    three = edit(host, concept, model=model, latent=host.latent(3))
    one = edit(host, concept, model=model)
    assert (three[:1] - one).norm() < 1e-3 * (one - plain(host, model)).norm()


@pytest.mark.compat(GROUP, CROSS_ROW)
@pytest.mark.parametrize(
    ("instead_of", "label"),
    [(None, 1), (1, 0), (2, 1)],
)
def test_patches_see_concepts_as_the_prompt_they_are_compared_with(
    host: Host, instead_of: int | None, label: int
) -> None:
    passes = Passes(host.eps)
    concepts = host.concept(10, instead_of), host.concept(11, instead_of)
    host.sega(*concepts, model=passes.model)
    assert len(passes.labels) == 4
    for labels in passes.labels:
        assert sorted(labels) == sorted([0, 1, label, label])
        # As in the host's own batches: patches split there.
        assert labels == sorted(labels, reverse=True)


@pytest.mark.compat(GROUP, CROSS_ROW)
def test_attention_patches_find_the_prompts_where_their_labels_say(host: Host) -> None:
    seen: list[tuple[list[int], torch.Tensor]] = []

    def patch(q: Any, k: Any, v: Any, extra_options: dict[str, Any]) -> Any:
        seen.append((list(extra_options["cond_or_uncond"]), k))
        return q, k, v

    model = host.eps.clone()
    model.set_model_attn2_patch(patch)
    host.sega(host.concept(10), host.concept(11), host.concept(12, 1), model=model)
    assert seen
    for labels, context in seen:
        assert set(labels) == {0, 1}
        # Each prompt stands before the concepts that are compared with it.
        assert labels == [1, 1, 1, 0, 0]
        assert torch.equal(context[0], host.conditioning(2)[0][0][0])
        assert torch.equal(context[3], host.conditioning(1)[0][0][0])


@every_kind
@pytest.mark.compat(GROUP, CALL_ROW)
def test_model_function_wrappers_see_concepts_as_the_compared_prompt(host: Host, instead_of: int | None) -> None:
    seen = []

    def wrapper(apply: Callable, params: dict[str, Any]) -> Any:
        assert params["c"]["transformer_options"]["cond_or_uncond"] == params["cond_or_uncond"]
        seen.append(list(params["cond_or_uncond"]))
        return apply(params["input"], params["timestep"], **params["c"])

    model = host.eps.clone()
    model.set_model_unet_function_wrapper(wrapper)
    edited = edit(host, host.concept(10, instead_of), model=model)
    assert seen == [[1, 1, 0] if instead_of is None else [1, 0, 0]] * STEPS
    assert torch.equal(edited, edit(host, host.concept(10, instead_of)))


@every_kind
@pytest.mark.compat(GROUP, CALL_ROW)
def test_a_wrapper_that_splits_the_batch_hands_on_the_labels_it_was_shown(host: Host, instead_of: int | None) -> None:
    passes = Passes(host.eps)
    edit(host, host.concept(10, instead_of), model=a_call_per_prompt(passes.model))
    assert passes.labels == ([[1], [1], [0]] if instead_of is None else [[1], [0], [0]]) * STEPS


@every_kind
@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("APPLY_MODEL"))
@pytest.mark.parametrize("concepts", [1, 3])
def test_apply_model_wrappers_see_concepts_as_the_compared_prompt(
    host: Host, concepts: int, instead_of: int | None
) -> None:
    seen = []

    def look(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(list(options_of(args, kwargs)["cond_or_uncond"]))
        return executor(*args, **kwargs)

    several = [host.concept(10 + i, instead_of) for i in range(concepts)]
    edit(host, *several, model=wrapped("APPLY_MODEL", look)(host.eps))
    assert seen == [[1, *[1 if instead_of is None else 0] * concepts, 0]] * STEPS


@pytest.mark.compat(GROUP, "ControlNets that know the prompts by their labels (Advanced-ControlNet)")
@every_kind
def test_a_controlnet_that_acts_on_the_positive_prompt_alone_is_no_part_of_the_guidance(
    host: Host, instead_of: int | None, one_pass_at_a_time: None, guidance_log: list[torch.Tensor]
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
    same = edit(host, saying_the_same(host, instead_of), **prompts)
    assert guidance_log
    assert not any(guidance.any() for guidance in guidance_log)
    assert torch.equal(same, controlled)
    assert differ(edit(host, host.concept(10, instead_of), **prompts), controlled)


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
    edit(host, host.concept(), model=wrapped("CALC_COND_BATCH", look)(host.eps), **prompts)
    assert len(seen) == 3 * STEPS
    for shown in (*seen, copy.copy(seen[0])):
        assert isinstance(shown, Control)
        assert shown.upscaled == "nearest"


@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("OUTER_SAMPLE"))
def test_a_wrapper_that_samples_again_and_again_is_edited_each_time(host: Host) -> None:
    """As AnimateDiff-Evolved does for FreeInit."""

    def again(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        executor(*args, **kwargs)
        return executor(*args, **kwargs)

    once, model = edit(host, host.concept()), wrapped("OUTER_SAMPLE", again)(host.eps)
    assert torch.equal(plain(host, host.patched(host.concept(), model=model)), once)


@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("PREDICT_NOISE"))
def test_a_prediction_made_twice_per_step_is_edited_twice_and_counts_once(host: Host) -> None:
    def twice(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return (executor(*args, **kwargs) + executor(*args, **kwargs)) / 2

    concept = host.concept(threshold=0.0)
    once, again = (edit(host, concept, model=model) for model in (host.eps, wrapped("PREDICT_NOISE", twice)(host.eps)))
    assert (again - once).norm() < 1e-3 * (once - plain(host)).norm()


@pytest.mark.compat(GROUP, WRAPPERS_ROW.format("SAMPLER_SAMPLE"))
def test_a_pack_that_shows_the_model_a_lower_sigma_keeps_the_steps(
    host: Host, guidance_log: list[torch.Tensor | None]
) -> None:
    """Packs for more detail tell the model that there is less noise than there is."""

    def lower(executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return executor(x, 0.9 * timestep, *args, **kwargs)

    model = wrapped("PREDICT_NOISE", lower)(host.eps)
    concept = host.concept(start_percent=2 / 6, end_percent=4 / 6)
    edit(host, concept, model=model, steps=6, momentum_scale=0.0)
    assert [guidance is not None for guidance in guidance_log] == [False, False, True, True, False, False]


@pytest.mark.compat(GROUP, BATCH_ROW)
@every_kind
def test_a_pack_that_evaluates_the_prompts_itself_stays_in_charge_of_them(host: Host, instead_of: int | None) -> None:
    passes = Passes(cond_batch(host.eps))
    edit(host, host.concept(10, instead_of), host.concept(11, instead_of), model=passes.model)
    assert passes.labels == [[1 if instead_of is None else 0] * 3, [0], [0]] * STEPS


@every_kind
@pytest.mark.compat(GROUP, SELF_ROW)
@pytest.mark.parametrize("name", ["NAG", "SAG"])
def test_self_attention_patches_see_the_prompts_without_the_concepts(
    host: Host, name: str, instead_of: int | None
) -> None:
    passes = Passes(PATCHES[name][0](host.eps))
    edit(host, host.concept(10, instead_of), host.concept(11, instead_of), model=passes.model)
    assert passes.sizes.count(2) == STEPS
    assert sorted(passes.labels) == sorted([[1, 0], [1 if instead_of is None else 0] * 3] * STEPS)


@pytest.mark.compat(GROUP, BATCH_ROW)
@pytest.mark.parametrize("patch", [cond_batch, recorded_attention], ids=["calc_cond_batch", "SAG"])
def test_a_cache_that_may_skip_nothing_changes_nothing_where_concepts_have_a_call_of_their_own(
    host: Host, patch: Callable
) -> None:
    """EasyCache knows what it has seen by the prompts' uuids."""
    from comfy_extras import nodes_easycache

    model = host.patched(host.concept(), model=patch(host.eps))
    cached = nodes_easycache.EasyCacheNode.execute(model, 1e-7, 0.0, 1.0, False)[0]
    assert torch.equal(plain(host, cached, steps=8), plain(host, model, steps=8))


@pytest.mark.compat(GROUP, "several patches at once")
def test_many_patches_at_once_share_the_sampling(host: Host) -> None:
    """One pack of each kind in one graph."""
    stack = [rescale_cfg, pre_cfg, post_cfg, a_call_per_prompt, ip_adapter, PATCHES["PREDICT_NOISE"][0]]
    concepts = host.concept(10), host.concept(11, 1)
    before, after, alone = host.eps, host.patched(*concepts), host.eps
    for patch in stack:
        before, after, alone = patch(before), patch(after), patch(alone)
    before = host.patched(*concepts, model=before)
    both = plain(host, before)
    assert torch.equal(both, plain(host, after))
    assert differ(both, plain(host, alone))
