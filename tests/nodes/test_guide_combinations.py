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

from support.host import Host, Passes, every_kind, find_node, kept_apart, run_node
from support.models import FLUX, FLUX2, SDXL_SIZES, UNET, WAN, demo_clip, family_model
from support.tensors import differ

GROUP = "Guidance and model nodes"
STEPS = 3
POSITIVE, NEGATIVE, CONCEPT = 1, 2, 10
SETTINGS = {
    "direction": "add",
    "strength": 1.0,
    "guidance_scale": 2.0,
    "threshold": 0.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "weight": 1.0,
}
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
        node = self.host.pack.nodes.SEGAConceptFromConditioning
        other = None if instead_of is None else self.prompt(instead_of)
        return node.execute(self.prompt(seed), other, **{**SETTINGS, **changes})[0]

    def saying_the_same(self, instead_of: int | None) -> Any:
        """Return a concept that says what it is compared with, and is evaluated nevertheless."""
        node = self.host.pack.nodes.SEGAConceptFromConditioning
        other = None if instead_of is None else self.prompt(instead_of)
        return node.execute(kept_apart(other or self.prompt(NEGATIVE)), other, **SETTINGS)[0]

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
        "flux2": Scene(host, flux2, {"samples": torch.zeros(1, 128, 4, 4)}, reference_latents=[drawn(128, 4, 4)]),
        "video": Scene(host, wan, {"samples": torch.zeros(1, 16, 5, 4, 4)}),
        "SD1.5 InstructPix2Pix": Scene(host, pix2pix, host.latent()),
        "SDXL InstructPix2Pix": Scene(host, pix2pix_xl, host.latent()),
        "Flux depth": Scene(host, depth, image),
    }


def drawn(*shape: int, seed: int = 8) -> torch.Tensor:
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


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
        inputs: besides the model; callables make theirs from the scene.
        scene: whose model it patches.
        changes_estimates: whether it changes what the model estimates for a prompt, and not only what is made of it.
        draws: whether it draws random numbers at each evaluation.
        skips: whether it reuses a whole prediction of an earlier step.
        keeps: whether it reuses a part of what another prompt's evaluation gave.
    """

    row: str
    module: str
    name: str
    inputs: dict[str, Any] = field(default_factory=dict)
    scene: str = "unet"
    changes_estimates: bool = False
    draws: bool = False
    skips: bool = False
    keeps: bool = False

    def patch(self, scene: Scene, model: Any = None) -> Any:
        cls = self.find()
        inputs = {key: value(scene) if callable(value) else value for key, value in self.inputs.items()}
        return run_node(cls, model=model or scene.model, **inputs)

    def find(self) -> Any:
        from comfyui_version import __version__

        cls = find_node(self.module, self.name)
        known = inspect.signature(cls.execute if hasattr(cls, "execute") else getattr(cls, cls.FUNCTION)).parameters
        for key in self.inputs:
            if key not in known:
                pytest.skip(f"ComfyUI {__version__} has no {key} in {self.name}")
        return cls


def sharpen(scene: Scene) -> Any:
    from comfy_extras.nodes_latent import LatentOperationSharpen

    return LatentOperationSharpen.execute(sharpen_radius=3, sigma=1.0, alpha=0.5)[0]


SLG = "SkipLayerGuidanceDiT, SkipLayerGuidanceDiTSimple, SkipLayerGuidanceSD3"
CFG = "RescaleCFG, CFGZeroStar, CFGNorm, RenormCFG"
PREDICTION = "Adaptive Projected Guidance, Tangential Damping CFG, FreSca, Positive-Biased Guidance (Mahiro)"
SCALING = "Epsilon Scaling, Temporal Score Rescaling"
VIDEO = "VideoLinearCFGGuidance, VideoTriangleCFGGuidance"
FREEU = "FreeU, FreeU_V2"
CACHES = "EasyCache, LazyCache"
MULTIPLY = "UNetSelfAttentionMultiply, UNetCrossAttentionMultiply"
SAMPLINGS = "ModelSamplingDiscrete, ModelSamplingContinuousEDM"
ATTENTION = {"q": 0.7, "k": 1.2, "v": 1.3, "out": 0.9}
CACHE = {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
WINDOWS = "Context Windows (Manual, Wan, LTXV)"
WINDOW = {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "freenoise": False}
ROPE = {"scale_x": 0.5, "scale_y": 0.5, "scale_t": 2.0, "shift_x": 0.0, "shift_y": 0.0, "shift_t": 3.0}
NODES = [
    Node("Self-Attention Guidance (SAG)", "nodes_sag", "SelfAttentionGuidance", {"scale": 0.8, "blur_sigma": 2.0}),
    Node("PerturbedAttentionGuidance (PAG)", "nodes_pag", "PerturbedAttentionGuidance", {"scale": 3.0}),
    Node(
        SLG,
        "nodes_slg",
        "SkipLayerGuidanceDiT",
        {
            "scale": 3.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "double_layers": "1",
            "single_layers": "0",
            "rescaling_scale": 0.5,
        },
        scene="flux",
    ),
    Node(
        SLG,
        "nodes_slg",
        "SkipLayerGuidanceDiTSimple",
        {"start_percent": 0.0, "end_percent": 1.0, "double_layers": "1", "single_layers": ""},
        scene="flux",
    ),
    Node(
        SLG,
        "nodes_sd3",
        "SkipLayerGuidanceSD3",
        {"scale": 3.0, "start_percent": 0.0, "end_percent": 1.0, "layers": "1"},
        scene="flux",
    ),
    *(
        Node(
            "Normalized Attention Guidance (NAG)",
            "nodes_nag",
            "NAGuidance",
            {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5},
            scene=scene,
        )
        for scene in ("unet", "flux")
    ),
    Node(FREEU, "nodes_freelunch", "FreeU", {"b1": 1.3, "b2": 1.5, "s1": 0.9, "s2": 0.2}, changes_estimates=True),
    Node(FREEU, "nodes_freelunch", "FreeU_V2", {"b1": 1.3, "b2": 1.5, "s1": 0.9, "s2": 0.2}, changes_estimates=True),
    Node(
        "PatchModelAddDownscale (Kohya Deep Shrink)",
        "nodes_model_downscale",
        "PatchModelAddDownscale",
        {
            "block_number": 1,
            "downscale_factor": 2.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "downscale_after_skip": True,
            "downscale_method": "bicubic",
            "upscale_method": "bicubic",
        },
        changes_estimates=True,
    ),
    Node(
        "HyperTile",
        "nodes_hypertile",
        "HyperTile",
        {"tile_size": 32, "swap_size": 1, "max_depth": 0, "scale_depth": False},
        changes_estimates=True,
    ),
    Node("TomePatchModel", "nodes_tomesd", "TomePatchModel", {"ratio": 0.5}, changes_estimates=True, draws=True),
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
    Node(VIDEO, "nodes_video_model", "VideoLinearCFGGuidance", {"min_cfg": 1.0}, scene="frames"),
    Node(VIDEO, "nodes_video_model", "VideoTriangleCFGGuidance", {"min_cfg": 1.0}, scene="frames"),
    Node(
        "CFG Override",
        "nodes_custom_sampler",
        "CFGOverride",
        {"cfg": 1.0, "start_percent": 0.0, "end_percent": 0.6},
    ),
    Node(
        "Perp-Neg (the deprecated node)",
        "nodes_perpneg",
        "PerpNeg",
        {"empty_conditioning": lambda scene: scene.prompt(5), "neg_scale": 1.0},
    ),
    Node(CACHES, "nodes_easycache", "EasyCacheNode", CACHE, skips=True),
    Node(CACHES, "nodes_easycache", "LazyCacheNode", CACHE, skips=True),
    Node("Differential Diffusion", "nodes_differential_diffusion", "DifferentialDiffusion", scene="masked"),
    Node("ScaleROPE", "nodes_rope", "ScaleROPE", ROPE, scene="video", changes_estimates=True),
    Node(
        WINDOWS,
        "nodes_context_windows",
        "ContextWindowsManualNode",
        {"context_length": 3, "context_overlap": 1, "context_schedule": "standard_static", "dim": 2, **WINDOW},
        scene="video",
        changes_estimates=True,
    ),
    Node(
        WINDOWS,
        "nodes_context_windows",
        "ContextWindowsManualNode",
        {
            **{"context_length": 2, "context_overlap": 1, "context_schedule": "looped_uniform", "dim": 0, **WINDOW},
            "freenoise": True,
        },
        scene="frames",
        changes_estimates=True,
    ),
    Node(
        WINDOWS,
        "nodes_context_windows",
        "WanContextWindowsManualNode",
        {"context_length": 9, "context_overlap": 4, "context_schedule": "standard_uniform", **WINDOW},
        scene="video",
        changes_estimates=True,
    ),
    Node(
        WINDOWS,
        "nodes_context_windows",
        "LTXVContextWindowsNode",
        {"context_length": 17, "context_overlap": 8, "context_schedule": "batched", **WINDOW},
        scene="video",
        changes_estimates=True,
    ),
    Node("Flux KV Cache", "nodes_flux", "FluxKVCache", scene="flux2", changes_estimates=True, keeps=True),
    Node(MULTIPLY, "nodes_attention_multiply", "UNetSelfAttentionMultiply", ATTENTION, changes_estimates=True),
    Node(MULTIPLY, "nodes_attention_multiply", "UNetCrossAttentionMultiply", ATTENTION, changes_estimates=True),
    Node(
        SAMPLINGS,
        "nodes_model_advanced",
        "ModelSamplingDiscrete",
        {"sampling": "v_prediction", "zsnr": False},
        changes_estimates=True,
    ),
    Node(
        SAMPLINGS,
        "nodes_model_advanced",
        "ModelSamplingContinuousEDM",
        {"sampling": "v_prediction", "sigma_max": 80.0, "sigma_min": 0.002},
        changes_estimates=True,
    ),
    Node(
        "Load Hypernetwork",
        "nodes_hypernetwork",
        "HypernetworkLoader",
        {"hypernetwork_name": "small.pt", "strength": 1.0},
        changes_estimates=True,
    ),
    Node(
        "Load LoRA",
        "nodes",
        "LoraLoaderModelOnly",
        {"lora_name": "small.safetensors", "strength_model": 0.8},
        changes_estimates=True,
    ),
]


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
        save_file(small_lora(host), path / "small.safetensors")
        torch.save(small_hypernetwork(), path / "small.pt")
        yield path


@pytest.fixture(autouse=True)
def files(folder: Path) -> Path:
    return folder


LORA_KEY = "middle_block.1.transformer_blocks.0.attn2.to_k"


def small_lora(host: Host) -> dict[str, torch.Tensor]:
    """A LoRA for one layer of the UNet and one of the text model."""
    generator = torch.Generator().manual_seed(6)
    weight = host.eps.model.diffusion_model.get_submodule(LORA_KEY).weight
    unet, clip = f"diffusion_model.{LORA_KEY}", "lora_te_text_model_encoder_layers_0_mlp_fc1"
    return {
        f"{unet}.lora_up.weight": torch.randn((weight.shape[0], 2), generator=generator),
        f"{unet}.lora_down.weight": torch.randn((2, weight.shape[1]), generator=generator) / 4,
        f"{clip}.lora_up.weight": torch.randn((192, 2), generator=generator),
        f"{clip}.lora_down.weight": torch.randn((2, 96), generator=generator) / 8,
    }


def small_hypernetwork() -> dict[Any, Any]:
    generator = torch.Generator().manual_seed(7)
    layer = {
        "linear.0.weight": torch.randn((32, 32), generator=generator) / 8,
        "linear.0.bias": torch.zeros(32),
    }
    return {32: [layer, {key: -value for key, value in layer.items()}], "activation_func": "relu"}


@every_node
def test_both_effects_are_there_in_any_order_of_the_nodes(scenes: dict[str, Scene], node: Node) -> None:
    scene = scenes[node.scene]
    concept = scene.concept()
    before = scene.sample(scene.host.patched(concept, model=node.patch(scene)))
    after = scene.sample(node.patch(scene, scene.host.patched(concept, model=scene.model)))
    alone = scene.sample(node.patch(scene))
    assert differ(alone, scene.plain)
    assert differ(scene.edited, scene.plain)
    assert differ(before, alone)
    assert differ(before, scene.edited)
    assert torch.equal(before, after)


@every_node
def test_a_concept_that_is_off_leaves_the_other_node_alone(scenes: dict[str, Scene], node: Node) -> None:
    scene = scenes[node.scene]
    off = scene.concept(strength=0.0)
    patched = (node.patch(scene) for _ in range(2))
    assert torch.equal(scene.edit(off, model=next(patched), steps=2), scene.sample(next(patched), steps=2))


@every_kind
@pytest.mark.parametrize("node", node_params([node for node in NODES if not node.draws and not node.keeps]))
def test_a_concept_that_says_what_it_is_compared_with_adds_nothing(
    scenes: dict[str, Scene],
    node: Node,
    instead_of: int | None,
    one_pass_at_a_time: None,
    guidance_log: list[torch.Tensor],
) -> None:
    scene = scenes[node.scene]
    same = scene.edit(scene.saying_the_same(instead_of), model=node.patch(scene))
    assert guidance_log
    assert all(guidance is not None and not guidance.any() for guidance in guidance_log)
    assert torch.equal(same, scene.sample(node.patch(scene)))
    guidance_log.clear()
    scene.edit(scene.concept(instead_of=instead_of), model=node.patch(scene))
    assert all(guidance.any() for guidance in guidance_log)


@every_kind
@pytest.mark.parametrize("node", node_params([node for node in NODES if node.draws or node.keeps]))
def test_a_concept_adds_nothing_where_the_texts_it_compares_share_what_the_node_made(
    scenes: dict[str, Scene], node: Node, instead_of: int | None, guidance_log: list[torch.Tensor]
) -> None:
    scene = scenes[node.scene]
    sizes = []
    for concept in (scene.saying_the_same(instead_of), scene.concept(instead_of=instead_of)):
        scene.edit(concept, model=node.patch(scene))
        sizes.append(torch.stack(guidance_log).norm())
        guidance_log.clear()
    assert sizes[0] < 1e-4 * sizes[1]


@every_kind
@pytest.mark.parametrize("node", node_params([node for node in NODES if not node.draws and node.scene != "masked"]))
def test_one_steps_edit_is_the_difference_of_the_models_estimates(
    scenes: dict[str, Scene], node: Node, instead_of: int | None
) -> None:
    scene = scenes[node.scene]
    expected = scene.one_steps_edit(node.patch(scene) if node.changes_estimates else None, instead_of)
    edited = scene.edit(scene.concept(instead_of=instead_of), model=node.patch(scene), steps=1)
    edit = edited - scene.sample(node.patch(scene), steps=1)
    # A node that keeps something of the first prompts evaluated gives it to all others too.
    tolerance = 5e-2 if node.keeps else 1e-3
    assert (edit - expected).norm() < tolerance * expected.norm()


@pytest.mark.compat(GROUP, "Differential Diffusion")
def test_differential_diffusion_edits_where_the_mask_lets_the_image_change(scenes: dict[str, Scene]) -> None:
    scene = scenes["masked"]
    (node,) = (node for node in NODES if node.name == "DifferentialDiffusion")
    change = scene.edit(scene.concept(), model=node.patch(scene)) - scene.sample(node.patch(scene))
    closed, opened = change[..., 0].norm(), change[..., -1].norm()
    assert closed < 0.1 * opened


@pytest.mark.compat(GROUP, "Load LoRA")
def test_a_lora_changes_a_concepts_estimates_as_it_changes_the_weights(
    host: Host, scenes: dict[str, Scene], folder: Path
) -> None:
    import comfy.model_base
    import nodes

    scene, lora = scenes["unet"], small_lora(host)
    merged = host.model(comfy.model_base.ModelType.EPS)
    up, down = (lora[f"diffusion_model.{LORA_KEY}.lora_{name}.weight"] for name in ("up", "down"))
    merged.model.diffusion_model.get_submodule(LORA_KEY).weight.data += 0.8 * up @ down
    patched = nodes.LoraLoaderModelOnly().load_lora_model_only(scene.model, "small.safetensors", 0.8)[0]
    expected = scene.edit(scene.concept(), model=merged)
    change = expected - scene.sample(merged)
    assert (change - (scene.edited - scene.plain)).norm() > 1e-2 * change.norm()
    assert (scene.edit(scene.concept(), model=patched) - expected).norm() < 1e-3 * change.norm()


@pytest.fixture(scope="module")
def clip(host: Host, folder: Path) -> Any:
    """A CLIP of the demo's classes with random weights, that finds the folder's embeddings."""
    import folder_paths

    clip = demo_clip(folder_paths.get_folder_paths("embeddings"))
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
    tokens = [token for token, _ in clip.tokenize("hat glasses")["l"][0][1:3]]
    save_file({"clip_l": table[tokens].detach().clone()}, folder / "both.safetensors")
    return clip


@pytest.fixture(scope="module")
def text_scene(host: Host, clip: Any) -> Scene:
    import comfy.model_base

    return Scene(host, host.model(comfy.model_base.ModelType.EPS, context_dim=96), host.latent())


def encode(clip: Any, text: str) -> Any:
    import nodes

    return nodes.CLIPTextEncode().encode(clip, text)[0]


def edit_of_text(scene: Scene, clip: Any, text: str, negative: str = "old", prompt: str | None = None) -> torch.Tensor:
    concept = scene.host.pack.nodes.SEGAConcept.execute(clip, text, prompt, **SETTINGS)[0]
    prompts = {"positive": encode(clip, "a face"), "negative": encode(clip, negative)}
    return scene.edit(concept, **prompts)


EMBEDDINGS = "embeddings (textual inversion) in a concept's text"
WEIGHTS = "weighted words in a concept's text"
TEXTS = [
    pytest.param(text, marks=pytest.mark.compat(GROUP, row))
    for row, text in [
        (EMBEDDINGS, "embedding:both"),
        (EMBEDDINGS, "smiling embedding:both"),
        (EMBEDDINGS, "(embedding:both:1.4)"),
        (WEIGHTS, "(hat:1.3)"),
        (WEIGHTS, "a (hat:0.5) and ((glasses))"),
    ]
]


@pytest.mark.parametrize("prompt", [None, "a face"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_concepts_texts_are_encoded_as_the_host_encodes_prompts(
    text_scene: Scene, clip: Any, text: str, prompt: str | None
) -> None:
    node = text_scene.host.pack.nodes.SEGAConceptFromConditioning
    if prompt is None:
        concept = node.execute(encode(clip, text), **SETTINGS)[0]
    else:
        concept = node.execute(encode(clip, f"{prompt}, {text}"), encode(clip, prompt), **SETTINGS)[0]
    prompts = {"positive": encode(clip, "a face"), "negative": encode(clip, "old")}
    assert torch.equal(edit_of_text(text_scene, clip, text, prompt=prompt), text_scene.edit(concept, **prompts))


@pytest.mark.compat(GROUP, "CLIPSetLastLayer (clip skip)")
def test_a_concepts_text_is_encoded_by_the_layers_that_are_left(text_scene: Scene, clip: Any) -> None:
    (skipped,) = text_scene.host.nodes.CLIPSetLastLayer().set_last_layer(clip, -2)
    nodes = text_scene.host.pack.nodes
    prompts = {"positive": encode(clip, "a face"), "negative": encode(clip, "old")}
    concept = nodes.SEGAConcept.execute(skipped, "hat", **SETTINGS)[0]
    same = nodes.SEGAConceptFromConditioning.execute(encode(skipped, "hat"), **SETTINGS)[0]
    edited = text_scene.edit(concept, **prompts)
    assert torch.equal(edited, text_scene.edit(same, **prompts))
    assert differ(edited, edit_of_text(text_scene, clip, "hat"))


@pytest.mark.parametrize("text", TEXTS)
def test_embeddings_and_weights_in_the_negative_prompts_text_are_no_concept(
    text_scene: Scene, clip: Any, text: str, one_pass_at_a_time: None, guidance_log: list[torch.Tensor | None]
) -> None:
    edit_of_text(text_scene, clip, text, negative=text)
    assert guidance_log == [None] * STEPS
    guidance_log.clear()
    plain = text.replace("embedding:both", "old").replace(":1.3", ":1.2").replace(":0.5", ":0.6")
    edit_of_text(text_scene, clip, text, negative=plain)
    assert all(guidance.any() for guidance in guidance_log)


@pytest.mark.compat(GROUP, EMBEDDINGS)
def test_an_embedding_edits_as_the_words_it_stands_for(text_scene: Scene, clip: Any) -> None:
    words, other = (edit_of_text(text_scene, clip, text) for text in ("hat glasses", "smiling"))
    assert torch.equal(edit_of_text(text_scene, clip, "embedding:both"), words)
    assert differ(words, other)


@pytest.mark.compat(GROUP, WEIGHTS)
def test_a_words_weight_moves_its_embedding_away_from_the_empty_prompts(text_scene: Scene, clip: Any) -> None:
    node = text_scene.host.pack.nodes.SEGAConcept
    plain, weighted, empty = (
        node.execute(clip, text, **SETTINGS)[0].conditioning[0][0] for text in ("hat", "(hat:1.3)", "")
    )
    torch.testing.assert_close(weighted[:, 1], empty[:, 1] + 1.3 * (plain[:, 1] - empty[:, 1]))
    assert not torch.equal(weighted[:, 1], plain[:, 1])
    assert torch.equal(edit_of_text(text_scene, clip, "(hat:1.0)"), edit_of_text(text_scene, clip, "hat"))
    assert differ(edit_of_text(text_scene, clip, "(hat:1.3)"), edit_of_text(text_scene, clip, "hat"))


@pytest.mark.compat(GROUP, "Load LoRA")
def test_a_lora_of_the_text_encoder_changes_a_concepts_text(text_scene: Scene, clip: Any) -> None:
    import nodes

    model, patched = nodes.LoraLoader().load_lora(text_scene.model, clip, "small.safetensors", 1.0, 1.0)
    settings = {"model": model, "positive": encode(clip, "a face"), "negative": encode(clip, "old")}
    pack = text_scene.host.pack.nodes
    without, with_lora = (
        text_scene.edit(pack.SEGAConcept.execute(encoder, "hat", **SETTINGS)[0], **settings)
        for encoder in (clip, patched)
    )
    expected = pack.SEGAConceptFromConditioning.execute(encode(patched, "hat"), **SETTINGS)[0]
    assert torch.equal(with_lora, text_scene.edit(expected, **settings))
    assert differ(with_lora, without)


CONCAT_MODELS = [
    pytest.param(name, marks=pytest.mark.compat(GROUP, row))
    for name, row in [
        ("SD1.5 InstructPix2Pix", "InstructPix2Pix models (SD1.5, SDXL)"),
        ("SDXL InstructPix2Pix", "InstructPix2Pix models (SD1.5, SDXL)"),
        ("Flux depth", "depth and canny models (Flux)"),
    ]
]


def images(scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images that the model is to follow, encoded."""
    shape = scene.latent["samples"].shape[1:]
    return drawn(*shape, seed=8), drawn(*shape, seed=9)


@every_kind
@pytest.mark.parametrize("name", CONCAT_MODELS)
def test_a_model_that_follows_an_image_follows_that_of_the_prompt_a_concept_is_compared_with(
    scenes: dict[str, Scene], name: str, instead_of: int | None
) -> None:
    scene = scenes[name]
    first, second = images(scene)
    prompts = {
        "positive": scene.prompt(POSITIVE, concat_latent_image=first),
        "negative": scene.prompt(NEGATIVE, concat_latent_image=second),
        "steps": 1,
    }
    edit = scene.edit(scene.concept(instead_of=instead_of), **prompts) - scene.sample(**prompts)
    own, other = (second, first) if instead_of is None else (first, second)
    expected = scene.one_steps_edit(None, instead_of, concat_latent_image=own)
    assert (edit - expected).norm() < 1e-3 * expected.norm()
    assert differ(edit, scene.one_steps_edit(None, instead_of, concat_latent_image=other))


@every_kind
@pytest.mark.parametrize("name", CONCAT_MODELS)
def test_an_image_to_follow_is_no_part_of_the_guidance(
    scenes: dict[str, Scene],
    name: str,
    instead_of: int | None,
    one_pass_at_a_time: None,
    guidance_log: list[torch.Tensor],
) -> None:
    scene = scenes[name]
    first, second = images(scene)
    prompts = {
        "positive": scene.prompt(POSITIVE, concat_latent_image=first),
        "negative": scene.prompt(NEGATIVE, concat_latent_image=second),
    }
    out = scene.edit(scene.saying_the_same(instead_of), **prompts)
    assert guidance_log
    assert not any(guidance.any() for guidance in guidance_log)
    assert torch.equal(out, scene.sample(**prompts))
    guidance_log.clear()
    scene.edit(scene.concept(instead_of=instead_of), **prompts)
    assert all(guidance.any() for guidance in guidance_log)


@every_kind
@pytest.mark.compat(GROUP, "InstructPix2Pix models (SD1.5, SDXL)")
@pytest.mark.parametrize("name", ["SD1.5 InstructPix2Pix", "SDXL InstructPix2Pix"])
@pytest.mark.parametrize("style", ["regular", "nested"])
def test_instructpix2pix_with_dual_cfg_guider_is_edited_by_the_text_alone(
    scenes: dict[str, Scene],
    name: str,
    style: str,
    instead_of: int | None,
    one_pass_at_a_time: None,
    guidance_log: list[torch.Tensor],
) -> None:
    scene = scenes[name]
    image = images(scene)[0]
    prompts = [
        scene.prompt(POSITIVE, concat_latent_image=image),
        scene.prompt(NEGATIVE, concat_latent_image=image),
        scene.prompt(NEGATIVE),
    ]

    def guided(*concepts: Any) -> torch.Tensor:
        model = scene.host.patched(*concepts, model=scene.model)
        return scene.host.guide(scene.host.custom.DualCFGGuider.execute(model, *prompts, 5.0, 1.5, style)[0])

    plain = guided()
    assert torch.equal(guided(scene.saying_the_same(instead_of)), plain)
    assert guidance_log
    assert not any(guidance.any() for guidance in guidance_log)
    assert differ(guided(scene.concept(instead_of=instead_of)), plain)


def windowed(scene: Scene, **inputs: Any) -> Any:
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    settings = {"context_stride": 1, "closed_loop": False, "fuse_method": "flat", "freenoise": False, **inputs}
    if "causal_window_fix" in inspect.signature(ContextWindowsManualNode.execute).parameters:
        settings["causal_window_fix"] = False
    return ContextWindowsManualNode.execute(scene.model, **settings)[0]


@every_kind
@pytest.mark.compat(GROUP, WINDOWS)
def test_windows_without_overlap_are_edited_as_videos_of_their_own(
    scenes: dict[str, Scene], instead_of: int | None
) -> None:
    scene = scenes["video"]
    noise = drawn(16, 6, 4, 4)
    sigmas = scene.host.samplers.calculate_sigmas(scene.model.get_model_object("model_sampling"), "simple", STEPS)

    def guided(model: Any, noise: torch.Tensor, *concepts: Any) -> torch.Tensor:
        guider = scene.host.custom.CFGGuider.execute(
            scene.host.patched(*concepts, model=model), scene.prompt(POSITIVE), scene.prompt(NEGATIVE), 4.0
        )[0]
        sampler = scene.host.samplers.sampler_object("euler")
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas)

    model = windowed(scene, context_length=2, context_overlap=0, context_schedule="standard_static", dim=2)
    concept = scene.concept(instead_of=instead_of)
    together = guided(model, noise, concept)
    by_hand = torch.cat([guided(scene.model, part, concept) for part in noise.split(2, dim=2)], dim=2)
    change = by_hand - guided(model, noise)
    assert (together - by_hand).norm() < 1e-3 * change.norm()
    assert (change.flatten(3).norm(dim=(1, 3)) > 1e-2 * change.norm()).all()


@every_kind
@pytest.mark.compat(GROUP, WINDOWS)
def test_concepts_are_evaluated_in_each_window(scenes: dict[str, Scene], instead_of: int | None) -> None:
    scene = scenes["video"]
    model = windowed(scene, context_length=3, context_overlap=1, context_schedule="standard_static", dim=2)
    passes = Passes(model)
    scene.edit(scene.concept(instead_of=instead_of), scene.concept(11, instead_of), model=passes.model)
    assert passes.sizes == [4, 4] * STEPS
