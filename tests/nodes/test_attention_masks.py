"""Attention masks on the host: where a UNet looks at a concept's words, beside whatever else patches its attention.

What the attention is on given weights is compared with diffusers' LEDITS++ in test_parity_leditspp.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dev.host.passes import options_of
from support.core import noise
from support.evaluations import Seen
from support.families import sampled
from support.host import Host, find_node, run_node, wrapped
from support.models import controlnet, sdxl_model
from support.packs import attention, ip_adapter
from support.tensors import distance

pytestmark = pytest.mark.compat("Features", "attention masks (LEDITS++), beside other attention patches")

# The cross-attention of the tests' UNet at half the size of the latents: its coarsest level but the middle's.
COARSE = [("input", 3), ("output", 0), ("output", 1)]
LAYERS = [("input", 1), ("output", 2), ("output", 3), *COARSE]
POSITIVE, NEGATIVE, CONCEPT = 1, 2, 10


def attentive(host: Host, text: Any = CONCEPT, instead_of: Any = None, words: Any = (1, 2, 3), **changes: Any) -> Any:
    """Return a SEGA_CONCEPT that edits the half of the places that look most at its words."""
    concept = host.concept(text, instead_of, **{"threshold": 0.0, "attention_threshold": 0.5, **changes})
    return replace(concept, token_positions=words)


def edit(host: Host, *concepts: Any, **changes: Any) -> Tensor:
    # Some patches draw from torch's own generator.
    torch.manual_seed(0)
    return host.sega(*concepts, **{"steps": 1, "latent": host.latent(2), **changes})


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def share(seen: Seen) -> float:
    return float((seen.guidance != 0).float().mean())


# What others do to the attention: each returns what is sampled with.


def weaker(*given: Any) -> Tensor:
    return 0.6 * attention(*given)


def texts(change: Callable, queries: Callable = lambda n: n, out: Callable = lambda out: 0.8 * out) -> Callable:
    """Change what the cross-attention is given, and what it gives."""

    def add(host: Host) -> dict[str, Any]:
        model = host.eps.clone()
        model.set_model_attn2_patch(lambda n, k, v, options: (queries(n), change(k), change(v)))
        model.set_model_attn2_output_patch(lambda n, options: out(n))
        return {"model": model}

    return add


def image_tokens(count: int) -> Callable:
    """Write an image's tokens behind the text."""
    return texts(lambda context: torch.cat([context, noise(1, count, 32).expand(len(context), -1, -1)], 1))


def replaced(kind: str, *places: tuple[Any, ...]) -> Callable:
    """Replace the attention from a wrapper."""

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        options = options_of(args, kwargs)
        kept = options.get("patches_replace", {})
        options["patches_replace"] = {**kept, "attn2": {**kept.get("attn2", {}), **dict.fromkeys(places, weaker)}}
        return executor(*args, **kwargs)

    return lambda host: {"model": wrapped(host.eps, kind, wrapper)}


def node(module: str, name: str, **inputs: Any) -> Callable:
    """Patch with a node of the host."""
    return lambda host: {"model": run_node(find_node(module, name), model=host.eps, **inputs)}


def unet(host: Host, prediction: str = "EPS", **changes: Any) -> dict[str, Any]:
    import comfy.model_base

    return {"model": host.model(comfy.model_base.ModelType[prediction], **changes)}


def on_each(host: Host, **values: Any) -> dict[str, Any]:
    """Let both prompts carry something."""
    return {"positive": host.pooled(POSITIVE, **values), "negative": host.pooled(NEGATIVE, **values)}


def controlled(host: Host) -> dict[str, Any]:
    """Apply a ControlNet, whose own attention is not looked at."""
    control = controlnet(3).set_cond_hint(noise(1, 3, 64, 64), 1.0, (0.0, 1.0))
    return on_each(host, control=control, control_apply_to_uncond=False)


def hooked(host: Host) -> dict[str, Any]:
    """Replace the attention from a hook."""
    import comfy.hooks

    group, patches = comfy.hooks.HookGroup(), {"attn2": {("input", 3): weaker}}
    scope = comfy.hooks.EnumHookScope.HookedOnly
    group.add(comfy.hooks.TransformerOptionsHook({"patches_replace": patches}, hook_scope=scope))
    return on_each(host, hooks=group)


HEADS = {"num_heads": -1, "num_head_channels": 16, "use_linear_in_transformer": True}
DEEP = {"transformer_depth": [0, 2], "transformer_depth_output": [0, 0, 2, 2], "transformer_depth_middle": 2}
SHRINK = {
    "block_number": 1, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 1.0, "downscale_after_skip": True,
    "downscale_method": "bicubic", "upscale_method": "bicubic",
}  # fmt: skip
PATCHES: dict[str, Callable[[Host], dict[str, Any]]] = {
    "none": lambda host: {},
    "SDXL": lambda host: {"model": sdxl_model(**DEEP)},
    "SD2": lambda host: unet(host, "V_PREDICTION", **HEADS),
    "IP-Adapter on every layer": lambda host: {"model": ip_adapter(host.eps, ("middle", 0), *LAYERS)},
    "IP-Adapter on every block": lambda host: {"model": ip_adapter(host.eps, *((*place, 0) for place in LAYERS))},
    "IP-Adapter on one layer": lambda host: {"model": ip_adapter(host.eps, ("output", 1))},
    "tokens behind the text": image_tokens(4),
    "as many tokens behind the text as it has": image_tokens(77),
    "attention replaced from an APPLY_MODEL wrapper": replaced("APPLY_MODEL", ("input", 3)),
    "attention replaced from a hook": hooked,
    "ControlNet": controlled,
    "SAG": node("nodes_sag", "SelfAttentionGuidance", scale=0.8, blur_sigma=2.0),
    "NAG": node("nodes_nag", "NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5),
    "Deep Shrink": node("nodes_model_downscale", "PatchModelAddDownscale", **SHRINK),
    "Perp-Neg": lambda host: node("nodes_perpneg", "PerpNeg", empty_conditioning=host.pooled(5), neg_scale=1.0)(host),
}


@pytest.mark.parametrize("name", PATCHES)
def test_the_mask_is_where_the_model_looks_at_the_words(host: Host, evaluations: list[Seen], name: str) -> None:
    """In the concept's own pass as in a prompt's; what the prompts give keeps its bits."""
    settings = {**on_each(host), "model": host.eps, **PATCHES[name](host)}
    settings["model"] = settings["model"].clone()
    seen: list[Tensor] = []
    settings["model"].set_model_sampler_post_cfg_function(
        lambda args: seen.append(torch.stack([args["cond_denoised"], args["uncond_denoised"]])) or args["denoised"]
    )
    text, carried = host.pooled(CONCEPT), settings["positive"][0][1]
    for threshold in (0.0, 0.5):
        edit(host, attentive(host, text, host.pooled(POSITIVE), attention_threshold=threshold), **settings)
    without, own = evaluations
    mask = host.pack.sega_core.guidance.attention_mask(own.attention[0], 0.5, own.guidance.shape[2:])
    assert torch.equal(own.guidance, without.guidance * mask)
    assert torch.equal(own.differences[0], without.differences[0])
    assert torch.equal(*seen)
    assert share(without) == 1
    assert 0.2 < share(own) < 0.8
    # NAG changes the positive prompt alone, and not where concepts have a call of their own.
    if name != "NAG":
        settings["positive"] = [[text[0][0], {**carried, **text[0][1]}]]
        edit(host, attentive(host, text, host.pooled(POSITIVE)), **settings)
        close(evaluations[2].attention[0], own.attention[0])


BOUNDS = {"mask": torch.ones(1, 64, 64), "set_area_to_bounds": True, "mask_strength": 1.0}
UNSEEN = r"has no effect: another patch replaces the cross-attention to text; set it to 0"
REFUSED: dict[str, tuple[Callable[[Host], dict[str, Any]], str]] = {
    "regions as samples": (
        texts(lambda context: context.repeat(2, 1, 1), lambda n: n.repeat(2, 1, 1), lambda out: out.chunk(2)[0]),
        r"does not work .* splits the batch: expected 3 prompts of 2 samples, got 12",
    ),
    "shorter text": (texts(lambda context: context[:, :4]), UNSEEN),
    "replaced blocks": (replaced("DIFFUSION_MODEL", *((*place, 0) for place in COARSE)), UNSEEN),
    "Flux": (
        lambda host: {"model": sampled(host, "Flux").model, "latent": sampled(host, "Flux").latent()},
        "needs a UNet with cross-attention .* got Flux",
    ),
    "area": (lambda host: on_each(host, area=(4, 4, 0, 0), strength=1.0), "does not work .* for an area"),
    "bounds of a mask": (lambda host: on_each(host, **BOUNDS), "does not work .* for an area"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_the_attention_cannot_be_seen_it_is_refused(host: Host, name: str) -> None:
    patch, message = REFUSED[name]
    settings = {**on_each(host), **patch(host)}
    with pytest.raises(ValueError, match=rf"SEGASampler: concepts: concept 1 .*attention_threshold {message}"):
        edit(host, attentive(host, host.pooled(CONCEPT)), **settings)
    assert edit(host, attentive(host, host.pooled(CONCEPT), attention_threshold=0.0), **settings).isfinite().all()


@pytest.mark.parametrize("name", ["EasyCacheNode", "LazyCacheNode"])
def test_where_a_cache_leaves_out_the_network_the_last_mask_stays(
    host: Host, evaluations: list[Seen], name: str
) -> None:
    cached = node("nodes_easycache", name, reuse_threshold=1.0, start_percent=0.0, end_percent=1.0, verbose=False)
    edit(host, attentive(host), **cached(host), steps=8, momentum_scale=0.0)
    acted = [evaluation for evaluation in evaluations if evaluation.differences]
    maps = {id(evaluation.attention[0]) for evaluation in acted}
    assert 0 < len(maps) < 8
    # LazyCache leaves out the whole prediction.
    assert len(acted) == (8 if name == "EasyCacheNode" else len(maps))
    assert all(0.2 < share(evaluation) < 0.8 for evaluation in acted)


def test_a_mask_is_the_same_in_one_call_or_many_in_half_precision_and_on_two_devices(
    host: Host, evaluations: list[Seen], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management

    half, other = unet(host)["model"], unet(host)["model"]
    half.model.diffusion_model.to(torch.float16).dtype = torch.float16
    concepts = [attentive(host, 10), host.concept(11), attentive(host, 12, words=(4, 5))]
    for model in (host.eps, half):
        edit(host, *concepts, model=model)
    request.getfixturevalue("one_pass_at_a_time")
    edit(host, *concepts)
    together, small, alone = (evaluation.attention for evaluation in evaluations)
    assert together.keys() == alone.keys() == {0, 2}
    for c, expected in together.items():
        close(alone[c], expected)
        assert distance(small[c], expected) < 0.02
    split = find_node("nodes_multigpu", "MultiGPUCFGSplitNode")
    # To the host these are two devices; to torch they are one.
    devices = [torch.device("cpu"), torch.device("cpu", 0)]
    monkeypatch.setattr(
        comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: devices[exclude_current:]
    )
    other.cached_patcher_init = (lambda *args, **kwargs: unet(host)["model"], ())
    edit(host, *concepts, model=split.execute(other, 2)[0])
    comfy.model_management.unload_all_models()
    for c, expected in together.items():
        close(evaluations[3].attention[c], expected)


# The levels of SD1.5 and SDXL.
SD1 = {
    "channel_mult": [1, 2, 4, 4], "num_res_blocks": [2] * 4, "transformer_depth": [1] * 6 + [0] * 2,
    "transformer_depth_output": [1] * 9 + [0] * 3,
}  # fmt: skip
SDXL = {
    "channel_mult": [1, 2, 4], "num_res_blocks": [2] * 3, "transformer_depth": [0, 0, 1, 1, 2, 2],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
}  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "size", "coarse"),
    [({}, (7, 9), (4, 5)), ({}, (1, 1), (1, 1)), (SD1, (32, 24), (8, 6)), (SDXL, (32, 32), (8, 8))],
)
def test_a_quarter_of_the_latents_size_is_looked_at(
    host: Host, evaluations: list[Seen], levels: Any, size: tuple[int, int], coarse: tuple[int, int]
) -> None:
    """Or the nearest to it: for SD1.5's pictures of 512 pixels, the 16 by 16 places that LEDITS++ looks at."""
    edit(host, attentive(host), **unet(host, **levels), latent={"samples": torch.zeros(2, 4, *size)})
    assert evaluations[0].attention[0].shape == (2, *coarse)
    assert evaluations[0].guidance.isfinite().all()


def test_an_images_mask_does_not_depend_on_the_others(host: Host, evaluations: list[Seen]) -> None:
    latents = noise(3, 4, 8, 8)
    for samples in (latents, torch.cat([latents[:1], 100 * latents[1:]])):
        edit(host, attentive(host), latent={"samples": samples}, denoise=0.5)
    first, second = evaluations
    close(first.attention[0][0], second.attention[0][0])
    assert torch.equal(first.guidance[0] != 0, second.guidance[0] != 0)
    assert not torch.equal(first.guidance[1] != 0, second.guidance[1] != 0)


@pytest.mark.parametrize("length", [77, 154])
def test_texts_of_different_lengths(host: Host, evaluations: list[Seen], length: int) -> None:
    """The host repeats the embeddings of a call to a common length."""
    for others in (length, 231):
        prompts = {name: [[noise(1, others, 32, seed=seed), {}]] for seed, name in enumerate(("positive", "negative"))}
        edit(host, attentive(host, [[noise(1, length, 32, seed=3), {}]], words=(1, length - 1)), **prompts)
    close(evaluations[0].attention[0], evaluations[1].attention[0])


def test_the_places_of_a_text_share_all_attention(host: Host, evaluations: list[Seen]) -> None:
    """All but the first count where the words are not known, and combined texts count alike."""
    text, other = host.conditioning(CONCEPT), host.conditioning(CONCEPT + 1)
    concepts = [(text, (0,)), (text, (1, 2, 3)), (text, None), (other, None), (text + other, None)]
    edit(host, *(attentive(host, text, words=words) for text, words in concepts))
    first, words, rest, of_other, of_both = evaluations[0].attention.values()
    close(first + rest, torch.ones_like(first))
    assert (words < rest).all()
    close(of_both, (rest + of_other) / 2)


def test_each_concept_has_its_own_mask_whatever_its_direction_and_scale(host: Host, evaluations: list[Seen]) -> None:
    """Two of them look at words of the same prompt."""
    concepts = [
        attentive(host),
        attentive(host, direction="remove", guidance_scale=0.5),
        attentive(host, POSITIVE, CONCEPT, direction="remove", attention_threshold=0.8),
        attentive(host, POSITIVE, CONCEPT + 1, words=(5, 40)),
        host.concept(12, threshold=0.0),
    ]
    for chosen in (*([concept] for concept in concepts), concepts):
        edit(host, *chosen, mode="independent")
    *alone, together = evaluations
    assert together.attention.keys() == {0, 1, 2, 3}
    assert share(alone[0]) > 1.5 * share(alone[2])
    assert torch.equal(alone[0].guidance != 0, alone[1].guidance != 0)
    assert not torch.equal(together.attention[2], together.attention[3])
    total = sum(one.guidance for one in alone)
    assert (together.guidance - total).norm() < 1e-4 * total.norm()


def test_an_error_leaves_nothing_behind(host: Host) -> None:
    calls: list[None] = []

    def broken(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(None)
        return executor(*args, **kwargs) if len(calls) != 2 else 1 / 0

    model = host.patched(attentive(host), model=wrapped(host.eps, "DIFFUSION_MODEL", broken))
    with pytest.raises(ZeroDivisionError):
        host.sample(model)
    assert torch.equal(host.sample(model), host.sample(host.patched(attentive(host))))
    assert torch.equal(host.sample(), host.sample(host.patched()))


@pytest.mark.parametrize(("text", "rows"), [("hat", (1, 4)), ("glasses", (2, 5)), ("beard", (4, 7))])
def test_a_trained_model_looks_where_the_word_is_drawn(
    host: Host, evaluations: list[Seen], text: str, rows: tuple[int, int]
) -> None:
    """The demo model's coarse level has 8 by 8 places; these rows hold the attribute in most faces."""
    from dev.demo import model

    demo, clip, _ = model.load()
    prompt = "a face, beard, tan skin" if text == "beard" else "a face, tan skin"
    settings = {"direction": "remove" if text == "beard" else "add", "prompt": None if text == "glasses" else prompt}
    settings |= {"threshold": 0.0, "start_percent": 0.0, "attention_threshold": 0.8}
    concept = host.pack.nodes.SEGAConcept.execute(clip, text, **settings)[0]
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in (prompt, ""))
    latent = {"samples": torch.zeros(8, model.LATENT_CHANNELS, 16, 16)}
    sampling = {"model": demo, "latent": latent, "steps": 8, "cfg": 3.5, "positive": positive, "negative": negative}
    edit(host, concept, **sampling, mode="independent")
    # Later there is little noise left and little to look for.
    looked = torch.stack([evaluation.attention[0] for evaluation in evaluations[:4]]).mean(0)
    inside, everywhere = looked[:, rows[0] : rows[1], 2:6].mean((1, 2)), looked.mean((1, 2))
    assert (inside > 1.05 * everywhere).all()
    assert inside.mean() > 1.25 * everywhere.mean()
