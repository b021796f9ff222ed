"""SEGALoadGuidance: guidance vectors from a file."""

from __future__ import annotations

from comfy_api.latest import io

from ..sega_core import vectors
from .files import check_file, choices, loaded, stamp
from .types import SegaGuidance


class SEGALoadGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGALoadGuidance",
            display_name="SEGA Load Guidance",
            category="sampling/SEGA",
            description="Loads what the concepts of another run added at each step, for the guidance input of a SEGA "
            "Sampler or Model Patch.",
            search_aliases=["semantic guidance", "edit guidance", "sem_guidance", "guidance vectors"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=choices("guidance"),
                    tooltip="A .guidance.safetensors file in ComfyUI's input folder, or in the folder sega of its "
                    "output folder.",
                ),
            ],
            outputs=[SegaGuidance.Output(display_name="guidance", tooltip="For a SEGA Sampler or Model Patch.")],
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
