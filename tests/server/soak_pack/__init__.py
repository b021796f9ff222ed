"""A node pack for the soak test: a second model, and what the server's process keeps in memory."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections import Counter
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import psutil
import torch
from comfy_api.latest import ComfyExtension, io


class SoakModel(io.ComfyNode):
    """A flow model of random weights, in the shape of the demo model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        outputs = [io.Model.Output(), io.Clip.Output(), io.Vae.Output()]
        return io.Schema(node_id="SoakModel", category="tests", inputs=[], outputs=outputs)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        (demo,) = (module for name, module in list(sys.modules.items()) if name.endswith("sega_demo.model"))
        model, clip, vae = demo.load()
        base = model.model
        base.model_config.sampling_settings = {"shift": 1.0}
        base.model_sampling = comfy.model_base.model_sampling(base.model_config, comfy.model_base.ModelType.FLOW)
        generator = torch.Generator().manual_seed(1)
        for weights in base.diffusion_model.parameters():
            weights.mul_(1 + 0.1 * torch.randn(weights.shape, generator=generator))
        return io.NodeOutput(model, clip, vae)


class SoakMemory(io.ComfyNode):
    """The process's memory, its tensors and this project's objects, by class, and its open files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Int.Input("count")]
        return io.Schema(node_id="SoakMemory", category="tests", inputs=inputs, outputs=[], is_output_node=True)

    @classmethod
    def execute(cls, count: int) -> io.NodeOutput:
        gc.collect()
        if sys.platform == "linux":
            # What the C library keeps for later is no leak.
            ctypes.CDLL(None).malloc_trim(0)
        kept: Counter[str] = Counter()
        for thing in gc.get_objects():
            kind: Any = type(thing)
            if issubclass(kind, torch.Tensor) or "semantic-guidance" in str(kind.__module__):
                kept[kind.__name__] += 1
        process = psutil.Process()
        memory = {"bytes": process.memory_info().rss, "objects": kept, "files": len(process.open_files())}
        return io.NodeOutput(ui={"memory": [memory]})


class SoakExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SoakModel, SoakMemory]


async def comfy_entrypoint() -> ComfyExtension:
    return SoakExtension()
