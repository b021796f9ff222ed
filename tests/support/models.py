"""Tiny models with random weights, of the families that several tests use."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from support.pipeline import fill_with_noise

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
    from comfy.supported_models_base import BASE

CPU = torch.device("cpu")
UNET: dict[str, Any] = {
    "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32, "channel_mult": [1, 2],
    "num_res_blocks": [1, 1], "num_heads": 4, "num_head_channels": -1, "transformer_depth": [1, 1],
    "transformer_depth_middle": 1, "transformer_depth_output": [1, 1, 1, 1], "use_spatial_transformer": True,
    "use_linear_in_transformer": False, "context_dim": 32, "legacy": False, "use_temporal_attention": False,
    "use_temporal_resblock": False, "adm_in_channels": None,
}  # fmt: skip
# The pooled text and six embedded sizes of 256 each.
SDXL_SIZES = {"adm_in_channels": 32 + 6 * 256, "num_classes": "sequential"}
FLUX: dict[str, Any] = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": 32,
    "context_in_dim": 32, "hidden_size": 32, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6], "theta": 10000, "qkv_bias": True, "txt_ids_dims": [],
}  # fmt: skip
FLUX2: dict[str, Any] = {
    **FLUX, "image_model": "flux2", "in_channels": 128, "out_channels": 128, "patch_size": 1, "vec_in_dim": None,
    "axes_dim": [4, 4, 4, 4], "theta": 2000, "qkv_bias": False, "global_modulation": True, "mlp_silu_act": True,
    "ops_bias": False, "default_ref_method": "index", "txt_ids_dims": [3],
}  # fmt: skip
CHROMA: dict[str, Any] = {
    **FLUX, "image_model": "chroma", "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 32,
    "hidden_dim": 32, "n_layers": 1,
}  # fmt: skip
WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "dim": 48, "out_dim": 16, "num_heads": 4, "ffn_dim": 64,
    "num_layers": 1, "patch_size": (1, 2, 2), "freq_dim": 32, "window_size": (-1, -1), "qk_norm": True,
    "cross_attn_norm": True, "eps": 1e-6, "text_dim": 32, "in_dim": 16,
}  # fmt: skip
LTXAV = {
    "image_model": "ltxav", "cross_attention_dim": 32, "audio_cross_attention_dim": 32, "attention_head_dim": 16,
    "audio_attention_head_dim": 16, "num_attention_heads": 2, "audio_num_attention_heads": 2, "caption_channels": 32,
    "num_layers": 1, "connector_attention_head_dim": 16, "connector_num_attention_heads": 2,
}  # fmt: skip
STABLE_AUDIO = {
    "audio_model": "dit1.0", "embed_dim": 64, "global_cond_dim": 1536, "depth": 1, "num_heads": 1,
    "project_cond_tokens": True,
}  # fmt: skip


def chroma_radiance() -> dict[str, Any]:
    from comfy.ldm.chroma_radiance.model import ChromaRadianceParams

    config = {
        **CHROMA,
        "image_model": "chroma_radiance",
        "in_channels": 3,
        "out_channels": 3,
        "patch_size": 4,
        "nerf_hidden_size": 16,
        "nerf_mlp_ratio": 2,
        "nerf_depth": 1,
        "nerf_max_freqs": 4,
        "nerf_tile_size": 512,
        "nerf_final_head_type": "conv",
        "nerf_embedder_dtype": torch.float32,
        "use_x0": False,
        "use_sequential_txt_ids": False,
    }
    # The class takes its own parameters alone, and releases add some.
    known = {"image_model", *ChromaRadianceParams.__dataclass_fields__}
    return {key: value for key, value in config.items() if key in known}


def tiny_config(unet: dict[str, Any], latent: str = "SD15", **sampling: Any) -> BASE:
    """Return the host's configuration of a network for latents of this format."""
    import comfy.latent_formats
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_extra_config = {}  # noqa: RUF012
        latent_format = getattr(comfy.latent_formats, latent)

        def inpaint_model(self) -> bool:
            return False

    config = Config(copy.deepcopy(unet))
    config.sampling_settings = sampling
    config.set_inference_dtype(torch.float32, None)
    return config


def model_of(base: torch.nn.Module, seed: int = 1) -> ModelPatcher:
    """Fill one of the host's models, or a network, with noise; return its MODEL."""
    import comfy.model_patcher

    fill_with_noise(getattr(base, "diffusion_model", base), seed)
    return comfy.model_patcher.ModelPatcher(base.eval(), load_device=CPU, offload_device=CPU)


def family_model(
    name: str, unet: dict[str, Any], seed: int = 1, weights: dict[str, torch.Tensor] | None = None
) -> ModelPatcher:
    """Return a MODEL of a class in comfy.supported_models; `weights` are what the class reads of a checkpoint."""
    import comfy.supported_models

    config = getattr(comfy.supported_models, name)(copy.deepcopy(unet))
    config.set_inference_dtype(torch.float32, None)
    return model_of(config.get_model(weights or {}, ""), seed)


def sdxl_model(seed: int = 1, **changes: Any) -> ModelPatcher:
    """Return a MODEL with SDXL's sizes and pooled output."""
    import comfy.model_base

    return model_of(comfy.model_base.SDXL(tiny_config({**UNET, **SDXL_SIZES, **changes})), seed)


def controlnet(seed: int) -> Any:
    """Return a CONTROL_NET for UNET."""
    import comfy.cldm.cldm
    import comfy.controlnet

    network = comfy.cldm.cldm.ControlNet(hint_channels=3, **tiny_config(UNET).unet_config)
    fill_with_noise(network, seed)
    return comfy.controlnet.ControlNet(network.eval(), load_device=CPU)


def demo_clip(folder: Path | None = None) -> Any:
    """Return a CLIP of the demo's classes; the embedding `both` in the folder stands for its words "hat glasses"."""
    import comfy.sd
    import comfy.supported_models_base

    from dev.demo import model

    target = comfy.supported_models_base.ClipTarget(model.FaceSD1Tokenizer, model.FaceSD1Clip)
    clip = comfy.sd.CLIP(target, embedding_directory=folder and [str(folder)])
    fill_with_noise(clip.cond_stage_model, 4)
    if folder:
        table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight
        tokens = [token for token, _ in clip.tokenize("hat glasses")["l"][0][1:3]]
        save_file({"clip_l": table[tokens].detach().clone()}, folder / "both.safetensors")
    return clip
