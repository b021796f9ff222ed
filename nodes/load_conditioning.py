"""SEGALoadConditioning: an encoded text from a file."""

from __future__ import annotations

from comfy_api.latest import io

from . import conditioning_file
from .files import check_file, choices, loaded, stamp


class SEGALoadConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGALoadConditioning",
            display_name="SEGA Load Conditioning",
            category="sampling/SEGA",
            description="Loads an encoded text, for SEGA Concept (from Conditioning).",
            search_aliases=["semantic guidance", "editing prompt embeddings", "load embedding"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=choices("conditioning"),
                    tooltip="A .conditioning.safetensors file in ComfyUI's input folder, or in the folder sega of its "
                    "output folder.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning", tooltip="The encoded text, as it was saved.")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_file("SEGALoadConditioning", file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return stamp("SEGALoadConditioning", file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(loaded("SEGALoadConditioning", file, conditioning_file.load))
