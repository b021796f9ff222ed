"""SEGASaveConditioning: an encoded text to a file."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import conditioning_file
from .files import as_result, output_file


class SEGASaveConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGASaveConditioning",
            display_name="SEGA Save Conditioning",
            category="sampling/SEGA",
            description="Saves an encoded text, to use it as a concept without its text encoder.",
            search_aliases=["semantic guidance", "editing prompt embeddings", "save embedding"],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The encoded text. Areas, masks, ControlNets and what else is no text are not saved.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="conditioning",
                    tooltip="The file's name in the folder sega of ComfyUI's output folder, with folders if you like; "
                    "a number and .conditioning.safetensors follow.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, conditioning: list[Any], filename_prefix: str) -> io.NodeOutput:
        if not conditioning:
            raise ValueError(f"SEGASaveConditioning: conditioning must not be empty, got {conditioning!r}")
        file = output_file("SEGASaveConditioning", filename_prefix, "conditioning")
        try:
            conditioning_file.save(conditioning, file)
        except ValueError as error:
            raise ValueError(f"SEGASaveConditioning: conditioning: {error}") from error
        return io.NodeOutput(ui={"conditioning": [as_result(file)]})
