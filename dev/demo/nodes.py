"""SEGADemoModel: the demo model for the host's own nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import model


class SEGADemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SEGADemoModel",
            display_name="SEGA Demo Model",
            category="loaders/SEGA",
            description="A small model of drawn faces, 128x128, made for this pack's demo and tests.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                io.Vae.Output(display_name="VAE"),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*model.load())


class DemoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SEGADemoModel]
