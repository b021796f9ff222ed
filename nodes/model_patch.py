"""SEGAModelPatch: semantic guidance for any sampler or guider."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .guidance_inputs import guidance_inputs, guided_model


class SEGAModelPatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGAModelPatch",
            display_name="SEGA Model Patch",
            category="sampling/SEGA",
            description="Adds concepts to a model, so that any sampler or guider makes the edit: KSampler (Advanced), "
            "SamplerCustom, SamplerCustomAdvanced.",
            search_aliases=[
                "semantic guidance",
                "edit guidance",
                "concept slider",
                "model patch",
                "LEDITS++",
                "image editing",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model to patch; it is cloned, not changed."),
                *guidance_inputs(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with semantic guidance.")],
        )

    @classmethod
    def execute(cls, model: Any, concepts: Any = None, **settings: Any) -> io.NodeOutput:
        return io.NodeOutput(guided_model("SEGAModelPatch", model, concepts, **settings))
