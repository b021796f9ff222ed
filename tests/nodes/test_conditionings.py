"""Whatever a prompt carries besides its text, a concept differs from what it is compared with by the text alone."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dev.host.packages import COMFYUI
from support import models
from support.core import noise
from support.host import CONCEPT, Host, every_kind, kept_apart
from support.pipeline import fill_with_noise

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
MADE: dict[Any, Any] = {}


def once(make: Callable) -> Callable:
    """Let the tests of this file share what `make` returns."""

    def made(*arguments: Any) -> Any:
        key = (make.__name__, *arguments)
        if key not in MADE:
            MADE[key] = make(*arguments)
        return MADE[key]

    return made


@pytest.fixture(autouse=True, scope="module")
def forget() -> Iterator[None]:
    yield
    MADE.clear()


def picture(seed: int) -> torch.Tensor:
    """Return an IMAGE for latents of 8x8."""
    return torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(seed))


def half() -> torch.Tensor:
    """Return a MASK of the left half."""
    return torch.cat([torch.ones(1, 64, 32), torch.zeros(1, 64, 32)], dim=2)


def plain_text(host: Host, seed: int) -> Prompt:
    return host.conditioning(seed)


def plain_model(host: Host) -> Any:
    return host.eps


@once
def controlnet(seed: int) -> Any:
    return models.controlnet(seed)


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
def flux_model(host: Host) -> Any:
    wide = {"hidden_size": 64, "axes_dim": [8, 12, 12], "guidance_embed": True}
    return models.family_model("Flux", {**models.FLUX, **wide}, seed=11)


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
def lora_hooks(host: Host, seed: int, schedule: tuple[tuple[float, float], ...] = ()) -> Any:
    """Return the HOOKS of a LoRA for UNet and CLIP; `schedule` has pairs of start percent and strength."""
    import folder_paths
    import safetensors.torch
    from comfy_extras import nodes_hooks

    weights = {}
    for i, name in enumerate(
        [
            "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k",
            "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_v",
            "lora_te_text_model_encoder_layers_0_self_attn_v_proj",
        ]
    ):
        out = 32 if "_te_" in name else 64
        weights[f"{name}.lora_up.weight"] = noise(out, 4, seed=seed + i)
        weights[f"{name}.lora_down.weight"] = noise(4, 32, seed=seed + 10 + i)
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

    apply: Callable[[Any, Prompt, Prompt], tuple[Prompt, Prompt]]
    model: Callable[[Any], Any] = plain_model
    text: Callable[[Any, int], Prompt] = plain_text
    size: int = 8
    channels: int = 4

    def texts(self, host: Host) -> dict[str, Prompt]:
        return {"positive": self.text(host, POSITIVE), "negative": self.text(host, NEGATIVE)}

    def prompts(self, host: Host, carrier: str) -> dict[str, Prompt]:
        """Return the prompts with what the kind gives them, on both or on one."""
        texts = self.texts(host)
        positive, negative = self.apply(host, texts["positive"], texts["negative"])
        applied = {"positive": positive, "negative": negative}
        return applied if carrier == "both" else {**texts, carrier: applied[carrier]}

    def arguments(self, host: Host) -> dict[str, Any]:
        return {"model": self.model(host), "steps": STEPS, "latent": self.latent()}

    def latent(self) -> dict[str, Any]:
        return {"samples": torch.zeros(1, self.channels, self.size, self.size)}


def on_each(function: Callable[[Any, Prompt], Prompt]) -> Callable[[Any, Prompt, Prompt], tuple[Prompt, Prompt]]:
    return lambda host, positive, negative: (function(host, positive), function(host, negative))


def control(*networks: int, start: float = 0.0, end: float = 1.0) -> Callable:
    """Apply ControlNets, one after the other."""

    def apply(host: Host, positive: Prompt, negative: Prompt) -> tuple[Prompt, Prompt]:
        node = host.nodes.ControlNetApplyAdvanced()
        for seed in networks:
            network = controlnet(seed) if seed else adapter(host)
            positive, negative = node.apply_controlnet(positive, negative, network, picture(seed), 1.0, start, end)
        return positive, negative

    return apply


def legacy_control(host: Host, prompt: Prompt) -> Prompt:
    return host.nodes.ControlNetApply().apply_controlnet(prompt, controlnet(3), picture(3), 1.0)[0]


def area(host: Host, prompt: Prompt) -> Prompt:
    return host.nodes.ConditioningSetArea().append(prompt, width=64, height=96, x=32, y=0, strength=0.7)[0]


def area_percentage(host: Host, prompt: Prompt) -> Prompt:
    node = host.nodes.ConditioningSetAreaPercentage()
    return node.append(prompt, width=0.5, height=1.0, x=0.5, y=0.0, strength=1.0)[0]


def area_strength(host: Host, prompt: Prompt) -> Prompt:
    return host.nodes.ConditioningSetAreaStrength().append(area(host, prompt), 0.3)[0]


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


def unclip(*seeds: int) -> Callable:
    def apply(host: Host, prompt: Prompt) -> Prompt:
        import comfy.clip_vision

        for seed in seeds:
            seen = comfy.clip_vision.Output()
            seen.image_embeds = noise(1, 32, seed=seed)
            prompt = host.nodes.unCLIPConditioning().apply_adm(prompt, seen, 0.8, 0.3)[0]
        return prompt

    return apply


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


def with_hooks(*schedule: tuple[float, float]) -> Callable:
    def apply(host: Host, prompt: Prompt) -> Prompt:
        from comfy_extras import nodes_hooks

        node = nodes_hooks.ConditioningSetProperties()
        return node.set_properties(prompt, 1.0, "default", hooks=lora_hooks(host, 20, schedule))[0]

    return apply


def all_properties(host: Host, positive: Prompt, negative: Prompt) -> tuple[Prompt, Prompt]:
    from comfy_extras import nodes_hooks

    node = nodes_hooks.PairConditioningSetProperties()
    hooks = lora_hooks(host, 20, ((0.0, 1.0), (0.4, 0.2)))
    return node.set_properties(positive, negative, 0.9, "default", mask=half(), hooks=hooks, timesteps=(0.0, 0.7))


def hooked_for_a_time(host: Host, prompt: Prompt) -> Prompt:
    first = with_hooks()(host, time_range(0.0, 0.5)(host, prompt))
    return host.nodes.ConditioningCombine().combine(first, time_range(0.5, 1.0)(host, prompt))[0]


def by_default(host: Host, prompt: Prompt) -> Prompt:
    """Let the prompt with a LoRA stand in wherever the same prompt for a mask does not reach."""
    from comfy_extras import nodes_hooks

    node = nodes_hooks.ConditioningSetDefaultAndCombine()
    return node.set_default_and_combine(mask("default")(host, prompt), prompt, lora_hooks(host, 20))[0]


def flux_text(host: Host, seed: int) -> Prompt:
    return host.conditioning(seed, pooled_output=noise(1, 32, seed=100 + seed))


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
    "ControlNet": (Kind(control(3)), CONTROL),
    "ControlNet for a time": (Kind(control(3, start=0.2, end=0.6)), CONTROL),
    "two ControlNets": (Kind(control(3, 4)), CONTROL),
    "ControlNet of the old node": (Kind(on_each(legacy_control)), CONTROL),
    "T2I adapter": (Kind(control(0), adapted_model), CONTROL),
    "inpaint model": (Kind(inpaint, inpaint_model), INPAINT),
    "area": (Kind(on_each(area), size=16), AREA),
    "area and everywhere": (Kind(on_each(and_everywhere(area)), size=16), AREA),
    "area in percent": (Kind(on_each(area_percentage)), AREA),
    "area of little strength": (Kind(on_each(and_everywhere(area_strength)), size=16), AREA),
    "mask": (Kind(on_each(mask("default"))), AREA),
    "mask with an area": (Kind(on_each(mask("mask bounds")), size=16), AREA),
    "mask and everywhere": (Kind(on_each(and_everywhere(mask("mask bounds"))), size=16), AREA),
    "time": (Kind(on_each(time_range(0.0, 0.6))), TIME),
    "GLIGEN": (Kind(on_each(gligen_box)), IMAGES),
    "unCLIP": (Kind(on_each(unclip(14)), unclip_model), IMAGES),
    "unCLIP of two images": (Kind(on_each(unclip(14, 15)), unclip_model), IMAGES),
    "SDXL sizes": (Kind(sdxl_prompts, sdxl_model, sdxl_text), SIZES),
    "LoRA": (Kind(on_each(with_hooks()), hooked_model), HOOKS),
    "LoRA with keyframes": (Kind(on_each(with_hooks((0.0, 1.0), (0.4, 0.1))), hooked_model), HOOKS),
    "LoRA, mask and time": (Kind(all_properties, hooked_model), HOOKS),
    "LoRA for a time": (Kind(on_each(hooked_for_a_time), hooked_model), HOOKS),
    "default": (Kind(on_each(by_default), hooked_model), TEXTS),
    "Flux guidance": (Kind(on_each(flux_guidance), flux_model, flux_text, channels=16), FLUX),
    "reference images": (Kind(on_each(reference_latents), flux_model, flux_text, channels=16), FLUX),
}


def kinds(*names: str) -> list[Any]:
    return [pytest.param(KINDS[name][0], id=name, marks=KINDS[name][1]) for name in names or KINDS]


def concept(host: Host, conditioning: Prompt, instead_of: Prompt | None = None, **changes: Any) -> Any:
    node = host.pack.nodes.SEGAConceptFromConditioning
    return node.execute(conditioning, instead_of, **{**CONCEPT, **changes})[0]


@pytest.fixture
def guidance_of(host: Host, one_pass_at_a_time: None, guidance_log: list[Any]) -> Callable[..., list[torch.Tensor]]:
    """Sample with the conditioning as concept; return the guidance of each evaluation.

    The concept is evaluated also where it says what it is compared with.
    """

    def sample(conditioning: Prompt, instead_of: Prompt | None = None, **arguments: Any) -> list[torch.Tensor]:
        guidance_log.clear()
        samples = host.sega(concept(host, kept_apart(conditioning), instead_of), **{"steps": STEPS, **arguments})
        assert samples.isfinite().all()
        assert len(guidance_log) == arguments.get("steps", STEPS)
        return list(guidance_log)

    return sample


def is_zero(guidance: list[torch.Tensor | None]) -> bool:
    return all(part is None or torch.count_nonzero(part) == 0 for part in guidance)


# A text alone is compared with the negative prompt.
ALONE, TWO_SIDED = "text alone", "with and without"
every_comparison = pytest.mark.parametrize("how", [ALONE, TWO_SIDED])


def compared(how: str, prompts: dict[str, Prompt]) -> tuple[Prompt, dict[str, Any]]:
    """Return the text that a concept is compared with, and the arguments of `guidance_of` that make it so."""
    if how == TWO_SIDED:
        return prompts["positive"], {"instead_of": prompts["positive"]}
    return prompts["negative"], {}


@pytest.mark.parametrize(
    ("carrier", "how"), [("both", ALONE), ("positive", ALONE), ("both", TWO_SIDED), ("negative", TWO_SIDED)]
)
@pytest.mark.parametrize("kind", kinds())
def test_a_concept_that_says_what_it_is_compared_with_guides_nothing(
    host: Host, guidance_of: Callable, kind: Kind, carrier: str, how: str
) -> None:
    text, comparison = compared(how, kind.texts(host))
    arguments = {**kind.arguments(host), **kind.prompts(host, carrier), **comparison}
    assert is_zero(guidance_of(text, **arguments))
    assert not is_zero(guidance_of(kind.text(host, OTHER), **{**arguments, "steps": 1}))


@pytest.mark.parametrize("direction", ["add", "remove"])
@pytest.mark.parametrize("kind", kinds())
def test_at_strength_1_the_prompt_is_another_text_with_all_that_the_prompt_carries(
    host: Host, kind: Kind, direction: str
) -> None:
    """With and without it: areas, masks, times, ControlNets, LoRAs ... are on both sides."""
    arguments = {**kind.arguments(host), **kind.prompts(host, "positive")}
    here, there = kind.text(host, POSITIVE), kind.text(host, OTHER)
    pair = (there, here) if direction == "add" else (here, there)
    exact = {"guidance_scale": 0.0, "threshold": 0.0, "direction": direction}
    edited = host.sega(concept(host, *pair, **exact), momentum_scale=0.0, **arguments)
    ((embedding, text),) = there
    pooled = {"pooled_output": text["pooled_output"]} if "pooled_output" in text else {}
    changed = [[embedding, {**values, **pooled}] for _, values in arguments["positive"]]
    expected = host.sample(**{**arguments, "positive": changed})
    change = (expected - host.sample(**arguments)).norm()
    assert change > 1e-3 * expected.norm()
    assert (edited - expected).norm() < 1e-3 * change


@pytest.mark.parametrize("kind", kinds())
def test_what_a_prompt_carries_acts_and_what_a_concept_carries_does_not(
    host: Host, one_pass_at_a_time: None, kind: Kind
) -> None:
    text = kind.text(host, OTHER)
    carrying = sdxl_sizes(host, OTHER) if kind.text is sdxl_text else kind.apply(host, text, text)[0]
    # But for its times, which are the text's own.
    times = ("start_percent", "end_percent")
    carrying = [[text, {key: value for key, value in more.items() if key not in times}] for text, more in carrying]
    arguments = {**kind.arguments(host), **kind.texts(host)}
    plain = host.sample(**arguments)
    for prompt in ("positive", "negative"):
        changed = host.sample(**{**arguments, **kind.prompts(host, prompt)})
        assert changed.isfinite().all()
        assert (changed - plain).norm() > 1e-4 * plain.norm()
    # The host only knows the LoRAs of the prompts, so the one that is not compared carries what the concept does.
    arguments |= kind.prompts(host, "positive")
    expected = host.sega(concept(host, text), **arguments)
    assert torch.equal(host.sega(concept(host, carrying), **arguments), expected)


@CONTROL
@every_kind
def test_a_controlnet_of_the_compared_prompt_is_evaluated_for_the_concept_too(
    host: Host, instead_of: int | None
) -> None:
    kind = KINDS["ControlNet"][0]
    seen = []
    original = controlnet(3).control_model.forward

    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(x.shape[0])
        return original(x, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controlnet(3).control_model, "forward", forward)
        for carrier in ("both", "positive"):
            host.sega(host.concept(instead_of=instead_of), **kind.arguments(host), **kind.prompts(host, carrier))
    assert seen == [3] * STEPS + [1 if instead_of is None else 2] * STEPS


@INPAINT
@every_comparison
@pytest.mark.parametrize("differential", [False, True], ids=["noise mask", "differential diffusion"])
@pytest.mark.parametrize("inpaints", [False, True], ids=["any model", "inpaint model"])
def test_a_noise_mask_keeps_its_part_and_a_concept_the_rest(
    host: Host, guidance_of: Callable, inpaints: bool, differential: bool, how: str
) -> None:
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

    model = inpaint_model(host) if inpaints else host.eps
    kind = KINDS["inpaint model"][0]
    texts = kind.texts(host)
    if inpaints:
        node = host.nodes.InpaintModelConditioning()
        positive, negative, latent = node.encode(texts["positive"], texts["negative"], picture(30), vae(host), half())
    else:
        positive, negative = texts["positive"], texts["negative"]
        latent = host.nodes.SetLatentNoiseMask().set_mask({"samples": noise(1, 4, 8, 8, seed=31)}, half())[0]
    if differential:
        model = DifferentialDiffusion.execute(model)[0]
    arguments = {"model": model, "latent": latent, "positive": positive, "negative": negative}
    text, comparison = compared(how, texts)
    assert is_zero(guidance_of(text, **comparison, **arguments))
    assert not is_zero(guidance_of(host.conditioning(OTHER), **comparison, **arguments))
    edit = host.concept(OTHER, comparison.pop("instead_of", None), threshold=0.0)
    change = host.sega(edit, **comparison, **arguments) - host.sample(**arguments)
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


@AREA
@every_kind
def test_a_prompt_for_an_area_is_compared_in_that_area_alone(host: Host, instead_of: int | None) -> None:
    name, seed = ("negative", NEGATIVE) if instead_of is None else ("positive", POSITIVE)
    prompts = {name: host.nodes.ConditioningSetArea().append(host.conditioning(seed), 32, 64, 0, 0, 1.0)[0]}
    edit = host.concept(OTHER, instead_of, threshold=0.0)
    change = host.sega(edit, steps=1, **prompts) - host.sample(steps=1, **prompts)
    assert change[..., :4].abs().min() > 0
    torch.testing.assert_close(change[..., 4:], torch.zeros_like(change[..., 4:]))


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
@every_comparison
@pytest.mark.parametrize("apply_to_conds", [True, False], ids=["UNet and CLIP", "CLIP alone"])
@pytest.mark.parametrize("schedule_clip", [True, False], ids=["in turns", "at once"])
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
    assert not is_zero(guidance_of(host.conditioning(OTHER), **arguments))


def hooked_encoder(host: Host, schedule_clip: bool, apply_to_conds: bool) -> Callable[[int], Prompt]:
    from comfy_extras import nodes_hooks

    hooks = lora_hooks(host, 20, ((0.0, 1.0), (0.4, 0.1)))
    (hooked,) = nodes_hooks.SetClipHooks().apply_hooks(clip(host), schedule_clip, apply_to_conds, hooks)
    return lambda seed: host.nodes.CLIPTextEncode().encode(hooked, WORDS[seed])[0]


@HOOKS
@every_comparison
def test_a_concept_of_a_scheduled_clip_takes_its_texts_in_turns(host: Host, guidance_of: Callable, how: str) -> None:
    scheduled = hooked_encoder(host, True, True)(OTHER)
    first, last = ([[entry[0], {}]] for entry in scheduled)
    assert not torch.equal(first[0][0], last[0][0])
    _, comparison = compared(how, KINDS["time"][0].texts(host))
    arguments = {"model": hooked_model(host), "momentum_scale": 0.0, **comparison}
    turns = guidance_of(scheduled, **arguments)
    assert torch.equal(turns[0], guidance_of(first, **arguments)[0])
    # The later steps start from other latents.
    both = guidance_of(first + last, **arguments)
    assert not torch.equal(turns[0], both[0])
    assert not is_zero(turns[-1:])


@HOOKS
@every_kind
def test_a_concepts_own_lora_changes_its_text_alone(host: Host, instead_of: int | None) -> None:
    hooked = hooked_encoder(host, False, True)(OTHER)
    assert "hooks" in hooked[0][1]
    without = [[hooked[0][0], {key: value for key, value in hooked[0][1].items() if key != "hooks"}]]
    plain = host.nodes.CLIPTextEncode().encode(clip(host), WORDS[OTHER])[0]
    compared_with = None if instead_of is None else host.conditioning(instead_of)
    actual, expected, other = (
        host.sega(concept(host, text, compared_with), model=hooked_model(host)) for text in (hooked, without, plain)
    )
    assert torch.equal(actual, expected)
    assert not torch.allclose(actual, other)


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
@every_comparison
@pytest.mark.parametrize("mix", [concatenated, combined, averaged, zeroed])
def test_mixed_prompts_are_compared_as_other_prompts_are(
    host: Host, guidance_of: Callable, mix: Callable, how: str
) -> None:
    mixed = mix(host, host.conditioning(5), host.conditioning(6))
    prompts = {"negative" if how == ALONE else "positive": mixed}
    _, comparison = compared(how, prompts)
    assert is_zero(guidance_of(mixed, **comparison, **prompts))
    assert not is_zero(guidance_of(host.conditioning(OTHER), **comparison, **prompts))
    _, comparison = compared(how, KINDS["time"][0].texts(host))
    assert not is_zero(guidance_of(mixed, **comparison))


@TEXTS
@every_kind
def test_the_concept_of_combined_texts_is_their_mean(host: Host, instead_of: int | None) -> None:
    first, second = host.conditioning(5), host.conditioning(6)
    compared_with = None if instead_of is None else host.conditioning(instead_of)

    def guidance(conditioning: Prompt) -> torch.Tensor:
        # Without threshold and momentum the guidance is linear in the estimates.
        edit = concept(host, conditioning, compared_with, threshold=0.0)
        return host.sega(edit, steps=1, momentum_scale=0.0) - host.sample(steps=1)

    together = guidance(host.nodes.ConditioningCombine().combine(first, second)[0])
    mean = (guidance(first) + guidance(second)) / 2
    assert (together - mean).norm() < 1e-4 * mean.norm()


@FLUX
def test_at_cfg_1_a_concept_of_flux_is_compared_with_the_negative_prompt(host: Host, guidance_of: Callable) -> None:
    kind = replace(KINDS["Flux guidance"][0], apply=on_each(lambda h, p: reference_latents(h, flux_guidance(h, p))))
    arguments = {**kind.arguments(host), **kind.prompts(host, "both"), "cfg": 1.0}
    assert is_zero(guidance_of(kind.text(host, NEGATIVE), **arguments))
    assert not is_zero(guidance_of(kind.text(host, POSITIVE), **arguments))


@every_kind
def test_what_other_nodes_give_the_model_with_a_prompt_reaches_the_concepts(host: Host, instead_of: int | None) -> None:
    import comfy.conds
    import comfy.patcher_extension

    seen = []

    def look(executor: Any, *args: Any, probe: Any = None, **kwargs: Any) -> Any:
        seen.append((args[0].shape[0], probe))
        return executor(*args, **kwargs)

    model = host.eps.clone()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "look", look)
    prompts = {
        name: host.conditioning(seed, model_conds={"probe": comfy.conds.CONDConstant("here")})
        for seed, name in ((1, "positive"), (2, "negative"))
    }
    host.sega(host.concept(instead_of=instead_of), model=model, **prompts)
    assert seen == [(3, "here")] * 4


def is_key(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def keys_read(tree: ast.AST, names: set[str]) -> set[str]:
    """Return the keys that the code looks up in the dictionaries called `names`."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get" | "pop"), args=[key, *_]):
                pass
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                pass
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=name)]):
                pass
            case _:
                continue
        if name in names:
            found.append(key)
    return {key.value for key in found if is_key(key)}


def keys_written(tree: ast.AST, name: str | None = None) -> set[str]:
    """Return the keys of the code's dictionaries, or of those assigned to `name`."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and name is None:
            found += node.keys
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and name in (None, getattr(target.value, "id", "")):
                    found.append(target.slice)
                if isinstance(target, ast.Name) and target.id == name and isinstance(node.value, ast.Dict):
                    found += node.value.keys
    return {key.value for key in found if key is not None and is_key(key)}


def functions(*files: Path) -> Iterator[ast.FunctionDef]:
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield node


def keys_set_by_nodes(*files: Path) -> set[str]:
    """Return what nodes give `conditioning_set_values` (and its namesake for hooks) to set."""
    found = set()
    for function in functions(*files):
        for call in ast.walk(function):
            called = getattr(call, "func", None)
            name = getattr(called, "attr", getattr(called, "id", ""))
            if not isinstance(call, ast.Call) or not name.startswith("conditioning_set_values"):
                continue
            for value in [*call.args[1:], *(keyword.value for keyword in call.keywords)]:
                found |= keys_written(function, value.id) if isinstance(value, ast.Name) else keys_written(value)
    return found


def test_every_key_of_a_conditioning_is_known_to_be_text_or_not(host: Host) -> None:
    comfy = COMFYUI / "comfy"
    sampling = ast.parse((comfy / "samplers.py").read_text(encoding="utf-8"))
    entries = {"get_area_and_mult": "conds", "calculate_start_end_timesteps": "x", "pre_run_control": "x"}
    entries |= {"resolve_areas_and_cond_masks_multidim": "c", "create_cond_with_same_area_if_none": "c"}
    keys = keys_read(ast.parse((comfy / "model_base.py").read_text(encoding="utf-8")), {"kwargs", "args"})
    for function in ast.walk(sampling):
        if isinstance(function, ast.FunctionDef) and function.name in entries:
            keys |= keys_read(function, {entries[function.name]})
    keys |= keys_set_by_nodes(COMFYUI / "nodes.py", comfy / "hooks.py", *(COMFYUI / "comfy_extras").glob("*.py"))
    assert {"cross_attn", "pooled_output", "timestep_start", "area", "hooks", "guidance", "time_dim_concat"} <= keys
    # What the host's sampling hands to the model beside each prompt.
    of_the_sampling = {"noise", "device", "latent_image", "latent_shapes", "seed"}
    conditioning = host.pack.nodes.sampling.concept_conds
    assert not conditioning.TEXT & conditioning.NOT_TEXT
    assert sorted(keys - conditioning.TEXT - conditioning.NOT_TEXT - of_the_sampling) == []


def test_what_text_encoders_write_is_text(host: Host) -> None:
    comfy = COMFYUI / "comfy"
    files = [comfy / "sd.py", comfy / "sd1_clip.py", comfy / "sdxl_clip.py", *(comfy / "text_encoders").glob("*.py")]
    keys: set[str] = set()
    for function in functions(*files):
        if function.name.startswith(("encode_token_weights", "encode_from_tokens")):
            keys |= keys_written(function)
    assert {"pooled_output", "attention_mask", "clip_start_percent", "conditioning_llama3"} <= keys
    # Options of the encoding; the embedding before it gets its name; what SAM 3 detects with.
    others = {"projected_pooled", "execution_device", "layer", "cond", "sam3_multi_cond", "max_detections"}
    assert sorted(keys - host.pack.nodes.sampling.concept_conds.TEXT - others) == []
