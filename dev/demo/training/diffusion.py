"""Train the demo model's UNet and text model, together, on the latents of drawn faces."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed, multiprocessing, nn

from .captions import Captions
from .codec import load_encoder
from .drawings import HELD_OUT, TrainingSet
from .network import Network

# Of all processes together.
BATCH = 16
LEARNING_RATE = 8e-4
WARMUP = 200
# From this share of the time on, the rate falls.
FALLS_FROM = 0.5
EMA_DECAY = 0.9995
# What a face looks like is decided at these timesteps: half of each batch is drawn from them.
DECISIVE = (100, 600)
CHECKPOINT_SECONDS = 120


def train(work: Path, minutes: float) -> dict[str, Any]:
    """Train for `minutes` of wall clock, and go on from the checkpoint of a training that was broken off.

    When it is done, the averaged weights are in diffusion.safetensors.
    """
    _make_latents(work)
    # Each process has one thread: small layers leave a second one idle.
    processes = min(4, os.cpu_count() or 1)
    with TemporaryDirectory() as folder:
        multiprocessing.spawn(_process, (processes, Path(folder, "store"), work, minutes), processes)
    state = torch.load(work / "diffusion.pt")
    save_file(state["average"], work / "diffusion.safetensors")
    parameters = sum(value.numel() for value in state["network"].values())
    loss = round(state["loss"], 4)
    return {"parameters": parameters, "batch": BATCH, "steps": state["step"], "minutes": minutes, "loss": loss}


def _make_latents(work: Path) -> None:
    """Write the latents (N, C, h, w) of all drawings, in fp16."""
    file = work / "latents.pt"
    if not file.exists():
        drawings, encoder = TrainingSet(work), load_encoder(work)
        parts = torch.arange(len(drawings)).split(500)
        torch.save(torch.cat([encoder(drawings.batch(rows)).half() for rows in parts]), file)


def _process(rank: int, processes: int, store: Path, work: Path, minutes: float) -> None:
    """Train on one process's share of each batch; the first one keeps the checkpoints."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=processes)
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = {key: value.clone() for key, value in network.state_dict().items()}
    checkpoint = work / "diffusion.pt"
    step, running, before = 0, 0.0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average, step, running, before = saved["average"], saved["step"], saved["loss"], saved["seconds"]
    seed = step * processes + rank
    torch.manual_seed(seed)
    captions, attributes, latents = Captions(seed), TrainingSet(work).attributes, torch.load(work / "latents.pt")
    share = BATCH // processes
    start = kept = time.monotonic()
    progress = before / 60 / minutes
    while progress < 1:
        step += 1
        falling = 0.01 + 0.99 * (1 - progress) / (1 - FALLS_FROM)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1, step / WARMUP, falling)
        rows = torch.randint(HELD_OUT, len(latents), (share,))
        loss = network.loss(latents[rows].float(), captions.batch(attributes[rows]), _timesteps(share))
        network.zero_grad(set_to_none=True)
        loss.backward()
        mean_loss, seconds = _average(network, loss.item(), before + time.monotonic() - start)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        progress = seconds / 60 / minutes
        decay = min(EMA_DECAY, 1 - 1 / (1 + step / 10))
        for key, value in network.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        running += (mean_loss - running) * max(0.005, 1 / step)
        if rank == 0 and step % 100 == 0:
            print(f"diffusion step {step}  loss {running:.4f}  {progress:.0%}", flush=True)
        if rank == 0 and (progress >= 1 or time.monotonic() - kept > CHECKPOINT_SECONDS):
            kept = time.monotonic()
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save({**state, "step": step, "loss": running, "seconds": seconds}, work / "diffusion.new")
            (work / "diffusion.new").replace(checkpoint)
    distributed.destroy_process_group()


def _timesteps(count: int) -> Tensor:
    """Draw timesteps: half over all, half over the decisive ones, each evenly."""
    half = count // 2
    spread = (torch.arange(half) + torch.rand(2, half)) / half
    first, last = DECISIVE
    return torch.cat([spread[0] * 1000, first + spread[1] * (last - first)]).long()


def _average(network: Network, *numbers: float) -> list[float]:
    """Average the gradients, and some numbers, over the processes; return the numbers."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor(numbers)])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    *parts, means = flat.split([*(gradient.numel() for gradient in gradients), len(numbers)])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return means.tolist()
