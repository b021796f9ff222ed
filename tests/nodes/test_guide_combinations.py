"""The edit works with what users combine it with: LoRAs, embeddings, the host's guidance nodes, its windows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dev.host.passes import Passes
from support.core import noise
from support.host import KINDS, Host, every_kind, find_node, kept_apart, run_node
from support.models import FLUX, FLUX2, SDXL_SIZES, UNET, WAN, demo_clip, family_model
from support.tensors import differ, distance, relative

GROUP = "Guidance and model nodes"
STEPS = 3
POSITIVE, NEGATIVE, CONCEPT = 1, 2, 10
SETTINGS = {"strength": 1.0, "guidance_scale": 2.0, "threshold": 0.0, "start_percent": 0.0}
FLUX_DEEP = {**FLUX, "depth": 2, "guidance_embed": False}
CONCAT = {"in_channels": 8}


class Scene:
    """A tiny model of one of the host's families, with prompts and latents of its own."""

    def __init__(self, host: Host, model: Any, latent: dict[str, Any], **values: Any) -> None:
        self.host = host
        self.model = model
        self.latent = latent
        self.values = values

    def prompt(self, seed: int, **values: Any) -> list[Any]:
        return self.host.pooled(seed, **self.values, **values)

    def prompts(self) -> dict[str, Any]:
        return {"positive": self.prompt(POSITIVE), "negative": self.prompt(NEGATIVE)}

    def concept(self, seed: int = CONCEPT, instead_of: int | None = None, **changes: Any) -> Any:
        other = None if instead_of is None else self.prompt(instead_of)
        return self.host.concept(self.prompt(seed), other, **{**SETTINGS, **changes})

    def saying_the_same(self, instead_of: int | None) -> Any:
        """Return a concept that says what it is compared with, and is evaluated nevertheless."""
        other = None if instead_of is None else self.prompt(instead_of)
        return self.host.concept(kept_apart(other or self.prompt(NEGATIVE)), other, **SETTINGS)

    def sample(self, model: Any = None, **changes: Any) -> torch.Tensor:
        arguments = {"steps": STEPS, "latent": self.latent, **self.prompts(), **changes}
        return self.host.sample(model or self.model, **arguments)

    def edit(self, *concepts: Any, model: Any = None, **changes: Any) -> torch.Tensor:
        arguments = {"steps": STEPS, "latent": self.latent, **self.prompts(), **changes}
        return self.host.sega(*concepts, model=model or self.model, **arguments)

    @cached_property
    def plain(self) -> torch.Tensor:
        return self.sample()

    @cached_property
    def edited(self) -> torch.Tensor:
        return self.edit(self.concept())

    def one_steps_edit(self, estimator: Any, instead_of: int | None = None, **values: Any) -> torch.Tensor:
        """Return by hand what a concept adds in a single step: the difference of its estimates, times the scale."""
        concept, compared = (
            self.sample(estimator, positive=self.prompt(seed, **values), cfg=1.0, steps=1)
            for seed in (CONCEPT, instead_of or NEGATIVE)
        )
        return SETTINGS["guidance_scale"] * (concept - compared)


@pytest.fixture(scope="module")
def scenes(host: Host) -> dict[str, Scene]:
    # It and nodes_latent import each other, and only this order works.
    import comfy_extras.nodes_post_processing  # noqa: F401

    flux = family_model("Flux", FLUX_DEEP)
    flux2 = family_model("Flux2", {**FLUX2, "depth": 2, "guidance_embed": False})
    wan = family_model("WAN21_T2V", WAN)
    pix2pix = family_model("SD15_instructpix2pix", {**UNET, **CONCAT})
    pix2pix_xl = family_model("SDXL_instructpix2pix", {**UNET, **CONCAT, "model_channels": 64, **SDXL_SIZES})
    depth = family_model("Flux", {**FLUX_DEEP, "in_channels": 32})
    image = {"samples": torch.zeros(1, 16, 8, 8)}
    return {
        "unet": Scene(host, host.eps, host.latent()),
        "masked": Scene(host, host.eps, {"samples": torch.ones(1, 4, 8, 8), "noise_mask": ramp()}),
        "frames": Scene(host, host.eps, host.latent(3)),
        "flux": Scene(host, flux, image),
        "flux2": Scene(host, flux2, {"samples": torch.zeros(1, 128, 4, 4)}, reference_latents=[noise(1, 128, 4, 4)]),
        "video": Scene(host, wan, {"samples": torch.zeros(1, 16, 5, 4, 4)}),
        "SD1.5 InstructPix2Pix": Scene(host, pix2pix, host.latent()),
        "SDXL InstructPix2Pix": Scene(host, pix2pix_xl, host.latent()),
        "Flux depth": Scene(host, depth, image),
    }


def ramp() -> torch.Tensor:
    """A mask that opens from left to right: its left column is never sampled, its right one always is."""
    return torch.linspace(0, 1, 8).expand(1, 8, 8).clone()


@dataclass(frozen=True)
class Node:
    """A node of the host that patches a MODEL.

    Args:
        row: of the compatibility table.
        module: in comfy_extras, or `nodes`.
        name: of the class.
        inputs: besides the model, and the times where it acts; callables make theirs from the scene.
        scene: whose model it patches.
        shares: whether the texts of a call share what it draws or keeps of one of them.
    """

    row: str
    module: str
    name: str
    inputs: dict[str, Any] = field(default_factory=dict)
    scene: str = "unet"
    shares: bool = False

    def patch(self, scene: Scene, model: Any = None) -> Any:
        from comfyui_version import __version__

        cls = find_node(self.module, self.name)
        known = inspect.signature(cls.execute if hasattr(cls, "execute") else getattr(cls, cls.FUNCTION)).parameters
        for key in self.inputs:
            if key not in known:
                pytest.skip(f"ComfyUI {__version__} has no {key} in {self.name}")
        inputs = {key: value for key, value in ALWAYS.items() if key in known} | self.inputs
        made = {key: value(scene) if callable(value) else value for key, value in inputs.items()}
        return run_node(cls, model=model or scene.model, **made)


def sharpen(scene: Scene) -> Any:
    from comfy_extras.nodes_latent import LatentOperationSharpen

    return LatentOperationSharpen.execute(sharpen_radius=3, sigma=1.0, alpha=0.5)[0]


SLG = "SkipLayerGuidanceDiT, SkipLayerGuidanceDiTSimple, SkipLayerGuidanceSD3"
NAG = "Normalized Attention Guidance (NAG)"
CFG = "RescaleCFG, CFGZeroStar, CFGNorm, RenormCFG"
PREDICTION = "Adaptive Projected Guidance, Tangential Damping CFG, FreSca, Positive-Biased Guidance (Mahiro)"
SCALING = "Epsilon Scaling, Temporal Score Rescaling"
VIDEO = "VideoLinearCFGGuidance, VideoTriangleCFGGuidance"
FREEU = "FreeU, FreeU_V2"
CACHES = "EasyCache, LazyCache"
MULTIPLY = "UNetSelfAttentionMultiply, UNetCrossAttentionMultiply"
SAMPLINGS = "ModelSamplingDiscrete, ModelSamplingContinuousEDM"
CONTEXT = "nodes_context_windows"
WINDOWS = "Context Windows (Manual, Wan, LTXV)"
ALWAYS = {"start_percent": 0.0, "end_percent": 1.0}
NAG_SCALES = {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5}
FREEU_SCALES = {"b1": 1.3, "b2": 1.5, "s1": 0.9, "s2": 0.2}
ATTENTION = {"q": 0.7, "k": 1.2, "v": 1.3, "out": 0.9}
CACHE = {"reuse_threshold": 3.0, "verbose": False}
WINDOW = {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "freenoise": False}
NOISE = {"freenoise": True}
ROPE = {"scale_x": 0.5, "scale_y": 0.5, "scale_t": 2.0, "shift_x": 0.0, "shift_y": 0.0, "shift_t": 3.0}
TILES = {"tile_size": 32, "swap_size": 1, "max_depth": 0, "scale_depth": False}
SHRINK = {
    "block_number": 1, "downscale_factor": 2.0, "downscale_after_skip": True, "downscale_method": "bicubic",
    "upscale_method": "bicubic",
}  # fmt: skip


def windows(length: int, overlap: int, schedule: str, **inputs: Any) -> dict[str, Any]:
    return {"context_length": length, "context_overlap": overlap, "context_schedule": schedule, **WINDOW, **inputs}


# fmt: off
PATCHES = [
    Node("Self-Attention Guidance (SAG)", "nodes_sag", "SelfAttentionGuidance", {"scale": 0.8, "blur_sigma": 2.0}),
    Node("PerturbedAttentionGuidance (PAG)", "nodes_pag", "PerturbedAttentionGuidance", {"scale": 3.0}),
    Node(SLG, "nodes_slg", "SkipLayerGuidanceDiT", {
        "scale": 3.0, "double_layers": "1", "single_layers": "0", "rescaling_scale": 0.5,
    }, "flux"),
    Node(SLG, "nodes_slg", "SkipLayerGuidanceDiTSimple", {"double_layers": "1", "single_layers": ""}, "flux"),
    Node(SLG, "nodes_sd3", "SkipLayerGuidanceSD3", {"scale": 3.0, "layers": "1"}, "flux"),
    Node(NAG, "nodes_nag", "NAGuidance", NAG_SCALES),
    Node(NAG, "nodes_nag", "NAGuidance", NAG_SCALES, "flux"),
    Node(CFG, "nodes_model_advanced", "RescaleCFG", {"multiplier": 0.7}),
    Node(CFG, "nodes_cfg", "CFGZeroStar"),
    Node(CFG, "nodes_cfg", "CFGNorm", {"strength": 0.9}),
    Node(CFG, "nodes_cfg", "CFGNorm", {"strength": 0.9, "pre_cfg": True}),
    Node(CFG, "nodes_lumina2", "RenormCFG", {"cfg_trunc": 100.0, "renorm_cfg": 1.0}),
    Node(PREDICTION, "nodes_apg", "APG", {"eta": 0.5, "norm_threshold": 5.0, "momentum": -0.5}),
    Node(PREDICTION, "nodes_tcfg", "TCFG"),
    Node(PREDICTION, "nodes_fresca", "FreSca", {"scale_low": 0.8, "scale_high": 1.5, "freq_cutoff": 2}),
    Node(PREDICTION, "nodes_mahiro", "Mahiro"),
    Node(SCALING, "nodes_eps", "EpsilonScaling", {"scaling_factor": 1.05}),
    Node(SCALING, "nodes_eps", "TemporalScoreRescaling", {"tsr_k": 0.7, "tsr_sigma": 1.0}),
    Node("LatentApplyOperationCFG", "nodes_latent", "LatentApplyOperationCFG", {"operation": sharpen}),
    Node(VIDEO, "nodes_video_model", "VideoLinearCFGGuidance", {"min_cfg": 1.0}, "frames"),
    Node(VIDEO, "nodes_video_model", "VideoTriangleCFGGuidance", {"min_cfg": 1.0}, "frames"),
    Node("CFG Override", "nodes_custom_sampler", "CFGOverride", {"cfg": 1.0, "end_percent": 0.6}),
    Node("Perp-Neg (the deprecated node)", "nodes_perpneg", "PerpNeg", {
        "empty_conditioning": lambda scene: scene.prompt(5), "neg_scale": 1.0,
    }),
    Node(CACHES, "nodes_easycache", "EasyCacheNode", CACHE),
    Node(CACHES, "nodes_easycache", "LazyCacheNode", CACHE),
    Node("Differential Diffusion", "nodes_differential_diffusion", "DifferentialDiffusion", scene="masked"),
]
# These change what the model estimates for a prompt.
MODELS = [
    Node(FREEU, "nodes_freelunch", "FreeU", FREEU_SCALES),
    Node(FREEU, "nodes_freelunch", "FreeU_V2", FREEU_SCALES),
    Node("PatchModelAddDownscale (Kohya Deep Shrink)", "nodes_model_downscale", "PatchModelAddDownscale", SHRINK),
    Node("HyperTile", "nodes_hypertile", "HyperTile", TILES),
    Node("TomePatchModel", "nodes_tomesd", "TomePatchModel", {"ratio": 0.5}, shares=True),
    Node("ScaleROPE", "nodes_rope", "ScaleROPE", ROPE, "video"),
    Node(WINDOWS, CONTEXT, "ContextWindowsManualNode", windows(3, 1, "standard_static", dim=2), "video"),
    Node(WINDOWS, CONTEXT, "ContextWindowsManualNode", windows(2, 1, "looped_uniform", dim=0, **NOISE), "frames"),
    Node(WINDOWS, CONTEXT, "WanContextWindowsManualNode", windows(9, 4, "standard_uniform"), "video"),
    Node(WINDOWS, CONTEXT, "LTXVContextWindowsNode", windows(17, 8, "batched"), "video"),
    Node("Flux KV Cache", "nodes_flux", "FluxKVCache", scene="flux2", shares=True),
    Node(MULTIPLY, "nodes_attention_multiply", "UNetSelfAttentionMultiply", ATTENTION),
    Node(MULTIPLY, "nodes_attention_multiply", "UNetCrossAttentionMultiply", ATTENTION),
    Node(SAMPLINGS, "nodes_model_advanced", "ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": False}),
    Node(SAMPLINGS, "nodes_model_advanced", "ModelSamplingContinuousEDM", {
        "sampling": "v_prediction", "sigma_max": 80.0, "sigma_min": 0.002,
    }),
    Node("Load Hypernetwork", "nodes_hypernetwork", "HypernetworkLoader", {
        "hypernetwork_name": "small.pt", "strength": 1.0,
    }),
    Node("Load LoRA", "nodes", "LoraLoaderModelOnly", {"lora_name": "small.safetensors", "strength_model": 0.8}),
]
NODES = PATCHES + MODELS
# fmt: on


def node_params(nodes: list[Node]) -> list[Any]:
    return [
        pytest.param(node, id=f"{node.name}-{node.scene}", marks=pytest.mark.compat(GROUP, node.row)) for node in nodes
    ]


every_node = pytest.mark.parametrize("node", node_params(NODES))


@pytest.fixture(scope="module")
def folder(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the host finds LoRAs, hypernetworks and embeddings."""
    import folder_paths

    path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        kept = folder_paths.folder_names_and_paths
        places = {name: ([*paths], extensions) for name, (paths, extensions) in kept.items()}
        patch.setattr(folder_paths, "folder_names_and_paths", places)
        patch.setattr(folder_paths, "filename_list_cache", {})
        for name in ("loras", "hypernetworks", "embeddings"):
            folder_paths.add_model_folder_path(name, str(path))
        save_file(small_lora(), path / "small.safetensors")
        torch.save(small_hypernetwork(), path / "small.pt")
        yield path


@pytest.fixture(autouse=True)
def files(folder: Path) -> Path:
    return folder


def small_lora() -> dict[str, torch.Tensor]:
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k"
    return {f"{key}.lora_up.weight": noise(64, 2), f"{key}.lora_down.weight": noise(2, 32) / 4}


def small_hypernetwork() -> dict[Any, Any]:
    layer = {"linear.0.weight": noise(32, 32) / 8, "linear.0.bias": torch.zeros(32)}
    return {32: [layer, {key: -value for key, value in layer.items()}], "activation_func": "relu"}


@every_node
def test_both_effects_are_there_in_any_order_of_the_nodes(scenes: dict[str, Scene], node: Node) -> None:
    """And the other node's alone where the concept is off."""
    scene = scenes[node.scene]
    concept = scene.concept()
    before = scene.sample(scene.host.patched(concept, model=node.patch(scene)))
    after = scene.sample(node.patch(scene, scene.host.patched(concept, model=scene.model)))
    alone = scene.sample(node.patch(scene))
    assert differ(alone, scene.plain)
    assert differ(before, alone)
    assert differ(before, scene.edited)
    assert torch.equal(before, after)
    assert torch.equal(scene.edit(scene.concept(strength=0.0), model=node.patch(scene)), alone)


@pytest.mark.parametrize("node", node_params([node for node in NODES if not node.shares]))
def test_concepts_that_say_what_they_are_compared_with_add_nothing(
    scenes: dict[str, Scene], node: Node, one_pass_at_a_time: None, guidance_log: list[torch.Tensor]
) -> None:
    scene = scenes[node.scene]
    same = scene.edit(*(scene.saying_the_same(other) for other in KINDS.values()), model=node.patch(scene))
    assert guidance_log
    assert all(guidance is not None and not guidance.any() for guidance in guidance_log)
    assert torch.equal(same, scene.sample(node.patch(scene)))


@pytest.mark.parametrize("node", node_params([node for node in NODES if node.shares]))
def test_concepts_add_nothing_where_the_texts_they_compare_share_what_the_node_made(
    scenes: dict[str, Scene], node: Node, guidance_log: list[torch.Tensor]
) -> None:
    scene = scenes[node.scene]
    sizes = []
    for make in (scene.saying_the_same, lambda other: scene.concept(instead_of=other)):
        scene.edit(*(make(other) for other in KINDS.values()), model=node.patch(scene))
        sizes.append(torch.stack(guidance_log).norm())
        guidance_log.clear()
    assert sizes[0] < 1e-4 * sizes[1]


@every_kind
@pytest.mark.parametrize(
    "node", node_params([node for node in NODES if node.name != "TomePatchModel" and node.scene != "masked"])
)
def test_one_steps_edit_is_the_difference_of_the_models_estimates(
    scenes: dict[str, Scene], node: Node, instead_of: int | None
) -> None:
    scene = scenes[node.scene]
    expected = scene.one_steps_edit(node.patch(scene) if node in MODELS else None, instead_of)
    edited = scene.edit(scene.concept(instead_of=instead_of), model=node.patch(scene), steps=1)
    edit = edited - scene.sample(node.patch(scene), steps=1)
    # A node that keeps something of the first prompts evaluated gives it to all others too.
    assert distance(edit, expected) < (5e-2 if node.shares else 1e-3)


@pytest.fixture(scope="module")
def clip(folder: Path) -> Any:
    return demo_clip(folder)


@pytest.fixture(scope="module")
def text_scene(host: Host) -> Scene:
    return Scene(host, host.model(host.eps.model.model_type, context_dim=96), host.latent())


def encode(clip: Any, text: str) -> Any:
    import nodes

    return nodes.CLIPTextEncode().encode(clip, text)[0]


def edit_of_text(scene: Scene, clip: Any, text: Any, negative: str = "old", prompt: str | None = None) -> torch.Tensor:
    """Edit with SEGAConcept's concept of a text, or with a given one."""
    node = scene.host.pack.nodes.SEGAConcept
    concept = node.execute(clip, text, prompt, **SETTINGS)[0] if isinstance(text, str) else text
    return scene.edit(concept, positive=encode(clip, "a face"), negative=encode(clip, negative))


def of_encoded(scene: Scene, conditioning: Any, instead_of: Any = None) -> Any:
    node = scene.host.pack.nodes.SEGAConceptFromConditioning
    return node.execute(conditioning, instead_of, **SETTINGS)[0]


EMBEDDINGS = pytest.mark.compat(GROUP, "embeddings (textual inversion) in a concept's text")
WEIGHTS = pytest.mark.compat(GROUP, "weighted words in a concept's text")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        pytest.param("embedding:both", None, marks=EMBEDDINGS),
        pytest.param("smiling (embedding:both:1.4)", "a face", marks=EMBEDDINGS),
        pytest.param("a (hat:0.5) and ((glasses))", None, marks=WEIGHTS),
        pytest.param("(hat:1.3)", "a face", marks=WEIGHTS),
    ],
)
def test_a_concepts_texts_are_encoded_as_the_host_encodes_prompts(
    text_scene: Scene, clip: Any, text: str, prompt: str | None
) -> None:
    texts = [text] if prompt is None else [f"{prompt}, {text}", prompt]
    encoded = of_encoded(text_scene, *(encode(clip, each) for each in texts))
    edited = edit_of_text(text_scene, clip, text, prompt=prompt)
    assert torch.equal(edited, edit_of_text(text_scene, clip, encoded))


@pytest.mark.compat(GROUP, "CLIPSetLastLayer (clip skip)")
def test_a_concepts_text_is_encoded_by_the_layers_that_are_left(text_scene: Scene, clip: Any) -> None:
    (skipped,) = text_scene.host.nodes.CLIPSetLastLayer().set_last_layer(clip, -2)
    concept = text_scene.host.pack.nodes.SEGAConcept.execute(skipped, "hat", **SETTINGS)[0]
    same = of_encoded(text_scene, encode(skipped, "hat"))
    edited = edit_of_text(text_scene, clip, concept)
    assert torch.equal(edited, edit_of_text(text_scene, clip, same))
    assert differ(edited, edit_of_text(text_scene, clip, "hat"))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        pytest.param("embedding:both", "old", marks=EMBEDDINGS),
        pytest.param("(hat:1.3)", "(hat:1.2)", marks=WEIGHTS),
    ],
)
def test_embeddings_and_weights_in_the_negative_prompts_text_are_no_concept(
    text_scene: Scene, clip: Any, text: str, other: str, guidance_log: list[torch.Tensor | None]
) -> None:
    edit_of_text(text_scene, clip, text, negative=text)
    assert guidance_log == [None] * STEPS
    guidance_log.clear()
    edit_of_text(text_scene, clip, text, negative=other)
    assert all(guidance.any() for guidance in guidance_log)


PIX2PIX = pytest.mark.compat(GROUP, "InstructPix2Pix models (SD1.5, SDXL)")


def images(scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images that the model is to follow, encoded."""
    shape = scene.latent["samples"].shape
    return noise(*shape, seed=8), noise(*shape, seed=9)


@pytest.mark.parametrize(
    ("name", "instead_of"),
    [
        pytest.param("SD1.5 InstructPix2Pix", None, marks=PIX2PIX),
        pytest.param("SDXL InstructPix2Pix", POSITIVE, marks=PIX2PIX),
        pytest.param("Flux depth", None, marks=pytest.mark.compat(GROUP, "depth and canny models (Flux)")),
    ],
)
def test_a_model_that_follows_an_image_follows_that_of_the_prompt_a_concept_is_compared_with(
    scenes: dict[str, Scene], name: str, instead_of: int | None
) -> None:
    scene = scenes[name]
    first, second = images(scene)
    positive = scene.prompt(POSITIVE, concat_latent_image=first)
    sampling = {"positive": positive, "negative": scene.prompt(NEGATIVE, concat_latent_image=second), "steps": 1}
    edit = scene.edit(scene.concept(instead_of=instead_of), **sampling) - scene.sample(**sampling)
    own, other = (first, second) if instead_of == POSITIVE else (second, first)
    assert distance(edit, scene.one_steps_edit(None, instead_of, concat_latent_image=own)) < 1e-3
    assert differ(edit, scene.one_steps_edit(None, instead_of, concat_latent_image=other))


@PIX2PIX
@pytest.mark.parametrize(
    ("name", "style", "instead_of"),
    [("SD1.5 InstructPix2Pix", "regular", None), ("SDXL InstructPix2Pix", "nested", POSITIVE)],
)
def test_instructpix2pix_with_dual_cfg_guider_is_edited_by_the_text_alone(
    scenes: dict[str, Scene], name: str, style: str, instead_of: int | None, one_pass_at_a_time: None
) -> None:
    scene = scenes[name]
    image = images(scene)[0]
    prompts = [scene.prompt(seed, concat_latent_image=image) for seed in (POSITIVE, NEGATIVE)]

    def guided(*concepts: Any) -> torch.Tensor:
        model = scene.host.patched(*concepts, model=scene.model)
        inputs = (model, *prompts, scene.prompt(NEGATIVE), 5.0, 1.5, style)
        return scene.host.guide(scene.host.custom.DualCFGGuider.execute(*inputs)[0])

    plain = guided()
    assert torch.equal(guided(scene.saying_the_same(instead_of)), plain)
    assert differ(guided(scene.concept(instead_of=instead_of)), plain)


def windowed(scene: Scene, length: int, overlap: int) -> Any:
    inputs = windows(length, overlap, "standard_static", dim=2, fuse_method="flat")
    cls = find_node(CONTEXT, "ContextWindowsManualNode")
    if "causal_window_fix" in inspect.signature(cls.execute).parameters:
        inputs["causal_window_fix"] = False
    return run_node(cls, model=scene.model, **inputs)


@pytest.mark.compat(GROUP, WINDOWS)
def test_windows_without_overlap_are_edited_as_videos_of_their_own(scenes: dict[str, Scene]) -> None:
    scene, video = scenes["video"], noise(1, 16, 6, 4, 4)
    sigmas = scene.host.samplers.calculate_sigmas(scene.model.get_model_object("model_sampling"), "simple", STEPS)
    concepts = [scene.concept(instead_of=other) for other in KINDS.values()]

    def guided(model: Any, noise: torch.Tensor, *concepts: Any) -> torch.Tensor:
        model = scene.host.patched(*concepts, model=model)
        guider = scene.host.custom.CFGGuider.execute(model, *scene.prompts().values(), 4.0)[0]
        return guider.sample(noise, torch.zeros_like(noise), scene.host.samplers.sampler_object("euler"), sigmas)

    model = windowed(scene, 2, 0)
    together = guided(model, video, *concepts)
    by_hand = torch.cat([guided(scene.model, part, *concepts) for part in video.split(2, dim=2)], dim=2)
    change = by_hand - guided(model, video)
    assert relative(together - by_hand, change) < 1e-3
    assert (change.flatten(3).norm(dim=(1, 3)) > 1e-2 * change.norm()).all()


@pytest.mark.compat(GROUP, WINDOWS)
def test_concepts_are_evaluated_in_each_window(scenes: dict[str, Scene]) -> None:
    scene = scenes["video"]
    passes = Passes(windowed(scene, 3, 1))
    scene.edit(*(scene.concept(instead_of=other) for other in KINDS.values()), model=passes.model)
    assert passes.sizes == [4, 4] * STEPS
