"""Every family of models that the host samples: the smallest instance of its own classes, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from support.host import Host, once
from support.models import (
    CHROMA,
    FLUX,
    FLUX2,
    LTXAV,
    SDXL_SIZES,
    STABLE_AUDIO,
    UNET,
    WAN,
    chroma_radiance,
    family_model,
)

TOKENS = 12
THRESHOLD = 0.9
POSITIVE, NEGATIVE, OTHER = 1, 2, 10
FROM_CHECKPOINT = {"pos_embed", "inv_freq", "adaln_t_table", "positive_conditioning", "negative_conditioning"}


@dataclass(frozen=True)
class Family:
    """How to build a family's smallest model, and what its prompts and latents look like.

    Args:
        row: of the compatibility table.
        config: the class in comfy.supported_models.
        latent: shape of a sample's latents; of each part where they are nested.
        unet: arguments of the diffusion model's class.
        width: of the text's embedding.
        text: what encoders give besides the embedding: shapes, or what draws it.
        values: what the compared prompt says besides its text; not the host's defaults, so that they show.
        cfg: 1 where the model is used so.
        weights: of the checkpoint that the class reads beforehand.
        images: shapes of the images that both prompts show.
        batch: how many samples at once, 1 where the model takes no more.
    """

    row: str
    config: str
    latent: Any
    unet: dict[str, Any] | Callable[[], dict[str, Any]]
    width: int = 32
    text: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    cfg: float = 4.0
    weights: Callable[[], dict[str, Tensor]] = dict
    images: dict[str, tuple[int, ...]] = field(default_factory=dict)
    batch: int = 2

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return self.latent if isinstance(self.latent, list) else [self.latent]


def v_prediction_mark() -> dict[str, Tensor]:
    return {"output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.tensor([-1.0, 1.0])}


def seconds_embedders() -> dict[str, Tensor]:
    from comfy.ldm.audio.embedders import NumberConditioner

    generator = torch.Generator().manual_seed(7)
    weights = NumberConditioner(768, min_val=0, max_val=512).state_dict()
    return {
        f"conditioner.conditioners.{name}.{key}": torch.randn(value.shape, generator=generator)
        for name in ("seconds_start", "seconds_total")
        for key, value in weights.items()
    }


def ids(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(0, 100, shape, generator=generator)


def padding(generator: torch.Generator) -> Tensor:
    """Return the mask of a text that leaves some of its tokens unused."""
    mask = torch.ones(1, TOKENS, dtype=torch.long)
    mask[:, int(torch.randint(TOKENS // 2, TOKENS, (), generator=generator)) :] = 0
    return mask


def no_padding(generator: torch.Generator) -> Tensor:
    return torch.ones(1, TOKENS, dtype=torch.long)


SD2 = {**UNET, "model_channels": 64, "use_linear_in_transformer": True}
HUNYUAN_VIDEO = {
    **{key: value for key, value in FLUX.items() if key != "txt_ids_dims"}, "image_model": "hunyuan_video",
    "patch_size": [1, 2, 2], "theta": 256, "guidance_embed": True, "byt5": False, "meanflow": False,
    "use_cond_type_embedding": False, "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
LUMINA = {
    "image_model": "lumina2", "in_channels": 16, "dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2,
    "n_kv_heads": 1, "multiple_of": 32, "ffn_dim_multiplier": 1.0, "qk_norm": True, "cap_feat_dim": 32,
    "axes_dims": [4, 6, 6], "axes_lens": [300, 512, 512],
}  # fmt: skip
# fmt: off
FAMILIES = {family.config: family for family in [
    Family("SD1.x (eps)", "SD15", (4, 8, 8), {**UNET, "model_channels": 64}),
    Family("SD2.x (v prediction)", "SD20", (4, 8, 8), SD2, weights=v_prediction_mark),
    Family(
        "SDXL (pooled output, sizes)", "SDXL", (4, 8, 8),
        {**SD2, **SDXL_SIZES},
        text={"pooled_output": (1, 32)},
        values={"width": 640, "height": 320, "crop_w": 8, "crop_h": 16, "target_width": 512, "target_height": 256},
    ),
    Family(
        "SDXL refiner (aesthetic score)", "SDXLRefiner", (4, 8, 8),
        {**SD2, "adm_in_channels": 5 * 256 + 32, "num_classes": "sequential"},
        text={"pooled_output": (1, 32)}, values={"width": 640, "height": 320, "aesthetic_score": 4.0},
    ),
    Family(
        "Stable Cascade stage C", "Stable_Cascade_C", (16, 8, 8),
        {
            "stable_cascade_stage": "c", "c_cond": 64, "c_hidden": [64, 64], "nhead": [1, 1],
            "blocks": [[1, 1], [1, 1]], "c_clip_text": 32, "c_clip_text_pooled": 32,
        },
        text={"pooled_output": (1, 1, 32)},
    ),
    Family(
        "PixArt", "PixArtAlpha", (4, 32, 48),
        {
            "image_model": "pixart_alpha", "hidden_size": 48, "depth": 1, "num_heads": 2, "caption_channels": 32,
            "pe_interpolation": 1, "micro_condition": True,
        },
        values={"width": 640, "height": 320},
    ),
    Family(
        "AuraFlow", "AuraFlow", (4, 8, 8),
        {"dim": 32, "n_layers": 2, "n_double_layers": 1, "n_heads": 2, "global_conddim": 32, "cond_seq_dim": 32},
    ),
    Family(
        "SD3 (rectified flow, MMDiT)", "SD3", (16, 8, 8),
        {
            "input_size": None, "patch_size": 2, "in_channels": 16, "out_channels": 16, "depth": 2,
            "adm_in_channels": 32, "context_embedder_config": {"target": "torch.nn.Linear",
            "params": {"in_features": 32, "out_features": 128}}, "num_patches": 64, "pos_embed_max_size": 8,
            "pos_embed_scaling_factor": None, "qk_norm": "rms",
        },
        text={"pooled_output": (1, 32)},
    ),
    Family(
        "Flux (guidance, cfg 1)", "Flux", (16, 8, 8),
        {**FLUX, "guidance_embed": True},
        text={"pooled_output": (1, 32)}, values={"guidance": 2.0}, cfg=1.0,
    ),
    Family(
        "Flux 2 (guidance, cfg 1)", "Flux2", (128, 6, 6),
        {**FLUX2, "guidance_embed": True},
        values={"guidance": 2.0}, cfg=1.0,
    ),
    Family("Chroma", "Chroma", (16, 8, 8), CHROMA),
    Family(
        "Qwen-Image", "QwenImage", (16, 1, 8, 8),
        {
            "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 1,
            "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32,
            "axes_dims_rope": (4, 6, 6),
        },
    ),
    Family("Lumina 2", "Lumina2", (16, 8, 8), LUMINA),
    Family(
        "Z-Image (cfg 1)", "ZImage", (16, 8, 8),
        {
            **LUMINA, "dim": 256, "n_heads": 16, "z_image_modulation": True, "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
        text={"attention_mask": no_padding}, cfg=1.0,
    ),
    Family(
        "HiDream", "HiDream", (16, 8, 8),
        {
            "image_model": "hidream", "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 1,
            "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2, "caption_channels": [32, 32],
            "text_emb_dim": 32, "axes_dims_rope": (8, 4, 4), "max_resolution": (16, 16), "llama_layers": [0, 1],
        },
        text={"pooled_output": (1, 32), "conditioning_llama3": (1, 2, TOKENS, 32)},
    ),
    Family(
        "HunyuanImage 2.1", "HunyuanImage21", (64, 8, 8),
        {
            **HUNYUAN_VIDEO, "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [8, 8],
            "vec_in_dim": None, "byt5": False,
        },
        values={"guidance": 3.0},
    ),
    Family("Wan (5-D video latents)", "WAN21_T2V", (16, 3, 8, 8), WAN),
    Family("Wan 2.2 5B (5-D video latents)", "WAN22_T2V", (48, 3, 8, 8), {**WAN, "in_dim": 48, "out_dim": 48}),
    Family(
        "HunyuanVideo (5-D video latents)", "HunyuanVideo", (16, 3, 8, 8),
        HUNYUAN_VIDEO,
        text={"pooled_output": (1, 32)}, values={"guidance": 3.0}, cfg=1.0,
    ),
    Family(
        "LTXV (5-D video latents)", "LTXV", (128, 3, 6, 6),
        {
            "image_model": "ltxv", "cross_attention_dim": 32, "attention_head_dim": 16, "num_attention_heads": 2,
            "caption_channels": 32, "num_layers": 1,
        },
        text={"attention_mask": padding}, values={"frame_rate": 12},
    ),
    Family(
        "Mochi (5-D video latents)", "GenmoMochi", (12, 3, 8, 8),
        {
            "image_model": "mochi_preview", "in_channels": 12, "depth": 2, "num_heads": 2, "hidden_size_x": 32,
            "hidden_size_y": 32, "mlp_ratio_x": 384.0, "mlp_ratio_y": 8.0, "learn_sigma": False, "use_t5": True,
            "t5_feat_dim": 32, "t5_token_length": TOKENS, "qk_norm": True, "qkv_bias": False,
            "posenc_preserve_area": True, "timestep_scale": 1000.0,
        },
        text={"attention_mask": padding},
    ),
    Family(
        "Cosmos (5-D video latents)", "CosmosT2V", (16, 3, 8, 8),
        {
            "image_model": "cosmos", "max_img_h": 16, "max_img_w": 16, "max_frames": 8, "in_channels": 16,
            "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 32, "num_blocks": 1,
            "num_heads": 2, "mlp_ratio": 2.0, "crossattn_emb_channels": 32, "pos_emb_cls": "rope3d",
            "block_x_format": "THWBD", "affline_emb_norm": True, "use_adaln_lora": True, "adaln_lora_dim": 16,
            "extra_per_block_abs_pos_emb": True, "extra_per_block_abs_pos_emb_type": "learnable",
        },
    ),
    Family(
        "Cosmos Predict 2 (5-D latents)", "CosmosT2IPredict2", (16, 1, 8, 8),
        {
            "image_model": "cosmos_predict2", "max_img_h": 16, "max_img_w": 16, "max_frames": 8, "in_channels": 16,
            "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 32, "num_blocks": 1,
            "num_heads": 1, "mlp_ratio": 2.0, "crossattn_emb_channels": 32, "pos_emb_cls": "rope3d",
            "use_adaln_lora": True, "adaln_lora_dim": 16, "rope_enable_fps_modulation": False,
        },
    ),
    Family(
        "CogVideoX (5-D video latents)", "CogVideoX_T2V", (16, 3, 8, 8),
        {
            "image_model": "cogvideox", "num_attention_heads": 1, "attention_head_dim": 64, "time_embed_dim": 32,
            "text_embed_dim": 32, "num_layers": 1, "max_text_seq_length": TOKENS,
            "use_rotary_positional_embeddings": True,
        },
    ),
    Family(
        "Kandinsky 5 (5-D video latents)", "Kandinsky5", (16, 3, 8, 8),
        {
            "image_model": "kandinsky5", "in_visual_dim": 16, "in_text_dim": 32, "in_text_dim2": 32, "time_dim": 32,
            "model_dim": 32, "ff_dim": 32, "visual_embed_dim": 132, "num_text_blocks": 1, "num_visual_blocks": 1,
            "axes_dims": (4, 6, 6),
        },
        text={"pooled_output": (1, 32)},
    ),
    Family(
        "LTXAV (packed video and sound)", "LTXAV", [(128, 3, 6, 6), (8, 10, 16)],
        LTXAV,
        width=64, values={"frame_rate": 12},
    ),
    Family(
        "MiniMax H3 (packed video and sound)", "MiniMaxH3", [(24, 3, 6, 6), (32, 2, 10)],
        {
            "image_model": "minimax_h3", "hidden_size": 32, "num_layers": 1, "token_refiner_num_layers": 1,
            "num_attention_heads": 1, "attention_head_dim": 128, "ffn_hidden_size": 32, "text_dim": 48,
            "time_embed_hidden_size": 32, "time_embed_dim": 32,
        },
        width=48, batch=1,
    ),
    Family(
        "Stable Audio (3-D sound latents)", "StableAudio", (64, 40),
        STABLE_AUDIO,
        width=768, values={"seconds_start": 100, "seconds_total": 400}, weights=seconds_embedders,
    ),
    Family(
        "ACE-Step (4-D sound latents, lyrics)", "ACEStep", (8, 16, 20),
        {
            "audio_model": "ace", "num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2, "mlp_ratio": 2.0,
            "text_embedding_dim": 32, "lyric_encoder_vocab_size": 100, "lyric_hidden_size": 1024,
        },
        text={"conditioning_lyrics": ids(1, 8)},
    ),
    Family("Chroma Radiance (pixels)", "ChromaRadiance", (3, 16, 16), chroma_radiance),
    Family(
        "PixelDiT (pixels)", "PixelDiTT2I", (3, 16, 16),
        {
            "image_model": "pixeldit_t2i", "num_groups": 2, "hidden_size": 32, "pixel_hidden_size": 8,
            "pixel_attn_hidden_size": 16, "pixel_num_groups": 2, "patch_depth": 1, "pixel_depth": 1, "patch_size": 4,
            "txt_embed_dim": 32, "txt_max_length": TOKENS,
        },
    ),
    Family(
        "Z-Image (pixels)", "ZImagePixelSpace", (3, 16, 16),
        {
            **LUMINA, "image_model": "zimage_pixel", "patch_size": 4, "in_channels": 3, "decoder_hidden_size": 16,
            "decoder_num_res_blocks": 1,
        },
    ),
    Family(
        "HiDream-O1 (pixels)", "HiDreamO1", (3, 64, 96),
        {
            "image_model": "hidream_o1", "text_config_overrides": {"hidden_size": 32, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1},
            "vision_config_overrides": {"hidden_size": 16, "num_heads": 1, "intermediate_size": 16, "depth": 1,
            "num_position_embeddings": 16, "deepstack_visual_indexes": ()},
        },
        text={"text_input_ids": ids(1, TOKENS)},
    ),
    Family(
        "SeedVR2 (video restoration)", "SeedVR2", (16, 3, 8, 8),
        {
            "image_model": "seedvr2", "norm_eps": 1e-5, "num_layers": 2, "mlp_type": "swiglu", "vid_dim": 128,
            "heads": 1, "mm_layers": 1, "vid_out_norm": True,
        },
        width=5120, images={"condition": (1, 17, 3, 8, 8)},
    ),
    Family("Lotus (image to image)", "LotusD", (4, 8, 8), {**SD2, "adm_in_channels": 4}),
    Family(
        "SVD (image to video, a concept is another image)", "SVD_img2vid", (4, 8, 8),
        {
            **SD2, "in_channels": 8, "adm_in_channels": 768, "num_classes": "sequential",
            "use_temporal_attention": True, "use_temporal_resblock": True, "extra_ff_mix_layer": True,
            "merge_strategy": "learned_with_images", "merge_factor": 0.0, "video_kernel_size": [3, 1, 1],
        },
        images={"concat_latent_image": (1, 4, 8, 8)},
        values={"fps": 9, "motion_bucket_id": 60, "augmentation_level": 0.2},
    ),
    Family(
        "HunyuanDiT (v prediction, two text encoders)", "HunyuanDiT", (4, 8, 8),
        {
            "image_model": "hydit", "hidden_size": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 1.0,
            "text_states_dim": 32, "text_states_dim_t5": 32, "text_len": TOKENS, "text_len_t5": TOKENS,
        },
        text={"attention_mask": padding, "conditioning_mt5xl": (1, TOKENS, 32), "attention_mask_mt5xl": padding},
    ),
    Family(
        "OmniGen 2", "Omnigen2", (16, 8, 8),
        {
            "image_model": "omnigen2", "hidden_size": 32, "num_layers": 1, "num_refiner_layers": 1,
            "num_attention_heads": 2, "num_kv_heads": 1, "multiple_of": 32, "axes_dim_rope": (4, 6, 6),
            "axes_lens": (64, 64, 64), "text_feat_dim": 32,
        },
        text={"attention_mask": no_padding},
    ),
]}
# fmt: on


class Sampled:
    """A family's model, and ways to sample with it."""

    def __init__(self, host: Host, family: Family) -> None:
        unet = family.unet() if callable(family.unet) else family.unet
        self.model = family_model(family.config, unet, weights=family.weights())
        # Buffers that the host leaves to the checkpoint hold whatever the memory held.
        generator = torch.Generator().manual_seed(2)
        for name, buffer in self.model.model.diffusion_model.named_buffers():
            if name.split(".")[-1] in FROM_CHECKPOINT:
                buffer.copy_(torch.rand(buffer.shape, generator=generator))
        self.host = host
        self.family = family

    def conditioning(self, seed: int, **values: Any) -> list[Any]:
        """Return a CONDITIONING with random outputs of the family's text encoders."""
        generator = torch.Generator().manual_seed(1000 + seed)

        def draw(what: Any) -> Tensor:
            return what(generator) if callable(what) else torch.randn(what, generator=generator)

        embedding = draw((1, TOKENS, self.family.width))
        # The host's encoders give a pooled output with every text, None where they have none.
        text = {"pooled_output": None} | {key: draw(what) for key, what in self.family.text.items()}
        return [[embedding, text | values]]

    def prompt(self, seed: int, **values: Any) -> list[Any]:
        """Return what a prompt of this family holds: a text, and the images that every prompt needs."""
        generator = torch.Generator().manual_seed(7)
        images = {key: torch.randn(shape, generator=generator) for key, shape in self.family.images.items()}
        return self.conditioning(seed, **images, **values)

    def latent(self, scale: float = 0.0) -> dict[str, Any]:
        import comfy.nested_tensor

        generator = torch.Generator().manual_seed(5)
        parts = [scale * torch.randn((self.family.batch, *shape), generator=generator) for shape in self.family.shapes]
        return {"samples": parts[0] if len(parts) == 1 else comfy.nested_tensor.NestedTensor(parts)}

    def concept(self, seed: int = OTHER, instead_of: int | None = None, **changes: Any) -> Any:
        other = None if instead_of is None else self.conditioning(instead_of)
        return self.host.concept(self.conditioning(seed), other, **{"threshold": THRESHOLD, **changes})

    def _arguments(self, changes: dict[str, Any]) -> dict[str, Any]:
        compared = changes.pop("compared", NEGATIVE)
        positive, negative = (self.family.values if compared == seed else {} for seed in (POSITIVE, NEGATIVE))
        arguments = {
            "positive": self.prompt(POSITIVE, **positive),
            "negative": self.prompt(NEGATIVE, **negative),
            "cfg": self.family.cfg,
            "latent": self.latent(),
            "steps": 1,
            "denoise": 0.5,
            "scheduler": "simple",
        }
        return {"model": self.model, **arguments, **changes}

    def plain(self, **changes: Any) -> list[Tensor]:
        """Sample with the host's KSampler; return the parts of the latents.

        The prompt `compared` has the family's values.
        """
        return parts_of(self.host.sample(**self._arguments(changes)))

    def sega(self, *concepts: Any, **changes: Any) -> list[Tensor]:
        """Sample with SEGASampler; return the parts of the latents."""
        return parts_of(self.host.sega(*concepts, **self._arguments(changes)))

    def replayed(self, latent: dict[str, Any], concepts: Sequence[Any]) -> list[list[Tensor]]:
        """Invert latents, and sample them with each of the concepts; return the parts of each."""
        prompts = self.prompt(POSITIVE), self.prompt(NEGATIVE, **self.family.values)
        nodes, cfg = self.host.pack.nodes, self.family.cfg
        schedule = (3, cfg, "euler_ancestral", "simple")
        found, sampler, sigmas = nodes.SEGAInvert.execute(self.model, 3, *schedule, *prompts, latent, 0.0).args
        given = (True, 0, cfg, *prompts, sampler, sigmas, found)
        made = (nodes.SEGASamplerCustom.execute(self.model, *given, concepts=concept) for concept in concepts)
        return [parts_of(out[0]["samples"]) for out in made]

    def x0(self, seed: int, **values: Any) -> list[Tensor]:
        """Return the model's own estimate for a text, from one step of the host's KSampler without guidance."""
        return self.inside(self.plain(positive=self.prompt(seed, **values), cfg=1.0))

    def inside(self, parts: list[Tensor]) -> list[Tensor]:
        return [self.model.model.process_latent_in(part.clone()) for part in parts]

    @property
    def sigma(self) -> float:
        """The noise level of the one step that half a denoising has."""
        sampling = self.model.get_model_object("model_sampling")
        return float(self.host.samplers.calculate_sigmas(sampling, "simple", 2)[1])


def parts_of(samples: Any) -> list[Tensor]:
    return list(samples.unbind()) if samples.is_nested else [samples]


@once
def sampled(host: Host, name: str) -> Sampled:
    """Return a family's model, the same one each time; skip where this host has none."""
    import comfy.supported_models
    import comfyui_version

    if not hasattr(comfy.supported_models, name):
        pytest.skip(f"ComfyUI {comfyui_version.__version__} has no {name}")
    return Sampled(host, FAMILIES[name])
