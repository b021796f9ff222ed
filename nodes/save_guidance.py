"""SEGASaveGuidance: guidance vectors to a file."""

from __future__ import annotations

from comfy_api.latest import io

from ..sega_core import GuidanceVectors, vectors
from .files import as_result, output_file
from .types import NOT_RECORDED, SegaGuidance


class SEGASaveGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGASaveGuidance",
            display_name="SEGA Save Guidance",
            category="sampling/SEGA",
            description="Saves what the concepts of a run added at each step, to make the same edit in another prompt.",
            search_aliases=["semantic guidance", "edit guidance", "sem_guidance", "guidance vectors"],
            is_output_node=True,
            inputs=[
                SegaGuidance.Input("guidance", tooltip="The guidance output of a SEGA Sampler."),
                io.String.Input(
                    "filename_prefix",
                    default="guidance",
                    tooltip="The file's name in the folder sega of ComfyUI's output folder, with folders if you like; "
                    "a number and .guidance.safetensors follow.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, guidance: GuidanceVectors | None, filename_prefix: str) -> io.NodeOutput:
        if guidance is None:
            raise ValueError(f"SEGASaveGuidance: {NOT_RECORDED}")
        file = output_file("SEGASaveGuidance", filename_prefix, "guidance")
        try:
            vectors.save(guidance, file)
        except ValueError as error:
            raise ValueError(f"SEGASaveGuidance: guidance: {error}") from error
        return io.NodeOutput(ui={"guidance": [as_result(file)]})
