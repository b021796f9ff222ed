"""Attention masks on the host: where a UNet looks at a concept's words, beside whatever else patches its attention."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from support.evaluations import Seen
from support.host import Host, every_kind, find_node, options_of, run_node
from support.models import FLUX, WAN, controlnet, demo_clip, family_model, sdxl_model

pytestmark = pytest.mark.compat("Features", "attention masks (LEDITS++), beside other attention patches")

CPU = torch.device("cpu")
# The cross-attention of the tests' UNet at half the size of the latents: its coarsest level but the middle's.
COARSE = [("input", 3), ("output", 0), ("output", 1)]
LAYERS = [("input", 1), ("output", 2), ("output", 3), *COARSE]
WORDS = (1, 2, 3)
POSITIVE, NEGATIVE, CONCEPT = 1, 2, 10


def attentive(host: Host, seed: int = CONCEPT, words: tuple[int, ...] | None = WORDS, **changes: Any) -> Any:
    """Return a SEGA_CONCEPT that edits the half of the places that look most at its words."""
    return replace(host.concept(seed, **{"threshold": 0.0, "attention_threshold": 0.5, **changes}), token_positions=words)


def block(unet: Any, name: str, number: int) -> Any:
    """Return the transformer block of a layer of the UNet."""
    return getattr(unet, f"{name}_blocks")[number][1].transformer_blocks[0]


class Looked:
    """A second way to see the attention: the queries and keys that the layers of a MODEL's UNet compute."""

    def __init__(self, model: Any) -> None:
        import comfy.patcher_extension

        self.calls: list[tuple[list[int], dict[tuple[str, int], list[Tensor]]]] = []
        self.model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        self.model.add_wrapper_with_key(kind, "looked", self._call)

    def _call(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        options = kwargs.get("transformer_options") or args[4]
        seen: dict[tuple[str, int], list[Tensor]] = {place: [] for place in COARSE}
        hooks = []
        for place in COARSE:
            attn2 = block(self.model.model.diffusion_model, *place).attn2
            for linear in (attn2.to_q, attn2.to_k):
                hooks.append(
                    linear.register_forward_hook(lambda *call, place=place: seen[place].append(call[2].double()))
                )
        try:
            out = executor(x, *args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        self.calls.append((list(options["cond_or_uncond"]), seen))
        return out

    def at(self, label: int, words: tuple[int, ...] = WORDS, heads: int = 4, size: tuple[int, int] = (4, 4)) -> Tensor:
        """Return the map of the first call that holds a prompt, (B, h, w)."""
        labels, seen = next(call for call in self.calls if label in call[0])
        maps = []
        for q, k in seen.values():
            q, k = (x.chunk(len(labels))[labels.index(label)] for x in (q, k))
            q, k = (x.reshape(*x.shape[:2], heads, -1) for x in (q, k))
            looked = (torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5).softmax(-1)
            maps.append(looked[..., list(words)].sum(-1).mean(1))
        return torch.stack(maps).mean(0).unflatten(1, size).float()


def as_negative(host: Host, model: Any, conditioning: Any = None, **changes: Any) -> Looked:
    """Watch a step whose negative prompt is the concept's: what patches do to the prompt they do to a concept."""
    looked = Looked(model)
    torch.manual_seed(0)
    host.sample(looked.model, negative=conditioning or host.conditioning(CONCEPT), steps=1, **changes)
    return looked


def edit(host: Host, *concepts: Any, model: Any = None, **changes: Any) -> Tensor:
    # Some patches draw from torch's own generator.
    torch.manual_seed(0)
    return host.sega(*concepts, **{"model": model, "steps": 1, **changes})


def masked(host: Host, guidance: Tensor, attention: Tensor, threshold: float) -> Tensor:
    return guidance * host.pack.sega_core.guidance.attention_mask(attention, threshold, guidance.shape[2:])


# What others do to the attention.


def ip_adapter(*places: tuple[Any, ...]) -> Callable:
    """Add the attention to an image's tokens, which each prompt has its own of."""

    def add(host: Host) -> Any:
        import comfy.ldm.modules.attention

        def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
            attention, heads = comfy.ldm.modules.attention.optimized_attention, extra_options["n_heads"]
            labels = extra_options["cond_or_uncond"]
            of_prompt = torch.tensor(labels).repeat_interleave(len(q) // len(labels)).view(-1, 1, 1)
            image = torch.randn((1, 4, q.shape[-1]), generator=torch.Generator().manual_seed(20)) * (1.0 + of_prompt)
            return attention(q, k, v, heads) + 0.7 * attention(q, image, image, heads)

        model = host.eps.clone()
        for place in places:
            model.set_model_attn2_replace(patch, *place)
        return model

    return add


def context_patch(change: Callable[[Tensor], Tensor]) -> Callable:
    """Change the text in the cross-attention."""

    def add(host: Host) -> Any:
        model = host.eps.clone()
        model.set_model_attn2_patch(lambda n, k, v, options: (n, change(k), change(v)))
        return model

    return add


def output_patch(host: Host) -> Any:
    model = host.eps.clone()
    model.set_model_attn2_output_patch(lambda n, options: 0.8 * n)
    return model


def image_tokens(count: int) -> Callable[[Tensor], Tensor]:
    """Write an image's tokens behind the text."""
    tokens = torch.randn((1, count, 32), generator=torch.Generator().manual_seed(21))
    return lambda context: torch.cat([context, tokens.to(context).expand(len(context), -1, -1)], 1)


def node(module: str, name: str, **inputs: Any) -> Callable:
    """Patch with a node of the host."""

    def add(host: Host) -> Any:
        return run_node(find_node(module, name), model=host.eps, **inputs)

    return add


def wrapped(kind: str) -> Callable:
    """Replace the attention from a wrapper, by the layer's name."""

    def add(host: Host) -> Any:
        import comfy.ldm.modules.attention
        import comfy.patcher_extension

        def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
            return 0.6 * comfy.ldm.modules.attention.optimized_attention(q, k, v, extra_options["n_heads"])

        def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
            options = options_of(args, kwargs)
            kept = options.get("patches_replace", {})
            options["patches_replace"] = {**kept, "attn2": {**kept.get("attn2", {}), ("input", 3): patch}}
            return executor(*args, **kwargs)

        model = host.eps.clone()
        model.add_wrapper_with_key(getattr(comfy.patcher_extension.WrappersMP, kind), "test", wrapper)
        return model

    return add


def model_function(host: Host) -> Any:
    model = host.eps.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, params: 0.9 * apply(params["input"], params["timestep"], **params["c"])
    )
    return model


def a_call_per_prompt(apply: Callable, params: dict[str, Any]) -> Tensor:
    c, labels = params["c"], params["cond_or_uncond"]
    x, sigma, context = (x.chunk(len(labels)) for x in (params["input"], params["timestep"], c["c_crossattn"]))
    return torch.cat(
        [
            apply(x[i], sigma[i], c_crossattn=context[i], transformer_options=c["transformer_options"])
            for i in range(len(labels))
        ]
    )


@dataclass(frozen=True)
class Patch:
    """A patch of the tests' MODEL.

    Args:
        add: return the patched MODEL.
        draws: whether it draws random numbers at each evaluation.
        resizes: whether the layers of a level then differ in size.
    """

    add: Callable[[Any], Any]
    draws: bool = False
    resizes: bool = False


TILES = {"tile_size": 32, "swap_size": 1, "max_depth": 0, "scale_depth": False}
ATTENTION = {"q": 0.7, "k": 1.2, "v": 1.3, "out": 0.9}
PATCHES = {
    "none": Patch(lambda host: host.eps),
    "IP-Adapter on every layer": Patch(ip_adapter(("middle", 0), *LAYERS)),
    "IP-Adapter on every block": Patch(ip_adapter(*((*place, 0) for place in LAYERS))),
    "IP-Adapter on one layer": Patch(ip_adapter(("output", 1))),
    "attn2 patch": Patch(context_patch(lambda context: 1.3 * context)),
    "attn2 patch that adds tokens": Patch(context_patch(image_tokens(4))),
    "attn2 patch that adds as many tokens as the text has": Patch(context_patch(image_tokens(77))),
    "attn2 output patch": Patch(output_patch),
    "attention replaced from an APPLY_MODEL wrapper": Patch(wrapped("APPLY_MODEL")),
    "model function": Patch(model_function),
    "SAG": Patch(node("nodes_sag", "SelfAttentionGuidance", scale=0.8, blur_sigma=2.0)),
    "PAG": Patch(node("nodes_pag", "PerturbedAttentionGuidance", scale=3.0)),
    "NAG": Patch(node("nodes_nag", "NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)),
    "ToMe": Patch(node("nodes_tomesd", "TomePatchModel", ratio=0.5), draws=True),
    "HyperTile": Patch(node("nodes_hypertile", "HyperTile", **TILES), draws=True),
    "FreeU": Patch(node("nodes_freelunch", "FreeU_V2", b1=1.3, b2=1.5, s1=0.9, s2=0.2)),
    "Deep Shrink": Patch(
        node(
            "nodes_model_downscale",
            "PatchModelAddDownscale",
            block_number=1,
            downscale_factor=2.0,
            start_percent=0.0,
            end_percent=1.0,
            downscale_after_skip=True,
            downscale_method="bicubic",
            upscale_method="bicubic",
        ),
        resizes=True,
    ),
    "UNetCrossAttentionMultiply": Patch(node("nodes_attention_multiply", "UNetCrossAttentionMultiply", **ATTENTION)),
    "RescaleCFG": Patch(node("nodes_model_advanced", "RescaleCFG", multiplier=0.7)),
    "Perp-Neg": Patch(
        lambda host: node("nodes_perpneg", "PerpNeg", empty_conditioning=host.conditioning(5), neg_scale=1.0)(host)
    ),
}  # fmt: skip
every_patch = pytest.mark.parametrize("name", PATCHES)


@every_patch
@pytest.mark.parametrize("batch", [1, 3])
def test_the_mask_is_where_the_model_looks_at_the_words(
    host: Host, evaluations: list[Seen], name: str, batch: int
) -> None:
    patch = PATCHES[name]
    model, latent = patch.add(host), host.latent(batch)
    for threshold in (0.0, 0.5):
        edit(host, attentive(host, attention_threshold=threshold), model=model, latent=latent)
    without, with_mask = evaluations
    assert not without.attention
    assert torch.equal(with_mask.differences[0], without.differences[0])
    attention = with_mask.attention[0]
    if not patch.draws and not patch.resizes:
        by_hand = as_negative(host, model, latent=latent).at(1)
        torch.testing.assert_close(attention, by_hand, rtol=1e-4, atol=1e-6)
    assert torch.equal(with_mask.guidance, masked(host, without.guidance, attention, 0.5))
    assert without.guidance.count_nonzero() == without.guidance.numel()
    places = (with_mask.guidance != 0).flatten(2).sum(-1)
    assert (places < 0.8 * without.guidance[0, 0].numel()).all()
    assert (places > 0.2 * without.guidance[0, 0].numel()).all()


ADDS, REMOVES = (CONCEPT, POSITIVE), (POSITIVE, CONCEPT)


@pytest.mark.parametrize(
    ("name", "text", "instead_of"),
    [
        *((name, *pair) for name in PATCHES for pair in (ADDS, REMOVES)),
        *(("none", *pair) for pair in ((CONCEPT, NEGATIVE), (NEGATIVE, CONCEPT), (CONCEPT, CONCEPT + 1))),
    ],
)
def test_the_text_with_the_concept_is_looked_at_also_where_it_is_a_prompt_itself(
    host: Host, evaluations: list[Seen], name: str, text: int, instead_of: int
) -> None:
    patch = PATCHES[name]
    model = patch.add(host)
    for threshold in (0.0, 0.5):
        concept = attentive(host, text, attention_threshold=threshold)
        edit(host, replace(concept, instead_of=host.conditioning(instead_of)), model=model)
    without, with_mask = evaluations
    assert torch.equal(with_mask.differences[0], without.differences[0])
    attention = with_mask.attention[0]
    # NAG changes the positive prompt alone, and not where concepts have a call of their own.
    if not patch.draws and not patch.resizes and name != "NAG":
        label, prompt = (1, "negative") if NEGATIVE in (text, instead_of) else (0, "positive")
        looked = Looked(model)
        host.sample(looked.model, steps=1, **{prompt: host.conditioning(text)})
        torch.testing.assert_close(attention, looked.at(label), rtol=1e-4, atol=1e-6)
    assert torch.equal(with_mask.guidance, masked(host, without.guidance, attention, 0.5))
    assert 0.2 < float((with_mask.guidance != 0).float().mean()) < 0.8


def test_two_concepts_look_at_their_own_words_of_one_prompt(host: Host, evaluations: list[Seen]) -> None:
    concepts = [
        replace(attentive(host, POSITIVE, words, direction="remove"), instead_of=host.conditioning(CONCEPT + i))
        for i, words in enumerate([WORDS, (5, 40)])
    ]
    edit(host, *concepts)
    looked = Looked(host.eps)
    host.sample(looked.model, steps=1)
    for c, concept in enumerate(concepts):
        torch.testing.assert_close(evaluations[0].attention[c], looked.at(0, concept.token_positions), rtol=1e-4, atol=1e-6)


@every_patch
def test_the_prompts_estimates_keep_their_bits(host: Host, name: str) -> None:
    estimates = []

    def keep(args: dict[str, Any]) -> Tensor:
        estimates.append([args["cond_denoised"].clone(), args["uncond_denoised"].clone()])
        return args["denoised"]

    model = PATCHES[name].add(host).clone()
    model.set_model_sampler_post_cfg_function(keep)
    edited = [edit(host, attentive(host, attention_threshold=threshold), model=model) for threshold in (0.0, 0.5)]
    for before, after in zip(*estimates, strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(*edited)


def test_hooks_that_replace_the_attention_of_some_prompts_stay_in_charge(host: Host, evaluations: list[Seen]) -> None:
    import comfy.hooks
    import comfy.ldm.modules.attention

    def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        return 0.6 * comfy.ldm.modules.attention.optimized_attention(q, k, v, extra_options["n_heads"])

    hook = comfy.hooks.TransformerOptionsHook(
        {"patches_replace": {"attn2": {("input", 3): patch}}}, hook_scope=comfy.hooks.EnumHookScope.HookedOnly
    )
    group = comfy.hooks.HookGroup()
    group.add(hook)
    for threshold in (0.0, 0.5):
        concept = attentive(host, attention_threshold=threshold)
        edit(host, concept, negative=host.conditioning(NEGATIVE, hooks=group))
    without, with_mask = evaluations
    assert torch.equal(with_mask.differences[0], without.differences[0])
    edit(host, concept)
    assert not torch.equal(evaluations[2].differences[0], without.differences[0])


@pytest.fixture
def attended(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the queries, (B, places, channels), of which the attention was computed for a mask."""
    maps, log = host.pack.nodes.sampling.attention, []
    original = maps._attention_to
    monkeypatch.setattr(maps, "_attention_to", lambda q, *args: log.append(tuple(q.shape)) or original(q, *args))
    return log


def test_the_attention_is_computed_for_the_concepts_that_ask_and_at_the_coarse_level_alone(
    host: Host, attended: list[tuple[int, ...]]
) -> None:
    steps = 3
    edit(
        host,
        attentive(host, 10),
        host.concept(11),
        attentive(host, 12, start_percent=1 / steps),
        steps=steps,
        momentum_scale=0.0,
        latent=host.latent(2),
    )
    assert attended == [(2, 16, 64)] * len(COARSE) * (steps + steps - 1)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_the_layers_are_patched_for_the_evaluation_alone(host: Host, threshold: float) -> None:
    import comfy.patcher_extension

    seen = []

    def look(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(set(options_of(args, kwargs).get("patches_replace", {}).get("attn2", {})))
        return executor(*args, **kwargs)

    model = host.eps.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "look", look)
    before = copy.deepcopy(list(model.model_options["transformer_options"]))
    patched = host.patched(attentive(host, attention_threshold=threshold), model=model)
    host.sample(patched)
    assert seen == [{(*place, 0) for place in COARSE} if threshold else set()] * 4
    assert list(model.model_options["transformer_options"]) == before
    assert "patches_replace" not in patched.model_options["transformer_options"]


@pytest.mark.parametrize("name", ["IP-Adapter on every layer", "IP-Adapter on every block"])
def test_a_replaced_attention_is_used_once_per_layer(host: Host, name: str) -> None:
    import comfy.patcher_extension

    calls = []

    def count(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        options = options_of(args, kwargs)
        replaced = options["patches_replace"]["attn2"]

        def counted(key: Any) -> Callable:
            return lambda *attention: calls.append(key) or replaced[key](*attention)

        patches = {**options["patches_replace"], "attn2": {key: counted(key) for key in replaced}}
        return executor(*args[:-1], {**options, "patches_replace": patches}, **kwargs)

    model = PATCHES[name].add(host)
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "count", count)
    edit(host, attentive(host), model=model)
    assert len(calls) == len(set(calls)) == 7 - ("block" in name)


# What cannot be seen is refused.


def test_a_wrapper_that_evaluates_one_prompt_at_a_time_is_refused(host: Host) -> None:
    model = host.eps.clone()
    model.set_model_unet_function_wrapper(a_call_per_prompt)
    assert edit(host, attentive(host, attention_threshold=0.0), model=model).isfinite().all()
    with pytest.raises(
        ValueError, match=r"concept 1 .*attention_threshold cannot .* divides the batch: 1 samples .* 3"
    ):
        edit(host, attentive(host), model=model)


def test_a_patch_that_doubles_the_batch_is_refused(host: Host) -> None:
    """Attention couple evaluates each region of the picture as a sample of its own."""
    model = host.eps.clone()
    model.set_model_attn2_patch(lambda n, k, v, options: tuple(x.repeat(2, 1, 1) for x in (n, k, v)))
    model.set_model_attn2_output_patch(lambda n, options: n.chunk(2)[0])
    with pytest.raises(
        ValueError, match=r"attention_threshold cannot .* divides the batch: 6 samples .* 3 prompts of 1"
    ):
        edit(host, attentive(host), model=model)


def test_a_patch_that_shortens_the_text_is_refused(host: Host) -> None:
    model = context_patch(lambda context: context[:, :4])(host)
    with pytest.raises(ValueError, match=r"attention_threshold cannot act: no cross-attention to the words was seen"):
        edit(host, attentive(host), model=model)


def test_a_wrapper_that_replaces_the_watched_blocks_themselves_is_refused(host: Host) -> None:
    import comfy.ldm.modules.attention
    import comfy.patcher_extension

    def patch(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        return comfy.ldm.modules.attention.optimized_attention(q, k, v, extra_options["n_heads"])

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        options = options_of(args, kwargs)
        options["patches_replace"] = {"attn2": {(*place, 0): patch for place in COARSE}}
        return executor(*args, **kwargs)

    model = host.eps.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    with pytest.raises(ValueError, match=r"attention_threshold cannot act: .* another patch replaces it; set it to 0"):
        edit(host, attentive(host), model=model)


@pytest.mark.parametrize(
    "values",
    [
        {"area": (4, 4, 0, 0), "strength": 1.0},
        {"area": ("percentage", 0.5, 0.5, 0.0, 0.0), "strength": 1.0},
        {"mask": torch.ones(1, 64, 64), "set_area_to_bounds": True, "mask_strength": 1.0},
    ],
    ids=["area", "area in percent", "the bounds of a mask"],
)
def test_a_prompt_for_an_area_is_refused(host: Host, values: dict[str, Any]) -> None:
    refused = pytest.raises(ValueError, match=r"SEGASampler: concepts: concept 1 .*attention_threshold .* for an area")
    with refused:
        edit(host, attentive(host), negative=host.conditioning(NEGATIVE, **values))
    # The concept has the area of the prompt that it is compared with, and no other's.
    assert edit(host, attentive(host), positive=host.conditioning(POSITIVE, **values)).isfinite().all()


def test_a_prompt_with_a_mask_is_looked_at_whole(host: Host, evaluations: list[Seen]) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    for negative in (
        host.conditioning(NEGATIVE),
        host.conditioning(NEGATIVE, mask=mask, set_area_to_bounds=False, mask_strength=1.0),
    ):
        edit(host, attentive(host), negative=negative)
    assert torch.equal(evaluations[0].attention[0], evaluations[1].attention[0])


def model_without_text_attention(host: Host, kind: str) -> Any:
    import comfy.model_base

    if kind == "UNetModel":
        return host.model(
            comfy.model_base.ModelType.EPS,
            transformer_depth=[0, 0],
            transformer_depth_middle=-1,
            transformer_depth_output=[0, 0, 0, 0],
        )
    if kind == "WanModel":
        return family_model("WAN21_T2V", WAN)
    unet = {**FLUX, "guidance_embed": False}
    return family_model("Flux", unet)


@pytest.mark.parametrize("kind", ["UNetModel", "Flux", "WanModel"])
def test_a_model_without_cross_attention_to_text_is_refused(host: Host, kind: str) -> None:
    model = model_without_text_attention(host, kind)
    spatial = (1, 8, 8) if kind == "WanModel" else (8, 8)
    latent = {"samples": torch.zeros(1, 4 if kind == "UNetModel" else 16, *spatial)}
    with pytest.raises(ValueError, match=rf"SEGASampler: concepts: concept 1 .*attention_threshold .* got {kind}"):
        edit(host, attentive(host), model=model, latent=latent)


# What the attention depends on, and what it does not.


@pytest.mark.parametrize(("name", "warmup"), [("EasyCacheNode", 0), ("EasyCacheNode", 3), ("LazyCacheNode", 0)])
def test_where_a_cache_leaves_out_the_network_the_last_mask_stays(
    host: Host, evaluations: list[Seen], attended: list[Any], name: str, warmup: int
) -> None:
    steps = 8
    cache = node("nodes_easycache", name, reuse_threshold=1.0, start_percent=0.0, end_percent=1.0, verbose=False)
    edit(host, attentive(host, start_percent=warmup / steps), model=cache(host), steps=steps, momentum_scale=0.0)
    acted = [evaluation for evaluation in evaluations if evaluation.differences]
    runs = len(attended) / len(COARSE)
    assert 0 < runs < steps - warmup
    assert len(acted) == (steps - warmup if name == "EasyCacheNode" else runs)
    assert len({id(evaluation.attention[0]) for evaluation in acted}) == runs
    for evaluation in acted:
        assert torch.equal(evaluation.guidance, masked(host, evaluation.guidance, evaluation.attention[0], 0.5))
        assert 0.2 < float((evaluation.guidance != 0).float().mean()) < 0.8


def test_a_controlnets_own_attention_is_not_looked_at(host: Host, evaluations: list[Seen], attended: Any) -> None:
    hint = torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(3))
    apply = host.nodes.ControlNetApplyAdvanced().apply_controlnet
    control = controlnet(3)
    positive, negative = apply(host.conditioning(POSITIVE), host.conditioning(NEGATIVE), control, hint, 1.0, 0.0, 1.0)
    for threshold in (0.0, 0.5):
        edit(host, attentive(host, attention_threshold=threshold), positive=positive, negative=negative)
    assert len(attended) == len(COARSE)
    assert torch.equal(evaluations[0].differences[0], evaluations[1].differences[0])
    _, concept = apply(host.conditioning(POSITIVE), host.conditioning(CONCEPT), control, hint, 1.0, 0.0, 1.0)
    by_hand = as_negative(host, host.eps, concept, positive=positive).at(1)
    torch.testing.assert_close(evaluations[1].attention[0], by_hand, rtol=1e-4, atol=1e-6)


def test_one_prompt_at_a_time_gives_the_same_mask(
    host: Host, evaluations: list[Seen], request: pytest.FixtureRequest
) -> None:
    concepts = [attentive(host, 10), host.concept(11), attentive(host, 12, words=(4, 5))]
    edit(host, *concepts, latent=host.latent(2))
    request.getfixturevalue("one_pass_at_a_time")
    edit(host, *concepts, latent=host.latent(2))
    together, alone = evaluations
    assert together.attention.keys() == alone.attention.keys() == {0, 2}
    for concept, attention in together.attention.items():
        torch.testing.assert_close(attention, alone.attention[concept], rtol=1e-5, atol=1e-7)


def test_two_devices_give_the_same_mask(host: Host, evaluations: list[Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management

    split = find_node("nodes_multigpu", "MultiGPUCFGSplitNode")
    concepts = [attentive(host, 10), attentive(host, 11), attentive(host, 12)]
    edit(host, *concepts)
    # To the host these are two devices; to torch they are one.
    devices = [CPU, torch.device("cpu", 0)]
    monkeypatch.setattr(
        comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: devices[exclude_current:]
    )
    model = host.model(host.eps.model.model_type)
    model.cached_patcher_init = (lambda *args, **kwargs: host.model(host.eps.model.model_type), ())
    try:
        edit(host, *concepts, model=split.execute(model, 2)[0])
    finally:
        comfy.model_management.unload_all_models()
    one, two = evaluations
    assert one.attention.keys() == two.attention.keys() == {0, 1, 2}
    for concept, attention in one.attention.items():
        torch.testing.assert_close(attention, two.attention[concept], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_number_formats_look_at_the_same_places(host: Host, evaluations: list[Seen], dtype: torch.dtype) -> None:
    import comfy.model_base

    edit(host, attentive(host))
    model = host.model(comfy.model_base.ModelType.EPS)
    model.model.diffusion_model.to(dtype).dtype = dtype
    edit(host, attentive(host), model=model)
    expected, small = evaluations
    assert small.attention[0].dtype == torch.float32
    assert (small.attention[0] - expected.attention[0]).norm() < 0.02 * expected.attention[0].norm()


@pytest.mark.parametrize("size", [(7, 9), (33, 17), (1, 8), (2, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_latents_of_any_size(host: Host, evaluations: list[Seen], size: tuple[int, int], batch: int) -> None:
    latent = {"samples": torch.zeros(batch, 4, *size)}
    edit(host, attentive(host), latent=latent)
    coarse = tuple(-(-side // 2) for side in size)
    attention = evaluations[0].attention[0]
    assert attention.shape == (batch, *coarse)
    by_hand = as_negative(host, host.eps, latent=latent).at(1, size=coarse)
    torch.testing.assert_close(attention, by_hand, rtol=1e-4, atol=1e-6)
    assert evaluations[0].guidance.isfinite().all()


def test_an_images_mask_does_not_depend_on_the_others(host: Host, evaluations: list[Seen]) -> None:
    latents = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(5))
    others = torch.cat([latents[:1], 100 * latents[1:]])
    for samples in (latents, others):
        edit(host, attentive(host), latent={"samples": samples}, denoise=0.5, steps=2)
    first, second = evaluations[0], evaluations[2]
    torch.testing.assert_close(first.attention[0][0], second.attention[0][0], rtol=1e-5, atol=1e-7)
    assert torch.equal(first.guidance[0] != 0, second.guidance[0] != 0)
    assert not torch.equal(first.guidance[1] != 0, second.guidance[1] != 0)


@pytest.mark.parametrize("lengths", [(77, 77, 154), (154, 77, 77), (77, 231, 154), (6, 4, 3)], ids=str)
def test_texts_of_different_lengths(host: Host, evaluations: list[Seen], lengths: tuple[int, ...]) -> None:
    """The host repeats the embeddings of a call to a common length."""
    *prompts, concept = (
        [[torch.randn((1, length, 32), generator=torch.Generator().manual_seed(seed)), {}]]
        for seed, length in enumerate(lengths)
    )
    settings = {"threshold": 0.0, "attention_threshold": 0.5, "guidance_scale": 5.0}
    settings |= {"strength": 1.0, "start_percent": 0.0}
    made = host.pack.nodes.SEGAConceptFromConditioning.execute(concept, **settings)[0]
    words = (1, lengths[2] - 1)
    edit(host, replace(made, token_positions=words), positive=prompts[0], negative=prompts[1])
    by_hand = as_negative(host, host.eps, concept, positive=concept).at(1, words)
    torch.testing.assert_close(evaluations[0].attention[0], by_hand, rtol=1e-4, atol=1e-6)


def test_a_concept_from_conditioning_looks_at_all_places_but_the_first(host: Host, evaluations: list[Seen]) -> None:
    edit(host, attentive(host, words=None))
    by_hand = as_negative(host, host.eps).at(1, tuple(range(1, 77)))
    torch.testing.assert_close(evaluations[0].attention[0], by_hand, rtol=1e-4, atol=1e-6)


def test_combined_texts_are_looked_at_together(host: Host, evaluations: list[Seen]) -> None:
    texts = [host.conditioning(seed) for seed in (CONCEPT, CONCEPT + 1)]
    concept = replace(attentive(host, words=None), conditioning=texts[0] + texts[1])
    edit(host, concept)
    by_hand = [as_negative(host, host.eps, text).at(1, tuple(range(1, 77))) for text in texts]
    torch.testing.assert_close(evaluations[0].attention[0], sum(by_hand) / 2, rtol=1e-4, atol=1e-6)


def test_each_concept_has_its_own_mask(host: Host, evaluations: list[Seen]) -> None:
    concepts = [
        attentive(host, 10),
        attentive(host, 11, words=(5,), attention_threshold=0.8),
        host.concept(12, threshold=0.0),
    ]
    for concept in concepts:
        edit(host, concept, mode="independent")
    edit(host, *concepts, mode="independent")
    *alone, together = evaluations
    assert together.attention.keys() == {0, 1}
    shares = [(one.guidance != 0).float().mean() for one in alone]
    assert shares[0] > 1.5 * shares[1]
    assert shares[2] == 1
    total = sum(one.guidance for one in alone)
    assert (together.guidance - total).norm() < 1e-4 * total.norm()


def test_direction_and_scale_do_not_move_the_mask(host: Host, evaluations: list[Seen]) -> None:
    for changes in ({}, {"direction": "remove"}, {"guidance_scale": 0.5}, {"strength": 0.5, "guidance_scale": 0.0}):
        edit(host, attentive(host, **changes))
    first, *others = (evaluation.guidance != 0 for evaluation in evaluations)
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("over", ["energy", "channel", "space"])
def test_the_mask_takes_away_from_what_the_threshold_keeps(host: Host, evaluations: list[Seen], over: str) -> None:
    for threshold in (0.0, 0.5):
        edit(host, attentive(host, threshold=0.7, threshold_over=over, attention_threshold=threshold))
    without, both = (evaluation.guidance for evaluation in evaluations)
    assert torch.equal(both, masked(host, without, evaluations[1].attention[0], 0.5))
    assert 0 < both.count_nonzero() < without.count_nonzero()


@pytest.mark.parametrize("kind", ["sdxl", "v prediction"])
def test_other_unets(host: Host, evaluations: list[Seen], kind: str) -> None:
    """SDXL's with pooled outputs and deeper layers; SD2's with heads of a fixed size and linear projections."""
    import comfy.model_base

    if kind == "sdxl":
        model = sdxl_model(transformer_depth=[0, 2], transformer_depth_output=[0, 0, 2, 2], transformer_depth_middle=2)
    else:
        changes = {"num_heads": -1, "num_head_channels": 16, "use_linear_in_transformer": True}
        model = host.model(comfy.model_base.ModelType.V_PREDICTION, **changes)
    pooled = {"pooled_output": torch.ones(1, 32)}
    prompts = {"positive": host.conditioning(POSITIVE, **pooled), "negative": host.conditioning(NEGATIVE, **pooled)}
    concept = replace(attentive(host), conditioning=host.conditioning(CONCEPT, **pooled))
    for threshold in (0.0, 0.5):
        chosen = replace(concept, settings=replace(concept.settings, attention_threshold=threshold))
        edit(host, chosen, model=model, **prompts)
    without, with_mask = evaluations
    assert torch.equal(with_mask.differences[0], without.differences[0])
    assert torch.equal(with_mask.guidance, masked(host, without.guidance, with_mask.attention[0], 0.5))
    assert 0.2 < float((with_mask.guidance != 0).float().mean()) < 0.8


SD1 = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "channel_mult": [1, 2, 4, 4],
    "num_res_blocks": [2, 2, 2, 2], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "use_spatial_transformer": True,
    "context_dim": 768, "num_heads": 8, "legacy": False, "use_temporal_attention": False,
}  # fmt: skip
SDXL = {
    **SD1, "channel_mult": [1, 2, 4], "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10, "context_dim": 2048,
    "num_heads": -1, "num_head_channels": 64, "num_classes": "sequential", "adm_in_channels": 2816,
    "use_linear_in_transformer": True,
}  # fmt: skip
REFINER = {
    **SDXL, "model_channels": 384, "channel_mult": [1, 2, 4, 4], "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0], "transformer_depth_middle": 4,
    "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0], "context_dim": 1280,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "inputs", "outputs", "depth"),
    [(SD1, (7, 8), (3, 4, 5), 1), (SDXL, (7, 8), (0, 1, 2), 10), (REFINER, (7, 8), (3, 4, 5), 4)],
    ids=["SD1.5", "SDXL", "SDXL refiner"],
)
def test_a_quarter_of_the_size_is_looked_at_in_real_unets(
    host: Host, config: dict[str, Any], inputs: tuple[int, ...], outputs: tuple[int, ...], depth: int
) -> None:
    """For a picture of 512 pixels, the 16 by 16 layers of SD1.5 that LEDITS++ looks at."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    network = UNetModel(**copy.deepcopy(config), device=torch.device("meta"), dtype=torch.float16)
    chosen = list(host.pack.nodes.sampling.attention._coarse_blocks(network))
    layers = [("input", number) for number in inputs] + [("output", number) for number in outputs]
    assert chosen == [(*layer, index) for layer in layers for index in range(depth)]


@every_kind
def test_the_words_are_looked_at_whatever_they_are_compared_with(
    host: Host, evaluations: list[Seen], instead_of: int | None
) -> None:
    without = None if instead_of is None else host.conditioning(instead_of)
    edit(host, replace(attentive(host), instead_of=without))
    by_hand = as_negative(host, host.eps).at(1)
    torch.testing.assert_close(evaluations[0].attention[0], by_hand, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["CFGGuider", "BasicGuider", "DualCFGGuider", "PerpNegGuider"])
def test_every_guider(host: Host, evaluations: list[Seen], name: str) -> None:
    from comfy_extras import nodes_perpneg

    first, second, third = (host.conditioning(seed) for seed in (POSITIVE, NEGATIVE, 4))
    guiders = {
        "CFGGuider": lambda model: host.custom.CFGGuider.execute(model, first, second, 4.0),
        "BasicGuider": lambda model: host.custom.BasicGuider.execute(model, first),
        "DualCFGGuider": lambda model: host.custom.DualCFGGuider.execute(
            model, first, third, second, 4.0, 3.0, "regular"
        ),
        "PerpNegGuider": lambda model: nodes_perpneg.PerpNegGuider.execute(model, first, second, third, 4.0, 1.0),
    }
    edited = [
        host.guide(guiders[name](host.patched(attentive(host, attention_threshold=threshold)))[0])
        for threshold in (0.0, 0.5)
    ]
    assert not torch.equal(*edited)
    without, with_mask = evaluations[0], evaluations[len(evaluations) // 2]
    assert torch.equal(with_mask.differences[0], without.differences[0])
    assert torch.equal(with_mask.guidance, masked(host, without.guidance, with_mask.attention[0], 0.5))
    # Every guider starts from the same noise.
    host.guide(host.custom.CFGGuider.execute(host.patched(attentive(host)), first, second, 4.0)[0])
    expected = evaluations[-4].attention[0]
    torch.testing.assert_close(with_mask.attention[0], expected, rtol=1e-4, atol=1e-6)


def test_a_prompt_that_begins_late_leaves_nothing_to_look_at_before(host: Host, evaluations: list[Seen]) -> None:
    late = host.conditioning(NEGATIVE, start_percent=0.4, end_percent=1.0)
    edit(host, attentive(host), negative=late, steps=4)
    assert [evaluation.guidance is not None for evaluation in evaluations] == [False, False, True, True]
    places = (evaluations[2].guidance != 0).float().mean()
    assert 0.2 < float(places) < 0.8


def test_sega_on_top_of_sega(host: Host, evaluations: list[Seen]) -> None:
    once = host.patched(attentive(host, 11))
    edit(host, attentive(host), model=once)
    attention = [evaluation.attention[0] for evaluation in evaluations]
    evaluations.clear()
    for seed in (10, 11):
        edit(host, attentive(host, seed))
    alone = [evaluation.attention[0] for evaluation in evaluations]
    assert len(attention) == len(alone) == 2
    for got in attention:
        assert min((got - expected).norm() / expected.norm() for expected in alone) < 1e-4


def test_an_error_leaves_nothing_behind(host: Host) -> None:
    import comfy.model_management

    concept = attentive(host)
    model = host.patched(concept)
    expected = host.sample(model)
    before = copy.deepcopy(list(model.model_options["transformer_options"]))

    def stop(*args: Any) -> None:
        raise comfy.model_management.InterruptProcessingException

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.pack.nodes.sampling.attention, "_attention_to", stop)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            host.sample(model)
    assert list(model.model_options["transformer_options"]) == before
    assert torch.equal(host.sample(model), expected)
    assert torch.equal(host.sample(), host.sample(host.patched()))


def test_a_concept_that_is_the_negative_prompt_adds_nothing(
    host: Host, evaluations: list[Seen], one_pass_at_a_time: None
) -> None:
    # With the keys, which change nothing, it is another text: it is evaluated.
    text = host.conditioning(NEGATIVE, clip_start_percent=0.0, clip_end_percent=1.0)
    same = edit(host, replace(attentive(host), conditioning=text), steps=4)
    assert not any(evaluation.guidance.any() for evaluation in evaluations)
    assert torch.equal(same, host.sample())


# The words.

# In the demo's vocabulary.
BOTH = (18, 19)


@pytest.fixture(scope="module")
def clip(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The demo's CLIP with random weights; the embedding `both` stands for two of its words."""
    folder = tmp_path_factory.mktemp("embeddings")
    clip = demo_clip([str(folder)])
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
    save_file({"clip_l": table[list(BOTH)].detach().clone()}, folder / "both.safetensors")
    return clip


# The demo's CLIP takes 24 tokens at once: 22 words between two marks.
@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("hat", [1]),
        ("purple hat, glasses", [1, 2, 3, 4]),
        ("a (hat:1.3) and", [1, 2, 3, 4, 5]),
        ("embedding:both", [1, 2]),
        ("hat embedding:both glasses", [1, 2, 3, 4]),
        ("hat " * 22, [*range(1, 23)]),
        ("hat " * 25, [*range(1, 23), 25, 26, 27]),
        ("hat " * 50, [*range(1, 23), *range(25, 47), *range(49, 55)]),
    ],
)
def test_the_places_are_those_of_the_texts_words(host: Host, clip: Any, text: str, places: list[int]) -> None:
    """Known by what a place's token is: neither the start, nor the end, nor the padding that repeats it."""
    tokens = [token for chunk in clip.tokenize(text)["l"] for token, _ in chunk]
    by_token = [place for place, token in enumerate(tokens) if not isinstance(token, int) or token > 1]
    concept = host.pack.nodes.SEGAConcept.execute(clip, text, attention_threshold=0.5)[0]
    assert concept.conditioning[0][0].shape[1] == len(tokens)
    assert list(concept.token_positions) == by_token
    if "and" not in text:
        assert by_token == places


@pytest.mark.parametrize(
    ("text", "prompt", "compared", "places"),
    [
        ("hat", "a face", "a face, hat", [4]),
        ("purple hat", "a face, beard", "a face, beard, purple hat", [6, 7]),
        ("hat", "a face, hat, beard", None, [4]),
        ("Hat", "a hat", None, [2]),
        ("hat", "hat, face, hat", None, [1, 5]),
        ("purple hat", "a hat, (purple hat:1.3), face", None, [4, 5]),
        ("(hat:1.3)", "a hat", None, [2]),
        ("embedding:both", "a face", "a face, embedding:both", [4, 5]),
        ("embedding:both", "a embedding:both, hat", None, [2, 3]),
        ("hat", "embedding:both hat", None, [3]),
        ("hat embedding:both", "a face", "a face, hat embedding:both", [4, 5, 6]),
        # In the second chunk, and over the border.
        ("hat", ("face " * 30).strip(), "face " * 29 + "face, hat", [34]),
        ("purple hat", ("face " * 20).strip(), "face " * 19 + "face, purple hat", [22, 25]),
        ("hat", "hat " + "face " * 30 + "hat", None, [1, 34]),
    ],
)
def test_the_places_are_those_of_the_texts_words_within_the_prompt(
    host: Host, clip: Any, text: str, prompt: str, compared: str | None, places: list[int]
) -> None:
    concept = host.pack.nodes.SEGAConcept.execute(clip, text, prompt, attention_threshold=0.5)[0]
    expected = clip.encode_from_tokens_scheduled(clip.tokenize(compared or prompt))
    assert torch.equal(concept.conditioning[0][0], expected[0][0])
    assert list(concept.token_positions) == places


def test_words_in_the_place_of_others_are_looked_at_there(host: Host, clip: Any) -> None:
    node = host.pack.nodes.SEGAConcept
    concept = node.execute(clip, "purple hat", "a beard, face", instead_of="beard", attention_threshold=0.5)[0]
    assert concept.token_positions == (2, 3)
    removed = node.execute(clip, "hat", "a hat, face", instead_of="beard", attention_threshold=0.5)[0]
    assert removed.token_positions == (2,)


class Tokenizing:
    """A CLIP of one of the host's real tokenizers and no network."""

    def __init__(self, kind: str) -> None:
        import comfy.sd1_clip
        import comfy.sdxl_clip
        import comfy.text_encoders.sd2_clip

        self.tokenizer = {
            "SD1.x": comfy.sd1_clip.SD1Tokenizer,
            "SD2.x": comfy.text_encoders.sd2_clip.SD2Tokenizer,
            "SDXL": comfy.sdxl_clip.SDXLTokenizer,
        }[kind]()

    def tokenize(self, text: str, **options: Any) -> Any:
        return self.tokenizer.tokenize_with_weights(text, **options)

    def encode_from_tokens_scheduled(self, tokens: Any) -> list[Any]:
        return [[torch.zeros(1, 77, 32), {}]]


real_tokenizers = pytest.mark.parametrize("kind", ["SD1.x", "SD2.x", "SDXL"])


@pytest.mark.parametrize(
    ("text", "prompt", "before"),
    [
        ("sunglasses", "a photo of a woman, sunglasses, at the beach", "a photo of a woman,"),
        ("ring", "a woman with earrings and a ring", "a woman with earrings and a"),
        ("丸い眼鏡", "女性の写真、丸い眼鏡", "女性の写真、"),
        ("red hat", "a photo, " * 30 + "red hat, dusk", "a photo, " * 30),
    ],
)
@real_tokenizers
def test_the_places_in_a_prompt_are_those_of_the_real_tokenizers_words(
    host: Host, kind: str, text: str, prompt: str, before: str
) -> None:
    def count(words: str) -> int:
        chunks = next(iter(Tokenizing(kind).tokenize(words, return_word_ids=True).values()))
        return sum(word != 0 for chunk in chunks for _, _, word in chunk)

    words = range(count(before), count(before) + count(text))
    concept = host.pack.nodes.SEGAConcept.execute(Tokenizing(kind), text, prompt, attention_threshold=0.5)[0]
    assert list(concept.token_positions) == [77 * (word // 75) + 1 + word % 75 for word in words]


@pytest.mark.parametrize("text", ["red hat", "glasses, (sunglasses:1.3)", "ünïcode 😀", "word " * 80])
@real_tokenizers
def test_the_places_are_those_of_the_real_tokenizers_words(host: Host, kind: str, text: str) -> None:
    import comfy.sd1_clip
    import transformers

    folder = Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer"
    plain = re.sub(r"\((.*):[0-9.]+\)", r"\1", text)
    count = len(transformers.CLIPTokenizer.from_pretrained(folder)(plain, truncation=False).input_ids) - 2
    chunks = [range(start, min(start + 75, count)) for start in range(0, count, 75)]
    expected = [77 * number + 1 + i for number, chunk in enumerate(chunks) for i in range(len(chunk))]
    concept = host.pack.nodes.SEGAConcept.execute(Tokenizing(kind), text, attention_threshold=0.5)[0]
    assert list(concept.token_positions) == expected


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_a_text_without_words_is_refused(host: Host, clip: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"SEGAConcept: attention_threshold needs words in text, got "):
        host.pack.nodes.SEGAConcept.execute(clip, text, attention_threshold=0.5)
    assert host.pack.nodes.SEGAConcept.execute(clip, text, attention_threshold=0.0)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), True, "0.5"])
def test_a_threshold_out_of_range_is_refused(host: Host, value: Any) -> None:
    message = rf"SEGAConceptFromConditioning: attention_threshold must be in \[0, 1\), got {value!r}"
    with pytest.raises(ValueError, match=message):
        host.concept(attention_threshold=value)


@pytest.mark.parametrize("prompt", [None, "a face", "a face, " * 9 + "hat"])
def test_an_embedding_is_looked_at_as_the_words_it_stands_for(
    host: Host, clip: Any, evaluations: list[Seen], prompt: str | None
) -> None:
    import comfy.model_base

    model = host.model(comfy.model_base.ModelType.EPS, context_dim=96)
    prompts = {name: host.conditioning(seed, 96) for seed, name in enumerate(("positive", "negative"))}
    vocabulary = clip.tokenizer.clip_l.tokenizer.get_vocab()
    spelled = [word.removesuffix("</w>") for word in sorted(vocabulary, key=vocabulary.__getitem__)]
    for text in ("embedding:both", " ".join(spelled[token] for token in BOTH)):
        concept = host.pack.nodes.SEGAConcept.execute(clip, text, prompt, threshold=0.0, attention_threshold=0.5)
        edit(host, concept[0], model=model, **prompts)
    embedding, words = (evaluation.attention[0] for evaluation in evaluations)
    assert torch.equal(embedding, words)


# What the demo model looks at.


@pytest.mark.parametrize(("text", "rows"), [("hat", (1, 4)), ("glasses", (2, 5)), ("beard", (4, 7))])
@pytest.mark.parametrize("way", ["alone", "added to the prompt", "removed from the prompt"])
def test_a_trained_model_looks_where_the_word_is_drawn(
    host: Host, evaluations: list[Seen], way: str, text: str, rows: tuple[int, int]
) -> None:
    """Its coarse level has 8 by 8 places; these rows hold the attribute in every drawn face."""
    from dev.demo import model

    unet, clip, _ = model.load()
    settings = {"threshold": 0.0, "start_percent": 0.0, "attention_threshold": 0.8}
    prompt = "a face, tan skin"
    if way == "removed from the prompt":
        prompt, settings = f"a face, {text}, tan skin", {**settings, "direction": "remove"}
    connected = None if way == "alone" else prompt
    concept = host.pack.nodes.SEGAConcept.execute(clip, text, connected, **settings)[0]
    prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in (prompt, "")]
    edit(
        host,
        concept,
        model=unet,
        latent={"samples": torch.zeros(8, 12, 16, 16)},
        steps=8,
        cfg=3.5,
        positive=prompts[0],
        negative=prompts[1],
        mode="independent",
    )
    # Later there is little noise left and little to look for.
    first_half = evaluations[:4]
    attention = torch.stack([evaluation.attention[0] for evaluation in first_half]).mean(0)
    inside, everywhere = attention[:, rows[0] : rows[1], 2:6].mean((1, 2)), attention.mean((1, 2))
    assert (inside > 1.05 * everywhere).all()
    assert inside.mean() > 1.25 * everywhere.mean()
    edited = torch.stack([(evaluation.guidance != 0).any(1) for evaluation in first_half])
    # Three of the eight rows.
    assert edited[:, :, 2 * rows[0] : 2 * rows[1]].sum() > 0.5 * edited.sum()
