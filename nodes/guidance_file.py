"""SEGASaveGuidance and SEGALoadGuidance: guidance vectors in a file."""

from __future__ import annotations

from comfy_api.latest import io

from ..sega_core import GuidanceVectors, vectors
from .files import as_result, check_file, choices, loaded, output_file, stamp
from .types import NOT_RECORDED, SegaGuidance


class SEGASaveGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGASaveGuidance",
            display_name="SEGA Save Guidance",
            category="sampling/SEGA",
            description="Saves what a run's concepts added at each step, so that another prompt can get the same edit.",
            search_aliases=["semantic guidance", "edit guidance", "sem_guidance", "guidance vectors"],
            is_output_node=True,
            inputs=[
                SegaGuidance.Input("guidance", tooltip="The guidance output of a SEGA Sampler."),
                io.String.Input(
                    "filename_prefix",
                    default="guidance",
                    tooltip="File name in ComfyUI's output/sega folder, with subfolders if you like. A number and "
                    ".guidance.safetensors are added.",
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


class SEGALoadGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGALoadGuidance",
            display_name="SEGA Load Guidance",
            category="sampling/SEGA",
            description="Loads what another run's concepts added at each step. Connect it to guidance on a SEGA "
            "Sampler or Model Patch.",
            search_aliases=["semantic guidance", "edit guidance", "sem_guidance", "guidance vectors"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=choices("guidance"),
                    tooltip="A .guidance.safetensors file in ComfyUI's input folder or its output/sega folder.",
                ),
            ],
            outputs=[
                SegaGuidance.Output(
                    display_name="guidance", tooltip="Connect to guidance on a SEGA Sampler or Model Patch."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_file("SEGALoadGuidance", file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return stamp("SEGALoadGuidance", file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(loaded("SEGALoadGuidance", file, vectors.load))
