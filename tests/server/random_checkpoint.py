"""Write a checkpoint with SD1.5's shapes and random weights: python random_checkpoint.py FILE (ComfyUI on PYTHONPATH).

The shapes are the host's own. One block of noise is repeated, so that 2 GB take seconds.
"""

from __future__ import annotations

import math
import sys

import comfy.options

comfy.options.enable_args_parsing(False)
from comfy.cli_args import args  # noqa: E402

args.cpu = True

import comfy.ldm.models.autoencoder  # noqa: E402
import comfy.model_detection  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.sd1_clip  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1] * 9 + [0] * 3, "use_spatial_transformer": True, "legacy": False,
    "use_linear_in_transformer": False, "context_dim": 768, "adm_in_channels": None, "use_temporal_attention": False,
    "use_temporal_resblock": False,
}  # fmt: skip
VAE = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
    "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the file's keys, as original SD1.5 checkpoints name them, with their shapes."""
    with torch.device("meta"):
        config = comfy.supported_models.SD15(UNET)
        config.set_inference_dtype(torch.float16, None)
        unet = config.get_model({}, device="meta").diffusion_model
        vae = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=VAE, embed_dim=4)
        clip = comfy.sd1_clip.SDClipModel(device="meta", dtype=torch.float16)
    parts = {
        "model.diffusion_model.": unet.state_dict(),
        "first_stage_model.": vae.state_dict(),
        "cond_stage_model.transformer.": {
            key: value for key, value in clip.transformer.state_dict().items() if "text_projection" not in key
        },
    }
    return {prefix + key: tuple(value.shape) for prefix, part in parts.items() for key, value in part.items()}


def weights(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return weights in fp16: norms keep their input, other weights keep its size, biases are 0."""
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.float16)
    block, count = (NOISE / math.prod(shape[1:]) ** 0.5).half(), math.prod(shape)
    return block.repeat(-(-count // len(block)))[:count].view(shape)


if __name__ == "__main__":
    NOISE = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0))
    save_file({name: weights(name, shape) for name, shape in shapes().items()}, sys.argv[1])
