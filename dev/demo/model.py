"""The demo model on the host's own classes: UNet, sampling, CLIP tokenizer and text model, and a VAE-like codec."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import comfy.clip_model
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import folder_paths
import torch
from safetensors.torch import load_file

from .codec import LATENT_CHANNELS, PATCH, Decoder, Encoder
from .faces import CAPTION_START, NAMED

WEIGHTS = Path(__file__).parent / "faces.safetensors"

WIDTH = 96
MAX_TOKENS = 32

UNET_CONFIG: dict[str, Any] = {
    "image_size": 16,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "model_channels": 64,
    "channel_mult": [1, 2],
    "num_res_blocks": [1, 1],
    "transformer_depth": [0, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 1, 1],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "context_dim": WIDTH,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "adm_in_channels": None,
}

START, END = "<|startoftext|>", "<|endoftext|>"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.-'"


def words() -> list[str]:
    """Return the words that the model knows, in a fixed order."""
    return list(dict.fromkeys(" ".join([CAPTION_START, ",", *NAMED]).split()))


def byte_pairs() -> tuple[dict[str, int], list[str]]:
    """Return the vocabulary and merges of a CLIP tokenizer that keeps each known word whole.

    Any other text falls into fragments that the model reads as commas.
    """
    merges = []
    # The first merge in the list wins, and a short word may be a part of a longer one.
    for word in sorted(words(), key=len, reverse=True):
        symbol = word[0]
        for i, letter in enumerate(word[1:], start=2):
            end = "</w>" if i == len(word) else ""
            merges.append(f"{symbol} {letter}{end}")
            symbol += letter + end
    merges = list(dict.fromkeys(merges))
    tokens = [START, END]
    tokens += [word + "</w>" for word in words()]
    tokens += [*LETTERS, *(letter + "</w>" for letter in LETTERS), *(merge.replace(" ", "") for merge in merges)]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


class FaceTokenizer(comfy.sd1_clip.SDTokenizer):
    """The host's CLIP tokenizer (weights, embeddings and chunks included) with the demo model's small vocabulary."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict | None = None) -> None:
        vocabulary, merges = byte_pairs()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "vocab.json").write_text(json.dumps(vocabulary))
            Path(folder, "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
            config = {
                "tokenizer_class": "CLIPTokenizer",
                "bos_token": START,
                "eos_token": END,
                "unk_token": END,
                "pad_token": END,
            }
            Path(folder, "tokenizer_config.json").write_text(json.dumps(config))
            super().__init__(
                tokenizer_path=folder,
                max_length=MAX_TOKENS,
                embedding_directory=embedding_directory,
                embedding_size=WIDTH,
                embedding_key="clip_l",
                tokenizer_data=tokenizer_data or {},
            )


class FaceSD1Tokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict | None = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=FaceTokenizer)


class FaceTextModel(comfy.clip_model.CLIPTextModel):
    """The host's CLIP text model with an embedding table as small as the vocabulary."""

    def __init__(self, config: dict, dtype: Any, device: Any, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        self.set_input_embeddings(operations.Embedding(config["vocab_size"], WIDTH, dtype=dtype, device=device))


class FaceClip(comfy.sd1_clip.SDClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict | None = None) -> None:
        config = {
            "vocab_size": len(byte_pairs()[0]),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "hidden_act": "quick_gelu",
            "max_position_embeddings": MAX_TOKENS,
            "eos_token_id": 1,
        }
        super().__init__(
            device=device,
            dtype=dtype,
            max_length=MAX_TOKENS,
            textmodel_json_config=config,
            model_class=FaceTextModel,
            special_tokens={"start": 0, "end": 1, "pad": 1},
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class FaceSD1Clip(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict | None = None) -> None:
        super().__init__(device=device, dtype=dtype, model_options=model_options or {}, clip_model=FaceClip)


class FaceLatent(comfy.latent_formats.LatentFormat):
    latent_channels = LATENT_CHANNELS


class FaceModelConfig(comfy.supported_models_base.BASE):
    """A model of the host's SD1.x class with v prediction and small sizes."""

    unet_config: ClassVar[dict[str, Any]] = {}
    unet_extra_config: ClassVar[dict[str, int]] = {"num_heads": 4, "num_head_channels": -1}
    latent_format = FaceLatent
    sampling_settings: ClassVar[dict[str, Any]] = {
        "beta_schedule": "linear",
        "linear_start": 0.00085,
        "linear_end": 0.012,
    }

    def inpaint_model(self) -> bool:
        return False


def build_unet(dtype: torch.dtype = torch.float32) -> comfy.model_base.BaseModel:
    """Return the host's model around its UNet, weights not yet set."""
    # The host pops the transformer depths off these lists.
    config = FaceModelConfig(copy.deepcopy(UNET_CONFIG))
    config.set_inference_dtype(dtype, None)
    return comfy.model_base.BaseModel(config, comfy.model_base.ModelType.V_PREDICTION)


class FaceVAE:
    """The codec with the host's VAE interface: images (B, H, W, 3) in [0, 1], latents (B, 24, H/8, W/8)."""

    latent_channels = LATENT_CHANNELS
    latent_dim = 2
    downscale_ratio = PATCH

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.device = comfy.model_management.vae_device()
        self.encoder, self.decoder = Encoder(), Decoder()
        for name, module in (("encoder", self.encoder), ("decoder", self.decoder)):
            module.load_state_dict(_part(state, name))
            module.to(self.device).requires_grad_(False)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = (size // PATCH * PATCH for size in pixels.shape[1:3])
        image = pixels[:, :height, :width, :3].movedim(-1, 1).to(self.device, torch.float32)
        return self.encoder(image * 2 - 1).to(comfy.model_management.intermediate_device())

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        batches = [self.decoder(part.to(self.device, torch.float32)) for part in latent.split(16)]
        image = (torch.cat(batches).clamp(-1, 1) + 1) / 2
        return image.movedim(1, -1).to(comfy.model_management.intermediate_device())

    def preview_factors(self) -> tuple[list[list[float]], list[float]]:
        """Return the host's latent_rgb_factors (24, 3) and bias (3,): each latent's mean colour."""
        patches = torch.linalg.pinv(self.encoder.components).T
        return patches.unflatten(1, (3, -1)).mean(2).tolist(), self.encoder.mean.unflatten(0, (3, -1)).mean(1).tolist()

    def spacial_compression_encode(self) -> int:
        return PATCH

    def spacial_compression_decode(self) -> int:
        return PATCH


def _part(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = name + "."
    return {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}


def load(file: Path = WEIGHTS) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, FaceVAE]:
    """Return the demo model as the host's MODEL, CLIP and VAE."""
    state = load_file(file)
    base = build_unet()
    base.diffusion_model.load_state_dict(_part(state, "unet"))
    base.eval()
    vae = FaceVAE(state)
    base.latent_format.latent_rgb_factors, base.latent_format.latent_rgb_factors_bias = vae.preview_factors()
    model = comfy.model_patcher.ModelPatcher(
        base,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    target = comfy.supported_models_base.ClipTarget(FaceSD1Tokenizer, FaceSD1Clip)
    clip = comfy.sd.CLIP(target, embedding_directory=folder_paths.get_folder_paths("embeddings"))
    clip.load_sd(_part(state, "text"))
    return model, clip, vae
