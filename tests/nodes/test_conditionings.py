"""Whatever a prompt carries besides its text, a concept differs from what it is compared with by the text alone."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import COMFYUI
from support import models
from support.core import noise
from support.families import sampled
from support.host import Host, every_kind, kept_apart, once, wrapped
from support.pipeline import fill_with_noise
from support.tensors import distance, relative

STEPS = 3
POSITIVE, NEGATIVE, OTHER = 1, 2, 10
WORDS = {POSITIVE: "a portrait of a woman", NEGATIVE: "blurry, bad", OTHER: "smiling"}

CONTROL = pytest.mark.compat("Conditioning", "ControlNet and T2I adapter, on both prompts or on one")
INPAINT = pytest.mark.compat("Conditioning", "inpaint models and noise masks")
AREA = pytest.mark.compat("Conditioning", "prompts for an area or a mask")
TIME = pytest.mark.compat("Conditioning", "prompts for a part of the steps")
IMAGES = pytest.mark.compat("Conditioning", "GLIGEN boxes and unCLIP images")
SIZES = pytest.mark.compat("Conditioning", "sizes and crops of SDXL")
HOOKS = pytest.mark.compat("Conditioning", "LoRA as hook, with keyframes")
TEXTS = pytest.mark.compat("Conditioning", "prompts combined, concatenated, averaged, zeroed or by default")
FLUX = pytest.mark.compat("Conditioning", "Flux: guidance and reference images")

Prompt = list[Any]


def picture(seed: int) -> torch.Tensor:
    """Return an IMAGE for latents of 8x8."""
    return noise(1, 64, 64, 3, seed=seed).sigmoid()


def half() -> torch.Tensor:
    """Return a MASK of the left half."""
    return torch.cat([torch.ones(1, 64, 32), torch.zeros(1, 64, 32)], dim=2)


@once
def controlnet(host: Host) -> Any:
    return models.controlnet(3)


@once
def adapter(host: Host) -> Any:
    import comfy.controlnet
    import comfy.t2i_adapter.adapter

    network = comfy.t2i_adapter.adapter.Adapter([32, 64, 64, 64], nums_rb=2, cin=192, ksize=1, sk=True, xl=False)
    fill_with_noise(network, 5)
    network = network.requires_grad_(False).eval()
    return comfy.controlnet.T2IAdapter(network, network.input_channels, 8, "nearest-exact", torch.device("cpu"))


@once
def adapted_model(host: Host) -> Any:
    """Return a UNet with the two residual blocks per level that an adapter's features are made for."""
    depths = {"transformer_depth": [1] * 4, "transformer_depth_output": [1] * 6}
    return host.model(host.eps.model.model_type, num_res_blocks=[2, 2], **depths)


@once
def inpaint_model(host: Host) -> Any:
    model = host.model(host.eps.model.model_type, in_channels=9, out_channels=4)
    model.model.set_inpaint()
    return model


@once
def vae(host: Host) -> Any:
    import comfy.sd

    encoder = {
        "double_z": True, "z_channels": 4, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32,
        "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    made = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": encoder, "embed_dim": 4}}, dtype=torch.float32)
    fill_with_noise(made.first_stage_model, 6)
    return made


def make_clip(host: Host, tokenizer: Any, model: Any) -> Any:
    import comfy.sd
    import comfy.supported_models_base

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    options = {"dtype": torch.float32, "clip_l_model_config": sizes, "clip_g_model_config": sizes}
    clip = comfy.sd.CLIP(comfy.supported_models_base.ClipTarget(tokenizer, model), model_options=options)
    fill_with_noise(clip.cond_stage_model, 7)
    return clip


@once
def clip(host: Host) -> Any:
    import comfy.sd1_clip

    return make_clip(host, comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)


@once
def sdxl_clip(host: Host) -> Any:
    import comfy.sdxl_clip

    return make_clip(host, comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel)


@once
def sdxl_model(host: Host) -> Any:
    return models.sdxl_model(8, context_dim=64)


@once
def unclip_model(host: Host) -> Any:
    import comfy.model_base

    schedule = {"timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
    config = models.tiny_config({**models.UNET, "num_classes": "sequential", "adm_in_channels": 64})
    return models.model_of(
        comfy.model_base.SD21UNCLIP(config, {"noise_schedule_config": schedule, "timestep_dim": 32}), 9
    )


@once
def gligen(host: Host) -> Any:
    import comfy.gligen
    from comfy.ldm.modules.attention import BasicTransformerBlock

    blocks = [block for block in host.eps.model.diffusion_model.modules() if isinstance(block, BasicTransformerBlock)]
    widths = [block.norm1.normalized_shape[0] for block in blocks]
    gates = [comfy.gligen.GatedSelfAttentionDense(width, 32, 4, width // 4) for width in widths]
    return models.model_of(comfy.gligen.Gligen(gates, comfy.gligen.PositionNet(32, 32), 32).requires_grad_(False), 12)


@once
def hooked_model(host: Host) -> Any:
    # Of its own: the host swaps a hooked model's weights while it samples.
    return host.model(host.eps.model.model_type, seed=13)


@once
def lora_hooks(host: Host, *schedule: tuple[float, float]) -> Any:
    """Return the HOOKS of a LoRA for UNet and CLIP; `schedule` has pairs of start percent and strength."""
    import folder_paths
    import safetensors.torch
    from comfy_extras import nodes_hooks

    unet, weights = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to", {}
    for i, name in enumerate([f"{unet}_k", f"{unet}_v", "lora_te_text_model_encoder_layers_0_self_attn_v_proj"]):
        weights[f"{name}.lora_up.weight"] = noise(64 if unet in name else 32, 4, seed=20 + i)
        weights[f"{name}.lora_down.weight"] = noise(4, 32, seed=30 + i)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        safetensors.torch.save_file(weights, Path(folder, "style.safetensors"))
        patch.setitem(folder_paths.folder_names_and_paths, "loras", ([folder], {".safetensors"}))
        (hooks,) = nodes_hooks.CreateHookLora().create_hook("style.safetensors", 1.0, 1.0)
    keyframes = None
    for start, strength in schedule:
        (keyframes,) = nodes_hooks.CreateHookKeyframe().create_hook_keyframe(strength, start, keyframes)
    return nodes_hooks.SetHookKeyframes().set_hook_keyframes(hooks, keyframes)[0]


@dataclass(frozen=True)
class Kind:
    """One kind of conditioning: what `apply` puts on a positive and a negative prompt."""

    apply: Callable[[Host, Prompt, Prompt], tuple[Prompt, Prompt]]
    model: Callable[[Host], Any] = lambda host: host.eps
    text: Callable[[Host, int], Prompt] = Host.conditioning
    size: int = 8

    def texts(self, host: Host) -> dict[str, Prompt]:
        return {"positive": self.text(host, POSITIVE), "negative": self.text(host, NEGATIVE)}

    def arguments(self, host: Host, *carriers: str) -> dict[str, Any]:
        """Return what is sampled with; of the prompts, these carry what the kind gives them."""
        texts, model = self.texts(host), self.model(host)
        applied = dict(zip(texts, self.apply(host, *texts.values()), strict=True))
        latent = torch.zeros(1, model.model.latent_format.latent_channels, self.size, self.size)
        carried = {name: applied[name] for name in carriers}
        return {"model": model, "steps": STEPS, "latent": {"samples": latent}, **texts, **carried}


def on_each(function: Callable[[Host, Prompt], Prompt]) -> Callable[[Host, Prompt, Prompt], tuple[Prompt, Prompt]]:
    return lambda host, positive, negative: (function(host, positive), function(host, negative))


def control(network: Callable[[Host], Any]) -> Callable:
    def apply(host: Host, positive: Prompt, negative: Prompt) -> tuple[Prompt, Prompt]:
        node = host.nodes.ControlNetApplyAdvanced()
        return node.apply_controlnet(positive, negative, network(host), picture(3), 1.0, 0.0, 1.0)

    return apply


def legacy_control(host: Host, prompt: Prompt) -> Prompt:
    return host.nodes.ControlNetApply().apply_controlnet(prompt, controlnet(host), picture(3), 1.0)[0]


def area(host: Host, prompt: Prompt) -> Prompt:
    return host.nodes.ConditioningSetArea().append(prompt, width=64, height=96, x=32, y=0, strength=0.7)[0]


def area_percentage(host: Host, prompt: Prompt) -> Prompt:
    node = host.nodes.ConditioningSetAreaPercentage()
    return node.append(prompt, width=0.5, height=1.0, x=0.5, y=0.0, strength=1.0)[0]


def mask(set_cond_area: str) -> Callable:
    return lambda host, prompt: host.nodes.ConditioningSetMask().append(prompt, half(), set_cond_area, 0.8)[0]


def and_everywhere(function: Callable) -> Callable:
    """Combine the prompt for a part with the same prompt for the whole."""
    return lambda host, prompt: host.nodes.ConditioningCombine().combine(function(host, prompt), prompt)[0]


def time_range(start: float, end: float) -> Callable:
    return lambda host, prompt: host.nodes.ConditioningSetTimestepRange().set_range(prompt, start, end)[0]


def gligen_box(host: Host, prompt: Prompt) -> Prompt:
    node = host.nodes.GLIGENTextBoxApply()
    return node.append(prompt, clip(host), gligen(host), "a hat", width=32, height=24, x=16, y=8)[0]


def unclip(host: Host, prompt: Prompt) -> Prompt:
    import comfy.clip_vision

    seen = comfy.clip_vision.Output()
    seen.image_embeds = noise(1, 32, seed=14)
    return host.nodes.unCLIPConditioning().apply_adm(prompt, seen, 0.8, 0.3)[0]


def sdxl_text(host: Host, seed: int) -> Prompt:
    return host.nodes.CLIPTextEncode().encode(sdxl_clip(host), WORDS[seed])[0]


def sdxl_prompts(host: Host, positive: Prompt, negative: Prompt) -> tuple[Prompt, Prompt]:
    """Encode the prompts anew for sizes, another one for each."""
    return sdxl_sizes(host, POSITIVE), sdxl_sizes(host, NEGATIVE)


def sdxl_sizes(host: Host, seed: int) -> Prompt:
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL

    size = 512 + 64 * seed
    text = WORDS[seed]
    return CLIPTextEncodeSDXL.execute(sdxl_clip(host), size, size + 32, seed, 0, 1024, 960, text, text)[0]


def hooked(host: Host, prompt: Prompt) -> Prompt:
    from comfy_extras import nodes_hooks

    hooks = lora_hooks(host, (0.0, 1.0), (0.4, 0.1))
    return nodes_hooks.ConditioningSetProperties().set_properties(prompt, 1.0, "default", hooks=hooks)[0]


def all_properties(host: Host, positive: Prompt, negative: Prompt) -> tuple[Prompt, Prompt]:
    from comfy_extras import nodes_hooks

    node = nodes_hooks.PairConditioningSetProperties()
    hooks = lora_hooks(host, (0.0, 1.0), (0.4, 0.2))
    return node.set_properties(positive, negative, 0.9, "default", mask=half(), hooks=hooks, timesteps=(0.0, 0.7))


def by_default(host: Host, prompt: Prompt) -> Prompt:
    """Let the prompt with a LoRA stand in wherever the same prompt for a mask does not reach."""
    from comfy_extras import nodes_hooks

    node = nodes_hooks.ConditioningSetDefaultAndCombine()
    return node.set_default_and_combine(mask("default")(host, prompt), prompt, lora_hooks(host))[0]


def flux_guidance(host: Host, prompt: Prompt) -> Prompt:
    from comfy_extras.nodes_flux import FluxGuidance

    return FluxGuidance.execute(prompt, 30.0)[0]


def reference_latents(host: Host, prompt: Prompt) -> Prompt:
    from comfy_extras.nodes_edit_model import ReferenceLatent

    for seed in (40, 41):
        prompt = ReferenceLatent.execute(prompt, {"samples": noise(1, 16, 8, 8, seed=seed)})[0]
    return prompt


def inpaint(host: Host, positive: Prompt, negative: Prompt) -> tuple[Prompt, Prompt]:
    node = host.nodes.InpaintModelConditioning()
    return node.encode(positive, negative, picture(30), vae(host), half())[:2]


KINDS = {
    "ControlNet": (Kind(control(controlnet)), CONTROL),
    "ControlNet of the old node": (Kind(on_each(legacy_control)), CONTROL),
    "T2I adapter": (Kind(control(adapter), adapted_model), CONTROL),
    "inpaint model": (Kind(inpaint, inpaint_model), INPAINT),
    "area and everywhere": (Kind(on_each(and_everywhere(area)), size=16), AREA),
    "area in percent": (Kind(on_each(area_percentage)), AREA),
    "mask": (Kind(on_each(mask("default"))), AREA),
    "mask and everywhere": (Kind(on_each(and_everywhere(mask("mask bounds"))), size=16), AREA),
    "time": (Kind(on_each(time_range(0.0, 0.6))), TIME),
    "GLIGEN": (Kind(on_each(gligen_box)), IMAGES),
    "unCLIP": (Kind(on_each(unclip), unclip_model), IMAGES),
    "SDXL sizes": (Kind(sdxl_prompts, sdxl_model, sdxl_text), SIZES),
    "LoRA with keyframes": (Kind(on_each(hooked), hooked_model), HOOKS),
    "LoRA, mask and time": (Kind(all_properties, hooked_model), HOOKS),
    "default": (Kind(on_each(by_default), hooked_model), TEXTS),
    "Flux guidance": (Kind(on_each(flux_guidance), lambda host: sampled(host, "Flux").model, Host.pooled), FLUX),
    "reference images": (Kind(on_each(reference_latents), lambda host: sampled(host, "Flux").model, Host.pooled), FLUX),
}
every_conditioning = pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=name, marks=mark) for name, (kind, mark) in KINDS.items()]
)


@pytest.fixture
def guidance_of(host: Host, one_pass_at_a_time: None, guidance_log: list[Any]) -> Callable[..., list[torch.Tensor]]:
    """Sample with the conditioning as concept; return the guidance of each evaluation.

    The concept is evaluated also where it says what it is compared with.
    """

    def sample(conditioning: Prompt, instead_of: Prompt | None = None, **arguments: Any) -> list[torch.Tensor]:
        guidance_log.clear()
        samples = host.sega(host.concept(kept_apart(conditioning), instead_of), **{"steps": STEPS, **arguments})
        assert samples.isfinite().all()
        assert len(guidance_log) == arguments.get("steps", STEPS)
        return list(guidance_log)

    return sample


def is_zero(guidance: list[torch.Tensor | None]) -> bool:
    return all(part is None or torch.count_nonzero(part) == 0 for part in guidance)


# A text alone is compared with the negative prompt, one with another text with the positive.
ALONE, TWO_SIDED = "text alone", "with and without"
every_comparison = pytest.mark.parametrize("how", [ALONE, TWO_SIDED])


def compared(how: str, prompts: dict[str, Prompt]) -> tuple[Prompt, dict[str, Any]]:
    """Return the text that a concept is compared with, and the arguments of `guidance_of` that make it so."""
    if how == TWO_SIDED:
        return prompts["positive"], {"instead_of": prompts["positive"]}
    return prompts["negative"], {}


@every_conditioning
def test_a_concept_that_says_what_a_prompt_says_guides_nothing(host: Host, guidance_of: Callable, kind: Kind) -> None:
    """Whatever that prompt carries, and the other does not."""
    arguments = kind.arguments(host, "negative")
    assert is_zero(guidance_of(kind.text(host, NEGATIVE), **arguments))
    assert not is_zero(guidance_of(kind.text(host, OTHER), **{**arguments, "steps": 1}))


@every_conditioning
def test_at_strength_1_the_prompt_is_another_text_with_all_that_the_prompt_carries(host: Host, kind: Kind) -> None:
    """With and without it: areas, masks, times, LoRAs ... are on both sides, and what a concept carries is on none."""
    arguments = kind.arguments(host, "positive")
    here, there = kind.text(host, POSITIVE), kind.text(host, OTHER)
    carrying = sdxl_sizes(host, OTHER) if kind.text is sdxl_text else kind.apply(host, there, there)[0]
    # But for its times, which are the text's own.
    times = ("start_percent", "end_percent")
    carrying = [[text, {key: value for key, value in more.items() if key not in times}] for text, more in carrying]
    edited, same = (
        host.sega(host.concept(text, here, guidance_scale=0.0, threshold=0.0), momentum_scale=0.0, **arguments)
        for text in (there, carrying)
    )
    ((embedding, text),) = there
    pooled = {"pooled_output": text["pooled_output"]} if "pooled_output" in text else {}
    changed = [[embedding, {**values, **pooled}] for _, values in arguments["positive"]]
    expected, plain = host.sample(**{**arguments, "positive": changed}), host.sample(**arguments)
    assert distance(expected, plain) > 1e-3
    assert relative(edited - expected, expected - plain) < 1e-3
    assert torch.equal(same, edited)
    # What the prompt carries acts.
    assert distance(host.sample(**kind.arguments(host)), plain) > 1e-4


@CONTROL
@every_kind
def test_a_controlnet_of_the_compared_prompt_is_evaluated_for_the_concept_too(
    host: Host, instead_of: int | None
) -> None:
    kind, network = KINDS["ControlNet"][0], controlnet(host).control_model
    seen, original = [], network.forward

    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(x.shape[0])
        return original(x, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "forward", forward)
        for carriers in (("positive", "negative"), ("positive",)):
            host.sega(host.concept(instead_of=instead_of), **kind.arguments(host, *carriers))
    assert seen == [3] * STEPS + [1 if instead_of is None else 2] * STEPS


@INPAINT
@pytest.mark.parametrize(
    ("inpaints", "differential", "how"), [(False, False, ALONE), (True, False, TWO_SIDED), (False, True, TWO_SIDED)]
)
def test_a_noise_mask_keeps_its_part_and_a_concept_the_rest(
    host: Host, guidance_of: Callable, inpaints: bool, differential: bool, how: str
) -> None:
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

    texts = KINDS["inpaint model"][0].texts(host)
    model, prompts = host.eps, texts
    if inpaints:
        model, node = inpaint_model(host), host.nodes.InpaintModelConditioning()
        *encoded, latent = node.encode(*texts.values(), picture(30), vae(host), half())
        prompts = dict(zip(texts, encoded, strict=True))
    else:
        latent = host.nodes.SetLatentNoiseMask().set_mask({"samples": noise(1, 4, 8, 8, seed=31)}, half())[0]
    if differential:
        model = DifferentialDiffusion.execute(model)[0]
    arguments = {"model": model, "latent": latent, **prompts}
    text, comparison = compared(how, texts)
    assert is_zero(guidance_of(text, **comparison, **arguments))
    edit = host.concept(OTHER, comparison.get("instead_of"), threshold=0.0)
    change = host.sega(edit, **arguments) - host.sample(**arguments)
    assert change[..., :4].abs().min() > 0
    # Differential diffusion lets the last step reach everything.
    assert change[..., 4:].norm() <= (0.1 * change[..., :4].norm() if differential else 0.0)


@AREA
@every_comparison
def test_a_concept_that_says_what_one_of_two_areas_says_guides_in_the_other(
    host: Host, guidance_of: Callable, how: str
) -> None:
    texts = [host.conditioning(seed) for seed in (5, 6)]
    node = host.nodes.ConditioningSetArea()
    left, right = (node.append(text, 32, 64, x, 0, 1.0)[0] for text, x in zip(texts, (0, 32), strict=True))
    (both,) = host.nodes.ConditioningCombine().combine(left, right)
    prompt = "negative" if how == ALONE else "positive"
    _, comparison = compared(how, {prompt: both})
    guidance = guidance_of(texts[0], **comparison, **{prompt: both})
    assert is_zero([part[..., :4] for part in guidance])
    assert not is_zero([part[..., 4:] for part in guidance])


@TIME
@every_comparison
def test_while_the_compared_prompt_does_not_act_a_concept_guides_nothing(
    host: Host, guidance_of: Callable, how: str
) -> None:
    texts = KINDS["time"][0].texts(host)
    prompt = "negative" if how == ALONE else "positive"
    _, comparison = compared(how, texts)
    arguments = {**texts, prompt: time_range(0.5, 1.0)(host, texts[prompt]), **comparison}
    log = guidance_of(host.conditioning(OTHER), momentum_scale=0.0, **arguments)
    assert is_zero(log[:1])
    assert not is_zero(log[-1:])


@HOOKS
@pytest.mark.parametrize(
    ("schedule_clip", "apply_to_conds", "how"),
    [(True, True, ALONE), (True, False, TWO_SIDED), (False, True, TWO_SIDED), (False, False, ALONE)],
)
def test_prompts_and_concept_of_a_hooked_clip_guide_nothing_when_equal(
    host: Host, guidance_of: Callable, schedule_clip: bool, apply_to_conds: bool, how: str
) -> None:
    encode = hooked_encoder(host, schedule_clip, apply_to_conds)
    texts = {"positive": encode(POSITIVE), "negative": encode(NEGATIVE)}
    assert [len(text) for text in texts.values()] == ([2, 2] if schedule_clip else [1, 1])
    text, comparison = compared(how, texts)
    arguments = {**texts, "model": hooked_model(host), **comparison}
    assert is_zero(guidance_of(text, **arguments))
    assert not is_zero(guidance_of(encode(OTHER), **arguments))


def hooked_encoder(host: Host, schedule_clip: bool, apply_to_conds: bool) -> Callable[[int], Prompt]:
    from comfy_extras import nodes_hooks

    hooks = lora_hooks(host, (0.0, 1.0), (0.4, 0.1))
    (hooked,) = nodes_hooks.SetClipHooks().apply_hooks(clip(host), schedule_clip, apply_to_conds, hooks)
    return lambda seed: host.nodes.CLIPTextEncode().encode(hooked, WORDS[seed])[0]


@HOOKS
def test_a_concept_of_a_scheduled_clip_takes_its_texts_in_turns(host: Host, guidance_of: Callable) -> None:
    scheduled = hooked_encoder(host, True, True)(OTHER)
    first, last = ([[entry[0], {}]] for entry in scheduled)
    arguments = {"model": hooked_model(host), "momentum_scale": 0.0}
    turns = guidance_of(scheduled, **arguments)
    assert torch.equal(turns[0], guidance_of(first, **arguments)[0])
    # The later steps start from other latents.
    assert not torch.equal(turns[0], guidance_of(first + last, **arguments)[0])
    assert not is_zero(turns[-1:])


def concatenated(host: Host, first: Prompt, second: Prompt) -> Prompt:
    return host.nodes.ConditioningConcat().concat(first, second)[0]


def combined(host: Host, first: Prompt, second: Prompt) -> Prompt:
    """Combine a text with a longer one."""
    return host.nodes.ConditioningCombine().combine(first, concatenated(host, second, first))[0]


def averaged(host: Host, first: Prompt, second: Prompt) -> Prompt:
    return host.nodes.ConditioningAverage().addWeighted(concatenated(host, first, first), second, 0.3)[0]


def zeroed(host: Host, first: Prompt, second: Prompt) -> Prompt:
    return host.nodes.ConditioningZeroOut().zero_out(first)[0]


@TEXTS
@pytest.mark.parametrize(
    ("mix", "how"), [(concatenated, ALONE), (combined, TWO_SIDED), (averaged, ALONE), (zeroed, TWO_SIDED)]
)
def test_mixed_prompts_are_compared_as_other_prompts_are(
    host: Host, guidance_of: Callable, mix: Callable, how: str
) -> None:
    mixed = mix(host, host.conditioning(5), host.conditioning(6))
    prompts = {"negative" if how == ALONE else "positive": mixed}
    _, comparison = compared(how, prompts)
    assert is_zero(guidance_of(mixed, **comparison, **prompts))
    assert not is_zero(guidance_of(host.conditioning(OTHER), **comparison, **prompts))
    assert not is_zero(guidance_of(mixed))


@TEXTS
def test_the_concept_of_combined_texts_is_their_mean(host: Host) -> None:
    first, second = host.conditioning(5), host.conditioning(6)

    def guidance(conditioning: Prompt) -> torch.Tensor:
        # Without threshold and momentum the guidance is linear in the estimates.
        return host.sega(host.concept(conditioning, threshold=0.0), steps=1, momentum_scale=0.0) - host.sample(steps=1)

    together = guidance(host.nodes.ConditioningCombine().combine(first, second)[0])
    assert distance(together, (guidance(first) + guidance(second)) / 2) < 1e-4


@FLUX
def test_at_cfg_1_a_concept_of_flux_is_compared_with_the_negative_prompt(host: Host, guidance_of: Callable) -> None:
    kind = KINDS["reference images"][0]
    arguments = {**kind.arguments(host, "positive", "negative"), "cfg": 1.0}
    assert is_zero(guidance_of(kind.text(host, NEGATIVE), **arguments))
    assert not is_zero(guidance_of(kind.text(host, POSITIVE), **arguments))


def test_what_other_nodes_give_the_model_with_a_prompt_reaches_the_concepts(host: Host) -> None:
    import comfy.conds

    seen = []

    def look(executor: Any, *args: Any, probe: Any = None, **kwargs: Any) -> Any:
        seen.append((args[0].shape[0], probe))
        return executor(*args, **kwargs)

    given = {"model_conds": {"probe": comfy.conds.CONDConstant("here")}}
    prompts = {"positive": host.conditioning(1, **given), "negative": host.conditioning(2, **given)}
    host.sega(host.concept(), host.concept(11, 1), model=wrapped(host.eps, "APPLY_MODEL", look), steps=1, **prompts)
    assert seen == [(4, "here")]


# A conditioning's keys, read from the host's source as `ast.unparse` writes it.


def functions(*files: Path) -> Iterator[ast.FunctionDef]:
    for file in files:
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        yield from (node for node in nodes if isinstance(node, ast.FunctionDef))


def keys_read(function: ast.AST, name: str) -> set[str]:
    """Return the keys that the code looks up in a dictionary."""
    looked_up = rf"\b{name}(?:\.get\(|\.pop\(|\[)'(\w+)'|'(\w+)' (?:not )?in {name}\b"
    return {key for pair in re.findall(looked_up, ast.unparse(function)) for key in pair if key}


def keys_written(node: ast.AST) -> set[str]:
    """Return the keys of the code's dictionaries."""
    return set(re.findall(r"'(\w+)'(?:: |\] = )", ast.unparse(node)))


def keys_set(function: ast.FunctionDef) -> set[str]:
    """Return what a node gives `conditioning_set_values` (and its namesake for hooks) to set."""
    source, found = ast.unparse(function), set()
    for call in ast.walk(function):
        if not isinstance(call, ast.Call) or "conditioning_set_values" not in ast.unparse(call.func):
            continue
        found |= keys_written(call)
        for value in [*call.args[1:], *(keyword.value for keyword in call.keywords)]:
            if isinstance(value, ast.Name):
                assigned = re.findall(rf"\b{value.id}(?:: [^=]*)? = (\{{.*\}})", source)
                found |= {key for values in assigned for key in re.findall(r"'(\w+)': ", values)}
                found |= set(re.findall(rf"\b{value.id}\['(\w+)'\] = ", source))
    return found


def test_every_key_of_a_conditioning_is_known_to_be_text_or_not(host: Host) -> None:
    comfy = COMFYUI / "comfy"
    entries = {"get_area_and_mult": "conds", "calculate_start_end_timesteps": "x", "pre_run_control": "x"}
    entries |= {"resolve_areas_and_cond_masks_multidim": "c", "create_cond_with_same_area_if_none": "c"}
    keys: set[str] = set()
    for function in functions(comfy / "model_base.py"):
        keys |= keys_read(function, "kwargs") | keys_read(function, "args")
    for function in functions(comfy / "samplers.py"):
        if function.name in entries:
            keys |= keys_read(function, entries[function.name])
    for function in functions(COMFYUI / "nodes.py", comfy / "hooks.py", *(COMFYUI / "comfy_extras").glob("*.py")):
        keys |= keys_set(function)
    assert {"cross_attn", "pooled_output", "timestep_start", "area", "hooks", "guidance", "time_dim_concat"} <= keys
    # What the host's sampling hands to the model beside each prompt.
    of_the_sampling = {"noise", "device", "latent_image", "latent_shapes", "seed"}
    conditioning = host.pack.nodes.sampling.concept_conds
    assert not conditioning.TEXT & conditioning.NOT_TEXT
    assert sorted(keys - conditioning.TEXT - conditioning.NOT_TEXT - of_the_sampling) == []


def test_what_text_encoders_write_is_text(host: Host) -> None:
    comfy = COMFYUI / "comfy"
    files = [comfy / "sd.py", comfy / "sd1_clip.py", comfy / "sdxl_clip.py", *(comfy / "text_encoders").glob("*.py")]
    encoders = ("encode_token_weights", "encode_from_tokens")
    keys = set().union(*(keys_written(each) for each in functions(*files) if each.name.startswith(encoders)))
    assert {"pooled_output", "attention_mask", "clip_start_percent", "conditioning_llama3"} <= keys
    # Options of the encoding; the embedding before it gets its name; what SAM 3 detects with.
    others = {"projected_pooled", "execution_device", "layer", "cond", "sam3_multi_cond", "max_detections"}
    assert sorted(keys - host.pack.nodes.sampling.concept_conds.TEXT - others) == []
