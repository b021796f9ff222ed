"""SEGASaveGuidance and SEGALoadGuidance: guidance vectors in a file."""

from __future__ import annotations

from functools import partial

from comfy_api.latest import io

from ..sega_core import GuidanceVectors, vectors
from .files import check_file, file_input, loaded, prefix_input, saved, stamp
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
                prefix_input("guidance"),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, guidance: GuidanceVectors | None, filename_prefix: str) -> io.NodeOutput:
        if guidance is None:
            raise ValueError(f"SEGASaveGuidance: {NOT_RECORDED}")
        save = partial(vectors.save, guidance)
        return io.NodeOutput(ui={"guidance": [saved("SEGASaveGuidance", filename_prefix, "guidance", save)]})


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
            inputs=[file_input("guidance")],
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
