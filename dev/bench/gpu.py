"""The core on a GPU: its share of a step of an SDXL-shaped network, and whether it ever waits for the GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from .maths import SIZES, STEPS, estimates_of, guide, new_run
from .timing import in_turns
from .twins import TOKENS, fill

CONCEPTS, ROUNDS = 4, 5
SPAN = "the core"
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPY = "Memcpy DtoH"


def measure(device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each of the two."""
    what = f"{CONCEPTS} concepts at 1024x1024, fp16"
    share = f"{share_of_a_step(device):.2%}"
    return [
        {"what": f"share of a step of an SDXL-shaped network, {what}", "figure": share},
        {"what": f"copies to the CPU and waits in a run, {what}", "figure": waits(device)},
    ]


@torch.inference_mode()
def share_of_a_step(device: torch.device) -> float:
    """Return the core's share of a step with four concepts at 1024x1024, in fp16."""
    estimates = estimates_of(SIZES["SDXL"], CONCEPTS, torch.float16, device)
    batch = len(estimates)
    t = torch.full((batch,), 500.0, device=device)
    context = torch.randn((batch, TOKENS, 2048), device=device, dtype=torch.float16)
    y = torch.randn((batch, 2816), device=device, dtype=torch.float16)
    step = partial(_sdxl(device), estimates, t, context=context, y=y, transformer_options={})

    def core() -> None:
        guide(new_run(CONCEPTS), estimates)

    step()
    core()
    return in_turns(core, step, ROUNDS)["ratio"] / STEPS


def waits(device: torch.device) -> int:
    """Return how often the core copies to the host or waits for the GPU in a run, as the profiler sees it."""
    estimates = estimates_of(SIZES["SDXL"], CONCEPTS, torch.float16, device)
    with torch.inference_mode():
        guide(new_run(CONCEPTS), estimates)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiler:
            with record_function(SPAN):
                guide(new_run(CONCEPTS), estimates)
            torch.cuda.synchronize()
    events = profiler.profiler.kineto_results.events()
    (span,) = (event for event in events if event.name() == SPAN and event.device_type().name == "CPU")
    end = span.start_ns() + span.duration_ns()
    copies = sum(event.name().startswith(COPY) for event in events)
    return copies + sum(event.name() in WAITS and span.start_ns() <= event.start_ns() < end for event in events)


def _sdxl(device: torch.device) -> Any:
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    inputs = {"image_size": 32, "in_channels": 4, "out_channels": 4, "context_dim": 2048, "adm_in_channels": 2816}
    sizes = {"model_channels": 320, "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "num_head_channels": 64}
    depths = {"transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10}
    depths["transformer_depth_output"] = [0, 0, 0, 2, 2, 2, 10, 10, 10]
    kind = {"use_spatial_transformer": True, "use_linear_in_transformer": True, "num_classes": "sequential"}
    made = {"dtype": torch.float16, "device": device, "operations": comfy.ops.disable_weight_init}
    network = UNetModel(**inputs, **sizes, **depths, **kind, **made, legacy=False)
    fill(network.requires_grad_(False))
    return network.eval()
