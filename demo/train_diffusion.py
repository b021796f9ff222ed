"""Train the demo model's UNet and text model on the latents of drawn faces.

Usage: python -m demo.train_diffusion WORK_FOLDER --minutes 80   (with ComfyUI on PYTHONPATH)
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import comfy.options

comfy.options.enable_args_parsing(False)
from comfy.cli_args import args as host_args  # noqa: E402

host_args.cpu = True
host_args.use_pytorch_cross_attention = True

import comfy.clip_model  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from . import faces, model  # noqa: E402
from .codec import Encoder  # noqa: E402

BATCH = 32
PEAK_LEARNING_RATE = 1e-3
WARMUP = 200
EMA_DECAY = 0.9995


def _out_of_place_layer(self: nn.Module, x: Tensor, mask: Tensor | None = None, optimized_attention=None) -> Tensor:
    """The host's CLIP layer adds in place, which autograd refuses."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


def encode_images(encoder: Encoder, images: np.ndarray) -> Tensor:
    """Return the latents of uint8 images (N, H, W, 3) as fp16."""
    out = []
    for start in range(0, len(images), 500):
        batch = torch.from_numpy(images[start : start + 500].copy()).permute(0, 3, 1, 2)
        out.append(encoder(batch.float() / 127.5 - 1).half())
    return torch.cat(out)


class Captions:
    """Random captions as token ids, in the layout of the host's tokenizer."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.ids = model.byte_pairs()[0]

    def tokens(self, text: str) -> list[int]:
        words = text.replace(",", " ,").split()
        ids = [self.ids[model.START], *(self.ids[word + "</w>"] for word in words)]
        return ids + [self.ids[model.END]] * (model.MAX_TOKENS - len(ids))

    def batch(self, attributes: Tensor) -> Tensor:
        rows = [self.tokens(faces.caption(faces.Face(*row), self.rng)) for row in attributes.tolist()]
        return torch.tensor(rows)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        base = model.build_unet()
        self.unet = base.diffusion_model
        self.text = model.FaceClip(dtype=torch.float32).transformer
        self.requires_grad_(True)
        model.initialise(self)
        with torch.no_grad():
            for name, parameter in self.unet.named_parameters():
                if "out_layers.3" in name or name.startswith("out.2"):
                    parameter.zero_()
                elif "proj_out" in name:
                    parameter.mul_(0.2)
        self.register_buffer("sigmas", base.model_sampling.sigmas.float(), persistent=False)

    def loss(self, latents: Tensor, tokens: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The v-prediction loss per sample."""
        sigma = self.sigmas[t].view(-1, 1, 1, 1)
        alpha = (1 + sigma**2).rsqrt()
        x = alpha * (latents + sigma * noise)
        target = alpha * noise - alpha * sigma * latents
        context = self.text.text_model(tokens)[0]
        return F.mse_loss(self.unet(x, t.float(), context), target, reduction="none").mean((1, 2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=80)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    comfy.clip_model.CLIPLayer.forward = _out_of_place_layer

    encoder = Encoder()
    encoder.load_state_dict(load_file(options.work / "encoder.safetensors"))
    attributes = torch.from_numpy(np.load(options.work / "attributes.npy")).long()
    latents = encode_images(encoder, np.load(options.work / "images.npy", mmap_mode="r"))
    held_out = 512
    captions = Captions(0)
    tokenizer = model.FaceTokenizer()
    for text in ("", "a face, smiling, glasses", "purple background, ginger hair, hat, dark skin, beard, frowning"):
        expected = [token for token, _ in tokenizer.tokenize_with_weights(text)[0]]
        assert captions.tokens(text) == expected, (captions.tokens(text), expected)

    network = Network()
    average = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    start, step, running, log = time.monotonic(), 0, 0.0, []
    next_save = 120.0

    def save() -> None:
        save_file({k: v.contiguous() for k, v in average.items()}, options.work / "diffusion.safetensors")
        (options.work / "diffusion.json").write_text(json.dumps({"parameters": sum(
            p.numel() for p in network.parameters()), "batch": BATCH, "steps": step,
            "minutes": (time.monotonic() - start) / 60, "log": log}))

    while (progress := (time.monotonic() - start) / 60 / options.minutes) < 1:
        rate = PEAK_LEARNING_RATE * min(1, (step + 1) / WARMUP) * min(1, 0.02 + 1.6 * (1 - progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = torch.randint(held_out, len(latents), (BATCH,))
        # One time per stratum: the loss of a batch is then comparable with the next one's.
        t = ((torch.arange(BATCH) + torch.rand(BATCH)) / BATCH * 1000).long()
        x = latents[rows].float()
        loss = network.loss(x, captions.batch(attributes[rows]), t, torch.randn_like(x)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(EMA_DECAY, 1 - 1 / (1 + step / 10))
        with torch.no_grad():
            for k, v in network.state_dict().items():
                average[k].lerp_(v, 1 - decay)
        running += (loss.item() - running) * max(0.01, 1 / step)
        if step % 100 == 0:
            log.append((step, round(running, 4)))
            print(f"step {step}  loss {running:.4f}  {(time.monotonic() - start) / 60:.1f} min", flush=True)
        if time.monotonic() - start > next_save:
            save()
            next_save += 240
    save()


if __name__ == "__main__":
    main()
